/** The offset graph: nodes on a circle, the evidence between them as lines, wider for more. */

import type { Model, PairFacts } from "./model";

const SVG = "http://www.w3.org/2000/svg";
const STYLES: Record<PairFacts["kind"], { colour: string; dash: string }> = {
  hardware: { colour: "var(--good)", dash: "" },
  network: { colour: "var(--image)", dash: "7 4" },
  content: { colour: "var(--accent)", dash: "" },
};

/** Width of a line, px: an interval of 1 s is 1, each factor of ten narrower adds 1.5. */
export function widthOf(ci95S: number | null): number {
  if (ci95S === null) return 1;
  return Math.min(Math.max(1 - 1.5 * Math.log10(Math.max(ci95S, 1e-9)), 1), 10);
}

export function showGraph(at: HTMLElement, model: Model): void {
  const pairs = model.aggregator?.pairs ?? [];
  const nodes = [...new Set([...model.clocks.keys(), ...pairs.flatMap((pair) => [pair.first, pair.second])])].sort();
  const statuses = nodes.map((node) => model.clocks.get(node)?.status ?? "unsure");
  const key = JSON.stringify([nodes, statuses, pairs.map((pair) => [pair.first, pair.second, pair.kind, pair.accepted, widthOf(pair.ci95_s).toFixed(1)])]);
  if (at.dataset["shown"] === key) return;
  at.dataset["shown"] = key;
  const svg = element("svg", { viewBox: "0 0 480 260", role: "img", "aria-label": `${nodes.length} nodes, ${pairs.length} pairs` });
  const place = (k: number) => {
    const angle = (2 * Math.PI * k) / nodes.length - Math.PI / 2;
    return { x: 240 + 165 * Math.cos(angle), y: 130 + 98 * Math.sin(angle) };
  };
  for (const pair of pairs) {
    const from = place(nodes.indexOf(pair.first));
    const to = place(nodes.indexOf(pair.second));
    const bend = pair.kind === "content" ? 0 : 16;
    const path = `M${from.x} ${from.y} Q${(from.x + to.x) / 2 + bend} ${(from.y + to.y) / 2 + bend} ${to.x} ${to.y}`;
    const style = STYLES[pair.kind];
    const line = element("path", {
      d: path,
      fill: "none",
      stroke: pair.accepted ? style.colour : "var(--muted)",
      "stroke-width": String(pair.accepted ? widthOf(pair.ci95_s) : 1),
      "stroke-dasharray": pair.accepted ? style.dash : "2 5",
      "stroke-linecap": "round",
      opacity: "0.8",
    });
    const title = element("title", {});
    title.textContent = `${pair.first} – ${pair.second}: ${pair.kind}, ${pair.accepted ? `± ${pair.ci95_s?.toPrecision(2) ?? "?"} s` : "not believed"}`;
    line.append(title);
    svg.append(line);
  }
  for (const [k, node] of nodes.entries()) {
    const { x, y } = place(k);
    const status = statuses[k];
    const fill = status === "locked" || status === "reference" ? "var(--good)" : status === "unrelated" ? "var(--bad)" : "var(--warn)";
    svg.append(element("circle", { cx: String(x), cy: String(y), r: nodes.length > 20 ? "4" : "8", fill, stroke: "var(--card)", "stroke-width": "3" }));
    const label = element("text", { x: String(x), y: String(y < 130 ? y - 14 : y + 24), "text-anchor": "middle" });
    label.textContent = node;
    if (nodes.length <= 24) svg.append(label);
  }
  at.replaceChildren(svg);
}

function element(tag: string, attributes: Record<string, string>): SVGElement {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
