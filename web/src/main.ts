/** The page: chooses a session, takes in what is told of it, and draws. */

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { showBanner, warnings } from "./banner";
import { Charts } from "./charts";
import type { Clock } from "./clock";
import { connect, type Link } from "./connection";
import { byId, make, show } from "./dom";
import { seconds } from "./format";
import { showGraph } from "./graph";
import { Model, type StoredClock, type Stream } from "./model";
import { showClocks, showEvents, showHealth } from "./tables";
import { AXIS_PX, type Mode, Timeline } from "./timeline";

const TABLES_EVERY_S = 0.5;
const SESSIONS_EVERY_S = 5;
const HISTORY_S = 600;

interface Session {
  session: string;
  is_live: boolean;
  /** null: it is not stored. */
  began_utc_ns: number | null;
}

const now = () => performance.now() / 1000;
let model = new Model();
let link: Link = "connecting";
let heardS = now();
let session: string | null = null;
let selected: string | null = null;
let stop: (() => void) | null = null;
let prefix = "coeval";
let sessions: Session[] = [];
let lanes: Stream[] = [];
let laneHeight = 40;

const timeline = new Timeline(byId<HTMLCanvasElement>("canvas"), model);
const charts = new Charts(byId("offset-chart"), byId("skew-chart"));

function setLink(state: Link): void {
  link = state;
  const element = byId("link");
  element.dataset["state"] = state;
  element.textContent = { connecting: "connecting …", connected: "live", lost: "no connection" }[state];
}

function join(name: string): void {
  stop?.();
  session = name;
  model = new Model();
  timeline.use(model);
  selected = null;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  const root = `${prefix}/${name}/`;
  const filters = ["state/#", "bin/+/+", "clock/+", "unsynchronised", "event/#"].map((path) => root + path);
  const mine = model;
  stop = connect(filters, {
    message: (topic, payload) => {
      heardS = now();
      mine.take(topic.slice(root.length), payload, heardS);
    },
    link: setLink,
  });
  void loadHistory(name, mine, sessions.find((each) => each.session === name)?.began_utc_ns != null);
}

/** What the aggregator and its store know already; a session that keeps nothing has no history. */
async function loadHistory(name: string, mine: Model, isStored: boolean): Promise<void> {
  const base = `../v1/sessions/${encodeURIComponent(name)}/clocks`;
  const told = await fetchJson(base);
  const clocks = Object.values((told?.["clocks"] ?? {}) as Record<string, Clock>);
  if (told?.["is_live"]) for (const clock of clocks) if (!mine.clocks.has(clock.node)) mine.takeClock(clock);
  if (!isStored) return;
  const kept = await fetchJson(`../v1/sessions/${encodeURIComponent(name)}`);
  if (((kept?.["timelines"] ?? []) as unknown[]).length === 0) return;
  const newestS = Math.max(0, ...clocks.map((clock) => (clock.t_ref_ns ?? 0) * 1e-9));
  const from = Math.max(newestS - HISTORY_S, 0);
  const stored = await fetchJson(`${base}/history?from=${from.toFixed(3)}&to=${(newestS + 1).toFixed(3)}&limit=20000`);
  for (const row of (stored?.["clocks"] ?? []) as StoredClock[]) mine.addStored(row);
}

