/** The tables of clocks and of the streams' health, and the list of events. */

import type { Clock } from "./clock";
import { byId, make, show } from "./dom";
import type { Told } from "./event_log";
import { clockText, ppm, rarely, reason, seconds, span } from "./format";
import type { Model, Stream } from "./model";

/** Blocks are half a second long and stills come once a second: less is no backlog. */
const LATE_S = 5;
/** Who was heard so recently is there. */
const NOW_S = 3;
/** Estimates come every few seconds: what was confirmed so recently is not held over. */
const HELD_S = 5;

export function showClocks(model: Model, selected: string | null, select: (node: string) => void): void {
  const names = new Set([...model.clocks.keys(), ...[...model.streams.values()].map((stream) => stream.node)]);
  const rows = [...names].sort().map((node) => {
    const clock = model.clocks.get(node);
    const status = clock?.status ?? "unsure";
    const held = clock?.holdover_s ?? null;
    const distrusted = Object.entries(clock?.sources ?? {}).filter(([, source]) => !source.trusted);
    return {
      node,
      status,
      cells: [
        seconds(clock?.offset_s, { signed: true }),
        clock?.ci95_s == null || status === "reference" ? "" : `± ${seconds(clock.ci95_s)}`,
        ppm(clock?.skew_ppm),
        clock?.skew_ci95_ppm == null || status === "reference" ? "" : `± ${clock.skew_ci95_ppm.toFixed(1)}`,
      ],
      evidence: clock?.evidence ?? [],
      held: status === "reference" ? "" : held === null ? "–" : held > HELD_S ? `held over ${span(held)}` : "now",
      jumps: clock?.jumps.length ?? 0,
      note: distrusted.map(([name]) => `${name} not trusted`).join(", "),
    };
  });
  const table = byId("clocks");
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["node"] : undefined;
  show(table, JSON.stringify([rows, selected]), () => [
    head(["Node", "Status", ">Offset", "95 %", ">Skew", "95 %", "Evidence", "Confirmed", "Steps"]),
    make(
      "tbody",
      {},
      ...rows.map((row) => {
        const isSelected = String(row.node === selected);
        const line = make(
          "tr",
          { tabindex: "0", "aria-selected": isSelected, "data-node": row.node },
          make("td", {}, row.node),
          make("td", {}, make("span", { class: `pill ${row.status}` }, row.status)),
          ...row.cells.map((cell, k) => make("td", { class: k % 2 ? "muted" : "number" }, cell)),
          make("td", {}, ...row.evidence.map((kind) => make("span", { class: "chip" }, kind))),
          make("td", { class: row.held.startsWith("held") ? "warn" : "muted" }, row.held),
          make("td", { class: "muted" }, [row.jumps ? String(row.jumps) : "", row.note].filter(Boolean).join(" ")),
        );
        line.addEventListener("click", () => select(row.node));
        line.addEventListener("keydown", (event) => {
          if (event.key === "Enter") select(row.node);
        });
        return line;
      }),
    ),
  ]);
  if (focused !== undefined) table.querySelector<HTMLElement>(`[data-node="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** Columns of the health table; those of numbers are set flush right. */
const HEALTH = ["Stream", "Modality", "Node", "Last seen", "Backlog", ">Blocks lost", ">Repeated", "PPS", "Holdover", "Carries", "Remarks"];

interface Cell {
  text: string;
  isBad?: boolean;
  title?: string;
}

export function showHealth(model: Model, nowS: number): void {
  const streams = [...model.streams.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const rows = streams.map((stream) => healthOf(model, stream, nowS));
  const table = byId<HTMLTableElement>("health");
  show(table, JSON.stringify(streams.map((stream) => stream.name)), () => [
    head(HEALTH),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(() => make("td"))))),
  ]);
  const lines = table.tBodies[0]!.rows;
  for (const [r, row] of rows.entries()) for (const [c, cell] of row.entries()) update(lines[r]!.cells[c]!, cell, HEALTH[c]!.startsWith(">"));
  byId("no-health").hidden = rows.length > 0;
}

/** Change a cell only where it says something else: a table of fifty rows is looked at twice a second. */
function update(at: HTMLTableCellElement, { text, isBad = false, title = "" }: Cell, isNumber: boolean): void {
  const type = `${isNumber ? "number" : ""} ${isBad ? "warn" : ""}`;
  if (at.textContent !== text) at.textContent = text;
  if (at.className !== type) at.className = type;
  if (at.title !== title) at.title = title;
}

function healthOf(model: Model, stream: Stream, nowS: number): Cell[] {
  const counts = model.aggregator?.streams?.[stream.name];
  const clock = model.clocks.get(stream.node);
  const isOffline = model.nodes.get(stream.node)?.["state"] === "offline";
  const backlog = model.backlogS(stream);
  const isLate = backlog !== null && backlog >= LATE_S;
  const held = clock?.holdover_s ?? null;
  const remarks = [
    counts?.refused ? "refused: another encoder than the session's; install one version everywhere" : "",
    counts?.looks_like && counts.looks_like !== stream.modality ? `looks like ${counts.looks_like}` : "",
  ].filter(Boolean);
  return [
    { text: stream.name },
    modalityOf(stream),
    { text: isOffline ? "offline" : model.nodes.has(stream.node) ? "online" : "–", isBad: isOffline },
    { text: stream.lastSeenS === null ? "not yet" : nowS - stream.lastSeenS < NOW_S ? "now" : `${span(Math.round(nowS - stream.lastSeenS))} ago` },
    { text: backlog === null ? "–" : isLate ? `late ${span(backlog)}` : `${Math.round(backlog)} s`, isBad: isLate },
    { text: counts ? String(counts.lost) : "–", isBad: (counts?.lost ?? 0) > 0 },
    { text: counts ? String(counts.duplicates) : "–" },
    ppsOf(clock),
    { text: clock?.status === "reference" ? "reference" : held === null ? "–" : held > HELD_S ? span(held) : "none", isBad: held !== null && held > HELD_S },
    stream.irrelevant === null ? { text: "data" } : { text: `nothing: ${stream.irrelevant}`, isBad: true },
    { text: remarks.join("; "), isBad: true },
  ];
}

/** What the stream senses, and who says so: its node, or a look at its data. */
function modalityOf({ modality, recognised }: Stream): Cell {
  if (recognised === null) return { text: modality };
  const sure = typeof recognised.confidence === "number" ? `, ${Math.round(recognised.confidence * 100)} %` : "";
  return { text: `${modality} (recognised${sure})`, title: [recognised.format, recognised.why].filter(Boolean).join(": ") };
}

/** The pulses that tie a node to a second, by its own PPS line or a probe's. */
function ppsOf(clock: Clock | undefined): Cell {
  const found = Object.entries(clock?.sources ?? {}).find(([name]) => name.includes("pps") || name.includes("probe"));
  if (!found) return { text: "none" };
  const [name, { trusted, scale }] = found;
  const title = `${name}: scatters ${scale.toPrecision(2)} times what it claims`;
  return { text: trusted ? "trusted" : "not trusted", isBad: !trusted, title };
}

export function showEvents(model: Model, goTo: (tRefS: number) => void): void {
  const { events } = model;
  const told = events.all.toReversed();
  byId("more").hidden = !events.hasEarlier;
  show(byId("events"), String(events.version), () =>
    told.length === 0
      ? [make("li", { class: "empty" }, "Nothing happened yet. Anomalies, steps of clocks, gaps and streams that fall out of line are told here.")]
      : told.map((event) => {
          const where = event.stream === null ? event.node : `${event.node}/${event.stream}`;
          const line = make("li", {}, when(event, goTo), make("b", { class: event.kind }, event.kind), ` ${where} `, make("span", { class: "muted" }, inWords(event)));
          return line;
        }),
  );
}

/** When it was: a button that shows it on the timeline, where it has a place there. */
function when(event: Told, goTo: (tRefS: number) => void): HTMLElement {
  if (event.tRefS === null) {
    const utc = event.utcS === null ? "earlier" : new Date(event.utcS * 1000).toISOString().slice(0, 16).replace("T", " ");
    return make("time", { title: "on an earlier run of the reference clock" }, utc);
  }
  const at = event.tRefS;
  const button = make("button", { class: "when", title: "show it on the timeline" }, clockText(at));
  button.addEventListener("click", () => goTo(at));
  return button;
}

const NAMED_ALREADY = new Set(["event", "node", "stream", "number", "told_utc_ns", "timeline", "t_ref_ns", "at_s"]);

function inWords({ kind, facts }: Told): string {
  const number = (name: string) => Number(facts[name]);
  switch (kind) {
    case "unsynchronised":
      return facts["state"] === "synchronised" ? "is now on the timeline" : reason(String(facts["reason"]));
    case "anomaly": {
      const others = (Array.isArray(facts["streams"]) ? facts["streams"].map(String) : []).filter((name) => name !== `${facts["node"]}/${facts["stream"]}`);
      const rarity = rarely(number("once_in_days"));
      const lasted = facts["duration_s"] === null ? "" : number("duration_s") < 0.5 ? " after a moment" : `, lasted ${span(number("duration_s"))}`;
      return `${facts["state"] === "begin" ? "begins" : "ended"}${lasted}${rarity}${others.length ? `; also ${others.join(", ")}` : ""}`;
    }
    case "relevance":
      return facts["state"] === "irrelevant" ? `carries nothing: ${String(facts["reason"])}` : "carries something again";
    case "gap":
      return `${number("blocks")} ${number("blocks") === 1 ? "block" : "blocks"} never came`;
    case "jump":
      return facts["jump_s"] === null ? "the clock stepped" : `the clock stepped by ${seconds(number("jump_s"), { signed: true })}`;
    case "mislabelled":
      return `looks like ${String(facts["looks_like"])}, ${facts["stated"] === null ? "nothing was stated" : `stated is ${String(facts["stated"])}`}`;
    case "unrelated":
      return "does not seem to belong to this session";
    case "duplicate":
      return "two devices have this id; give one of them another";
    case "contradiction":
      return `${String(facts["kind"])} against ${String(facts["against"])} is off by ${seconds(number("miss_s"), { signed: true })} (${number("sigmas").toPrecision(2)} σ)`;
  }
  return Object.entries(facts)
    .filter(([key, value]) => !NAMED_ALREADY.has(key) && value !== null && typeof value !== "object")
    .map(([key, value]) => `${key.replaceAll("_", " ")} ${typeof value === "number" ? Number(value.toPrecision(5)) : String(value)}`)
    .join(", ");
}

function head(titles: string[]): HTMLElement {
  const cells = titles.map((title) =>
    make("th", { scope: "col", class: title.startsWith(">") ? "number" : "" }, title.replace(">", "")),
  );
  return make("thead", {}, make("tr", {}, ...cells));
}
