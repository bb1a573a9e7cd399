/** Offset and skew of one clock over time, with their 95 % bands. */

import uPlot from "uplot";
import type { ClockPoint } from "./model";

const KINDS = ["hardware", "network", "content"] as const;
const HEIGHT = 230;

export class Charts {
  private plots: uPlot[] = [];
  private node: string | null = null;
  private key = "";

  constructor(
    private readonly offsetAt: HTMLElement,
    private readonly skewAt: HTMLElement,
  ) {
    new ResizeObserver(() => {
      for (const [k, plot] of this.plots.entries()) plot.setSize({ width: this.width(k), height: HEIGHT });
    }).observe(offsetAt);
  }

  readTheme(): void {
    this.node = null; // drawn anew
    this.key = "";
  }

  show(node: string | null, points: ClockPoint[]): void {
    const section = document.getElementById("charts")!;
    section.hidden = node === null || points.length < 2;
    if (section.hidden) return;
    const key = `${node} ${points.length} ${points.at(-1)?.tS}`;
    if (key === this.key) return;
    this.key = key;
    document.getElementById("chart-node")!.textContent = node;
    if (this.node !== node) {
      for (const plot of this.plots) plot.destroy();
      this.plots = [this.plot(this.offsetAt, 0, "offset", "s", true), this.plot(this.skewAt, 1, "skew", "ppm", false)];
      this.node = node;
    }
    const x = points.map((point) => point.tS);
    this.plots[0]!.setData([x, ...band(points, (p) => p.offsetS, (p) => p.ci95S), ...KINDS.map((kind) => points.map((p) => (p.evidence.includes(kind) ? p.offsetS : null)))]);
    this.plots[1]!.setData([x, ...band(points, (p) => p.skewPpm, (p) => p.skewCi95Ppm)]);
  }

  private width(k: number): number {
    return (k === 0 ? this.offsetAt : this.skewAt).clientWidth || 400;
  }

  private plot(at: HTMLElement, k: number, label: string, unit: string, hasKinds: boolean): uPlot {
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const accent = colour("accent");
    const marks = { hardware: colour("good"), network: colour("image"), content: accent };
    const axis = { stroke: colour("muted"), grid: { stroke: colour("lane"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const hidden = { stroke: "transparent", points: { show: false } };
    return new uPlot(
      {
        width: this.width(k),
        height: HEIGHT,
        legend: { show: hasKinds, live: false },
        scales: { x: { time: false }, y: { range: (plot) => tight(plot.data) } },
        axes: [
          { ...axis, values: (_, values) => values.map((v) => `${v} s`) },
          { ...axis, size: 84, values: (_, values) => values.map((v) => `${Number(v.toPrecision(7))} ${unit}`) },
        ],
        series: [
          {},
          { ...hidden, label: "95 %", stroke: accent, width: 0 },
          { ...hidden, width: 0 },
          { label, stroke: accent, width: 1.5, points: { show: false } },
          ...(hasKinds
            ? KINDS.map((kind) => ({ label: kind, stroke: marks[kind], width: 0, paths: () => null, points: { show: true, size: kind === "content" ? 5 : 7, fill: marks[kind] } }))
            : []),
        ],
        bands: [{ series: [1, 2], fill: `color-mix(in srgb, ${accent} 18%, transparent)` }],
        cursor: { show: false },
      },
      [[]],
      at,
    );
  }
}

type Maybe = (number | null)[];

function band(points: ClockPoint[], middle: (p: ClockPoint) => number | null, half: (p: ClockPoint) => number | null): [Maybe, Maybe, Maybe] {
  const edge = (sign: number) => points.map((p) => (middle(p) === null || half(p) === null ? null : middle(p)! + sign * half(p)!));
  return [edge(1), edge(-1), points.map(middle)];
}

/** Fits the later two thirds: the first estimates may be a thousand times wider. */
export function tight(data: uPlot.AlignedData): [number, number] {
  const values: number[] = [];
  for (const series of data.slice(1, 4)) {
    const all = series as Maybe;
    for (const value of all.slice(Math.floor(all.length / 3))) if (value !== null && value !== undefined) values.push(value);
  }
  if (values.length === 0) return [-1, 1];
  const low = Math.min(...values);
  const high = Math.max(...values);
  const pad = Math.max((high - low) * 0.12, 1e-7);
  return [low - pad, high + pad];
}
