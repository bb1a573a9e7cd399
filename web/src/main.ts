/** The page: chooses a session, takes in what is told of it, and draws. */

import "uplot/dist/uPlot.min.css";
import "./style.css";
import { showBanner, warnings } from "./banner";
import { Charts } from "./charts";
import { connect, type Link } from "./connection";
import { byId, make, show } from "./dom";
import { fetchJson } from "./fetching";
import { clockText, seconds } from "./format";
import { showGraph } from "./graph";
import { loadEvents, loadHistory, type Session } from "./history";
import { Model, type Stream } from "./model";
import { showClocks, showEvents, showHealth } from "./tables";
import { AXIS_PX, type Mode, SCORE_PX, Timeline } from "./timeline";

const TABLES_EVERY_S = 0.5;
const SESSIONS_EVERY_S = 5;
/** A share of what is shown: the arrows go so far. */
const ARROW_SHARE = 0.5;

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
  const mine = (model = new Model(`../v1/sessions/${encodeURIComponent(name)}`));
  timeline.use(mine);
  setMode(timeline.mode);
  selected = null;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  const root = `${prefix}/${name}/`;
  const filters = ["state/#", "bin/+/+", "clock/+", "aligned", "unsynchronised", "event/#"].map((path) => root + path);
  let wasLost = false;
  stop = connect(filters, {
    message: (topic, payload) => {
      heardS = now();
      mine.take(topic.slice(root.length), payload, heardS);
    },
    link: (state) => {
      setLink(state);
      if (state === "connected" && wasLost) void loadEvents(mine, {}); // those that were missed
      wasLost ||= state === "lost";
    },
  });
  void loadHistory(mine, sessions.find((each) => each.session === name)).then(refresh);
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
  const title = "How unusual the session is; above the dotted line, at the accepted rate of false alarms, it is an anomaly";
  byId("lanes").hidden = lanes.length === 0;
  show(byId("labels"), JSON.stringify([rows, laneHeight]), () => [
    make("li", { class: "all", style: `height:${SCORE_PX}px`, title }, make("span", {}, "Anomaly score")),
    ...rows.map((row) =>
      make(
        "li",
        { class: row.warned ? "warned" : "", style: `height:${laneHeight}px;--hue:var(--${row.hue})`, title: row.name },
        make("i"),
        make("span", {}, row.name),
        make("em", {}, row.note),
      ),
    ),
  ]);
  const height = AXIS_PX + SCORE_PX + Math.max(lanes.length, 3) * laneHeight;
  const canvas = byId("canvas");
  if (canvas.style.height !== `${height}px`) canvas.style.height = `${height}px`;
}

/** Where in time the view stands, and what can be done about it. */
function showWhere(): void {
  const { past } = model;
  const isStanding = timeline.standsAtS !== null;
  const button = byId("pause");
  button.setAttribute("aria-pressed", String(isStanding));
  button.textContent = isStanding ? (past.isOver ? "To the end" : "Go live") : "Pause";
  byId("note").textContent = [...whereInWords()].join(" · ");
}

function* whereInWords(): Generator<string> {
  const { past } = model;
  const { range } = timeline;
  const isStanding = timeline.standsAtS !== null;
  if (past.isOver) yield "This session is over.";
  if (lanes.length === 0) {
    if (session !== null && !past.isOver) yield "No stream was heard yet: start a node in this session.";
    return;
  }
  if (range !== null && (isStanding || past.isOver)) yield `stands at ${clockText(range.leftS)} – ${clockText(range.rightS)}`;
  yield timeline.mode === "aligned" ? "every stream on the common time" : "each stream at its own node's clock";
  if (isStanding && past.isKept === false) yield "nothing is stored: the past begins when this page was opened";
  else if (isStanding && range !== null && past.oldestS !== null && range.leftS < past.oldestS) yield `what is stored begins at ${clockText(past.oldestS)}`;
  else if (past.isLoading && isStanding) yield "loading …";
}

function setMode(mode: Mode): void {
  timeline.mode = mode;
  byId("raw").setAttribute("aria-checked", String(mode === "raw"));
  byId("aligned").setAttribute("aria-checked", String(mode === "aligned"));
}

function togglePause(): void {
  if (timeline.standsAtS === null) timeline.pause();
  else timeline.goLive();
  showWhere();
}

function go(share: number): void {
  timeline.move(share);
  showWhere();
}

function goTo(tRefS: number): void {
  timeline.goTo(tRefS);
  showWhere();
  byId("canvas").scrollIntoView({ block: "nearest" });
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
  showWhere();
  const { wanted } = timeline;
  if (wanted !== null) model.past.want(wanted, timeline.liveS, now());
  showBanner(warnings(model, link, now() - heardS));
  showClocks(model, selected, select);
  showHealth(model, now());
  showEvents(model, goTo);
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
  byId("pause").addEventListener("click", togglePause);
  byId("earlier").addEventListener("click", () => go(-ARROW_SHARE));
  byId("later").addEventListener("click", () => go(ARROW_SHARE));
  byId("more").addEventListener("click", () => void loadEvents(model, { isEarlier: true }).then(refresh));
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
    else if (event.key === " " && !(event.target instanceof HTMLButtonElement)) togglePause();
    else if (event.key === "ArrowLeft") go(-ARROW_SHARE);
    else if (event.key === "ArrowRight") go(ARROW_SHARE);
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
