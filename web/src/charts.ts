/** Offset and skew of one clock over time, with their 95 % bands and what kinds of evidence there were. */

import uPlot from "uplot";
import { clockText } from "./format";
import type { ClockPoint } from "./model";

const KINDS = ["hardware", "network", "content"] as const;
const HEIGHT = 210;
/** A strip a kind of evidence, at the bottom of the chart. */
const STRIP_PX = 5;
/** Estimates that are further apart leave a hole in the strips. */
const HOLE_S = 15;

export class Charts {
  private plots: uPlot[] = [];
  private node: string | null = null;
  private key = "";
  private points: ClockPoint[] = [];

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
      this.plots = [this.plot(this.offsetAt, 0, "offset", "s"), this.plot(this.skewAt, 1, "skew", "ppm")];
      this.node = node;
    }
    this.points = points;
    const x = points.map((point) => point.tS);
    this.plots[0]!.setData([x, ...band(points, (p) => p.offsetS, (p) => p.ci95S)]);
    this.plots[1]!.setData([x, ...band(points, (p) => p.skewPpm, (p) => p.skewCi95Ppm)]);
  }

  private width(k: number): number {
    return (k === 0 ? this.offsetAt : this.skewAt).clientWidth || 400;
  }

  private plot(at: HTMLElement, k: number, label: string, unit: string): uPlot {
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const accent = colour("accent");
    const axis = { stroke: colour("muted"), grid: { stroke: colour("lane"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const edge = { stroke: "transparent", points: { show: false }, width: 0 };
    const strips = { hardware: colour("good"), network: colour("image"), content: accent };
    return new uPlot(
      {
        width: this.width(k),
        height: HEIGHT,
        legend: { show: false },
        scales: { x: { time: false }, y: { range: (plot) => tight(plot.data) } },
        axes: [
          { ...axis, size: 28, space: 90, values: (_, values) => values.map(clockText) },
          { ...axis, size: 84, values: (_, values) => values.map((v) => `${Number(v.toPrecision(7))} ${unit}`) },
        ],
        series: [{}, edge, edge, { label, stroke: accent, width: 1.5 }],
        bands: [{ series: [1, 2], fill: `color-mix(in srgb, ${accent} 18%, transparent)` }],
        cursor: { show: false },
        hooks: { draw: [(plot) => this.drawStrips(plot, strips)] },
      },
      [[]],
      at,
    );
  }

  private drawStrips(plot: uPlot, colours: Record<(typeof KINDS)[number], string>): void {
    const { ctx: context, bbox } = plot;
    const height = STRIP_PX * devicePixelRatio;
    context.save();
    context.beginPath();
    context.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    context.clip();
    for (const [row, kind] of KINDS.entries()) {
      context.fillStyle = colours[kind];
      const top = bbox.top + bbox.height - (KINDS.length - row) * (height + 2);
      for (const [k, point] of this.points.entries()) {
        if (!point.evidence.includes(kind)) continue;
        const next = this.points[k + 1];
        const from = plot.valToPos(point.tS, "x", true);
        const to = next && next.tS - point.tS < HOLE_S ? plot.valToPos(next.tS, "x", true) : from + 3 * devicePixelRatio;
        context.fillRect(from, top, to - from + 0.5, height);
      }
    }
    context.restore();
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
  const strips = Math.max((high - low) * 0.15, 1e-7); // room for them below
  return [low - pad - strips, high + pad];
}