async function fetchJson(path: string): Promise<Record<string, unknown> | null> {
  try {
    const answer = await fetch(path);
    return answer.ok ? ((await answer.json()) as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

async function listSessions(): Promise<void> {
  const told = await fetchJson("../v1/sessions");
  const found = (told?.["sessions"] ?? []) as Session[];
  sessions = found;
  if (found.length === 0) return;
  const select = byId<HTMLSelectElement>("session");
  show(select, JSON.stringify([found, session]), () =>
    found.map((each) => {
      const option = make("option", { value: each.session }, each.is_live ? each.session : `${each.session} (over)`);
      if (each.session === session) option.setAttribute("selected", "");
      return option;
    }),
  );
  if (session === null) {
    const wanted = decodeURIComponent(location.hash.slice(1));
    join((found.find((each) => each.session === wanted) ?? found.find((each) => each.is_live) ?? found[0]!).session);
  }
}

function layLanes(): void {
  const axis = model.axisNode;
  lanes = [...model.streams.values()].sort(
    (a, b) => Number(b.node === axis) - Number(a.node === axis) || a.name.localeCompare(b.name),
  );
  const room = Math.max(innerHeight * 0.55, 220);
  laneHeight = Math.round(Math.min(Math.max(room / Math.max(lanes.length, 1), 15), 46));
  const edge = model.edge.at(now()) ?? 0;
  const rows = lanes.map((stream) => {
    const warned = model.warning(stream) !== null;
    const offset = model.offset(stream.node, edge);
    const note = warned ? "not aligned" : stream.node === axis ? "reference" : seconds(offset, { signed: true });
    return { name: stream.name, hue: stream.modality === "text" ? "text-stream" : stream.modality, warned, note };
  });
  show(byId("labels"), JSON.stringify([rows, laneHeight]), () =>
    rows.map((row) =>
      make(
        "li",
        { class: row.warned ? "warned" : "", style: `height:${laneHeight}px;--hue:var(--${row.hue})`, title: row.name },
        make("i"),
        make("span", {}, row.name),
        make("em", {}, row.note),
      ),
    ),
  );
  const height = AXIS_PX + Math.max(lanes.length, 3) * laneHeight;
  const canvas = byId("canvas");
  if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
  byId("note").textContent = lanes.length === 0 ? "No stream was heard yet." : timeline.mode === "aligned" ? "every stream on the common time" : "each stream at its own node's clock";
}

function setMode(mode: Mode): void {
  timeline.mode = mode;
  byId("raw").setAttribute("aria-checked", String(mode === "raw"));
  byId("aligned").setAttribute("aria-checked", String(mode === "aligned"));
}

function setPaused(paused: boolean): void {
  timeline.paused = paused;
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(paused));
  button.textContent = paused ? "Go on" : "Pause";
}

function setTheme(theme: string): void {
  document.documentElement.dataset["theme"] = theme;
  timeline.readTheme();
  charts.readTheme();
}

function toggleTheme(): void {
  const theme = document.documentElement.dataset["theme"] === "dark" ? "light" : "dark";
  localStorage.setItem("theme", theme);
  setTheme(theme);
}

function select(node: string): void {
  selected = node;
  refresh();
}

function selectNext(): void {
  const nodes = [...model.clocks.keys()].filter((node) => node !== model.axisNode).sort();
  if (nodes.length) select(nodes[(nodes.indexOf(selected ?? "") + 1) % nodes.length]!);
}

function refresh(): void {
  selected ??= [...model.history.keys()][0] ?? null;
  layLanes();
  showBanner(warnings(model, link, now() - heardS));
  showClocks(model, selected, select);
  showHealth(model, now());
  showEvents(model);
  showGraph(byId("graph"), model);
  charts.show(selected, selected === null ? [] : (model.history.get(selected) ?? []));
}

function frame(): void {
  timeline.draw(now(), lanes, laneHeight);
  requestAnimationFrame(frame);
}

async function begin(): Promise<void> {
  setTheme(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  setLink("connecting");
  setMode("aligned");
  byId("raw").addEventListener("click", () => setMode("raw"));
  byId("aligned").addEventListener("click", () => setMode("aligned"));
  byId("pause").addEventListener("click", () => setPaused(!timeline.paused));
  byId("theme").addEventListener("click", toggleTheme);
  byId<HTMLSelectElement>("window").addEventListener("change", (event) => {
    timeline.windowS = Number((event.target as HTMLSelectElement).value);
  });
  byId<HTMLSelectElement>("session").addEventListener("change", (event) => join((event.target as HTMLSelectElement).value));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLSelectElement) return;
    if (event.key === "a") setMode(timeline.mode === "aligned" ? "raw" : "aligned");
    else if (event.key === "t") toggleTheme();
    else if (event.key === "n") selectNext();
    else if (event.key === " " && !(event.target instanceof HTMLButtonElement)) setPaused(!timeline.paused);
    else return;
    event.preventDefault();
  });
  const settings = await fetchJson("../page.json");
  prefix = String(settings?.["prefix"] ?? prefix);
  await listSessions();
  setInterval(() => void listSessions(), SESSIONS_EVERY_S * 1000);
  setInterval(refresh, TABLES_EVERY_S * 1000);
  refresh();
  requestAnimationFrame(frame);
}

void begin();
