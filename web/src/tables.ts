/** The tables of clocks and of the streams' health, and the list of events. */

import { byId, make, show } from "./dom";
import { ppm, reason, seconds, span } from "./format";
import type { Model } from "./model";

/** Blocks are half a second long and stills come once a second: less is no backlog. */
const LATE_S = 5;

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
      held: status === "reference" ? "" : held === null ? "–" : held > 5 ? `held over ${span(held)}` : "now",
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

export function showHealth(model: Model, nowS: number): void {
  const streams = [...model.streams.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const rows = streams.map((stream) => {
    const counts = model.aggregator?.streams?.[stream.name];
    const state = model.nodes.get(stream.node)?.["state"];
    const sources = Object.keys(model.clocks.get(stream.node)?.sources ?? {});
    const pps = sources.find((source) => source.includes("pps") || source.includes("probe"));
    const backlog = model.backlogS(stream);
    return [
      stream.name,
      stream.modality,
      state === "offline" ? "offline" : "online",
      stream.lastSeenS === null ? "not yet" : `${span(nowS - stream.lastSeenS)} ago`,
      backlog === null ? "–" : backlog < LATE_S ? span(backlog) : `late ${span(backlog)}`,
      counts ? String(counts.lost) : "–",
      counts ? String(counts.duplicates) : "–",
      pps === undefined ? "–" : model.clocks.get(stream.node)?.sources?.[pps]?.trusted ? "trusted" : "not trusted",
      stream.irrelevant !== null
        ? `carries nothing: ${stream.irrelevant}`
        : counts?.refused
          ? "refused: other encoder"
          : counts?.looks_like && counts.looks_like !== stream.modality
            ? `looks like ${counts.looks_like}`
            : "",
    ];
  });
  const alarm = (text: string, column: number) =>
    (column === 2 && text === "offline") || (column === 5 && Number(text) > 0) || text === "not trusted" || (column === 4 && text.startsWith("late")) || column === 8;
  show(byId("health"), JSON.stringify(rows), () => [
    head(["Stream", "Modality", "Node", "Last seen", "Backlog", ">Blocks lost", ">Repeated", "PPS", "Remarks"]),
    make(
      "tbody",
      {},
      ...rows.map((row) =>
        make(
          "tr",
          {},
          ...row.map((cell, k) => make("td", { class: [k === 5 || k === 6 ? "number" : "", alarm(cell, k) ? "warn" : ""].join(" ") }, cell)),
        ),
      ),
    ),
  ]);
}

export function showEvents(model: Model): void {
  const told = model.events.slice(-60).reverse();
  show(byId("events"), `${model.events.length} ${told[0]?.heardS ?? ""}`, () =>
    told.length === 0
      ? [make("li", { class: "empty" }, "Nothing happened yet.")]
      : told.map((event) => {
          const where = event.stream === null ? event.node : `${event.node}/${event.stream}`;
          const when = event.tRefS === null ? "" : `${event.tRefS.toFixed(1)} s`;
          return make("li", {}, make("time", {}, when), make("b", {}, event.kind), ` ${where} `, make("span", { class: "muted" }, inWords(event.facts)));
        }),
  );
}

function inWords(facts: Record<string, unknown>): string {
  if (facts["event"] === "unsynchronised")
    return facts["state"] === "synchronised" ? "is now on the timeline" : reason(String(facts["reason"]));
  return Object.entries(facts)
    .filter(([key, value]) => !["event", "node", "stream"].includes(key) && value !== null && typeof value !== "object")
    .map(([key, value]) => `${key} ${typeof value === "number" ? Number(value.toPrecision(5)) : String(value)}`)
    .join(", ");
}

function head(titles: string[]): HTMLElement {
  const cells = titles.map((title) =>
    make("th", { scope: "col", class: title.startsWith(">") ? "number" : "" }, title.replace(">", "")),
  );
  return make("thead", {}, make("tr", {}, ...cells));
}
