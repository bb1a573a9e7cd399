/** The live timeline: a lane a stream, drawn at its node's own clock or on the common time. */

import { TILE_HOPS } from "./activity";
import type { Model, Stream } from "./model";

const PX_A_HOP = 2;
const TILE_HEIGHT = 40;
const AXIS_HEIGHT = 22;
const GLIDE_S = 0.7;
/** A clock that is further ahead does not widen the view. */
const LONGEST_SHIFT_S = 45;
const TILES_A_FRAME = 12;

export type Mode = "raw" | "aligned";

interface Tile {
  canvas: HTMLCanvasElement;
  version: number;
  theme: string;
}

export class Timeline {
  mode: Mode = "aligned";
  windowS = 60;
  paused = false;
  frames = 0;
  private mix = 1;
  private lastS = 0;
  private edgeS: number | null = null;
  private right = 0;
  private readonly shifts = new Map<string, number>();
  private readonly tiles = new Map<Stream, Map<number, Tile>>();
  private readonly context: CanvasRenderingContext2D;
  private width = 0;
  private height = 0;
  private colours: Record<string, string> = {};
  private theme = "";
  private budget = 0;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private model: Model,
  ) {
    this.context = canvas.getContext("2d")!;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.readTheme();
  }

  use(model: Model): void {
    this.model = model;
    this.tiles.clear();
    this.shifts.clear();
    this.edgeS = null;
  }

  readTheme(): void {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["text", "muted", "line", "lane", "warn", "bad", "accent", "audio", "video", "image", "metadata", "unknown"])
      this.colours[name] = style.getPropertyValue(`--${name}`).trim();
    this.colours["text-stream"] = style.getPropertyValue("--text-stream").trim();
    this.theme = JSON.stringify(this.colours);
  }

  /** Draw; called once a frame. */
  draw(nowS: number, streams: Stream[], laneHeight: number): void {
    this.frames++;
    const stepS = Math.min(nowS - this.lastS, 0.1);
    this.lastS = nowS;
    const goal = this.mode === "aligned" ? 1 : 0;
    this.mix += Math.sign(goal - this.mix) * Math.min(stepS / GLIDE_S, Math.abs(goal - this.mix));
    const eased = this.mix * this.mix * (3 - 2 * this.mix);
    if (!this.paused) this.edgeS = this.model.edge.at(nowS) ?? this.edgeS;
    const { context } = this;
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    if (this.edgeS === null) return;
    const edgeS = this.edgeS;
    let ahead = 0;
    for (const stream of streams) {
      const shift = this.shiftOf(stream, edgeS);
      if (shift <= LONGEST_SHIFT_S) ahead = Math.max(ahead, shift);
    }
    const wanted = edgeS + (1 - eased) * ahead;
    this.right = this.paused && this.mix === goal ? wanted : wanted - 0.6 * this.model.edge.rate;
    const scale = this.width / this.windowS;
    this.budget = TILES_A_FRAME;
    this.drawGrid(scale);
    for (const [k, stream] of streams.entries()) {
      const target = this.shiftOf(stream, edgeS);
      const known = this.model.warning(stream) === null;
      const before = this.shifts.get(stream.name);
      // An estimate that moves glides into place: that is the jump into line.
      const aligned = known ? target : (stream.arrivalOffsetS ?? 0);
      const glided = before === undefined || Math.abs(aligned - before) > 1e4 ? aligned : before + (aligned - before) * Math.min(stepS * 6, 1);
      this.shifts.set(stream.name, glided);
      this.drawLane(stream, AXIS_HEIGHT + k * laneHeight, laneHeight, glided * eased, scale, known);
    }
    this.drawEvents(streams, laneHeight, scale);
  }

  /** Own clock − timeline, s: as estimated, or as it looks by arrival. */
  private shiftOf(stream: Stream, edgeS: number): number {
    return this.model.offset(stream.node, edgeS) ?? stream.arrivalOffsetS ?? 0;
  }

  private drawLane(stream: Stream, top: number, height: number, shift: number, scale: number, known: boolean): void {
    const { context, colours } = this;
    const leftS = this.right - this.windowS;
    const hopS = stream.activity.hopS;
    const first = Math.floor((leftS + shift) / hopS / TILE_HOPS);
    const last = Math.floor((this.right + shift) / hopS / TILE_HOPS);
    context.fillStyle = colours["lane"]!;
    context.fillRect(0, top + height - 1, this.width, 1);
    context.globalAlpha = known ? 1 : 0.45;
    for (let k = first; k <= last; k++) {
      const tile = this.tile(stream, k);
      if (!tile) continue;
      const x = (k * TILE_HOPS * hopS - shift - leftS) * scale;
      context.drawImage(tile, x, top + 2, TILE_HOPS * hopS * scale, height - 5);
    }
    context.globalAlpha = 1;
    if (!known) this.hatch(0, top, this.width, height - 1, colours["warn"]!);
    for (const stretch of stream.stretches) {
      const from = Math.max((stretch.fromS - shift - leftS) * scale, 0);
      const to = stretch.toS === null ? this.width : Math.min((stretch.toS - shift - leftS) * scale, this.width);
      if (to <= from) continue;
      this.hatch(from, top, to - from, height - 1, colours["muted"]!);
      if (to - from < 110) continue;
      context.fillStyle = colours["muted"]!;
      context.font = "11px system-ui, sans-serif";
      context.fillText(`nothing: ${stretch.reason}`, from + 6, top + height / 2 + 4);
    }
  }

  private hatch(x: number, top: number, width: number, height: number, colour: string): void {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(x, top, width, height);
    context.clip();
    context.strokeStyle = colour;
    context.globalAlpha = 0.28;
    context.lineWidth = 1;
    context.beginPath();
    for (let at = x - height; at < x + width; at += 12) {
      context.moveTo(at, top + height);
      context.lineTo(at + height, top);
    }
    context.stroke();
    context.restore();
  }

  private drawGrid(scale: number): void {
    const { context, colours } = this;
    const step = [1, 2, 5, 10, 20, 30, 60].find((each) => each * scale >= 70) ?? 60;
    const leftS = this.right - this.windowS;
    context.fillStyle = colours["muted"]!;
    context.font = "11px system-ui, sans-serif";
    for (let t = Math.ceil(leftS / step) * step; t < this.right; t += step) {
      const x = (t - leftS) * scale;
      context.globalAlpha = 0.25;
      context.fillRect(Math.round(x), AXIS_HEIGHT - 4, 1, this.height);
      context.globalAlpha = 1;
      context.fillText(clockText(t), x + 4, 12);
    }
  }

  private drawEvents(streams: Stream[], laneHeight: number, scale: number): void {
    const { context, colours } = this;
    const leftS = this.right - this.windowS;
    for (const told of this.model.events) {
      if (told.tRefS === null || told.tRefS < leftS || told.tRefS > this.right) continue;
      if (!["anomaly", "jump", "gap"].includes(told.kind)) continue;
      const x = (told.tRefS - leftS) * scale;
      context.fillStyle = told.kind === "anomaly" ? colours["bad"]! : colours["warn"]!;
      for (const [k, stream] of streams.entries()) {
        const isMeant = told.stream === null ? told.node === "" || told.node === stream.node : `${told.node}/${told.stream}` === stream.name;
        if (isMeant) context.fillRect(x - 1, AXIS_HEIGHT + k * laneHeight, 2, laneHeight - 1);
      }
      context.beginPath();
      context.moveTo(x - 5, AXIS_HEIGHT - 8);
      context.lineTo(x + 5, AXIS_HEIGHT - 8);
      context.lineTo(x, AXIS_HEIGHT - 1);
      context.fill();
    }
  }

  private tile(stream: Stream, number: number): HTMLCanvasElement | null {
    const version = stream.activity.versions.get(number);
    if (version === undefined) return null;
    let tiles = this.tiles.get(stream);
    if (!tiles) this.tiles.set(stream, (tiles = new Map()));
    let tile = tiles.get(number);
    if (tile && ((tile.version === version && tile.theme === this.theme) || this.budget <= 0)) return tile.canvas;
    if (this.budget <= 0) return null;
    this.budget--;
    if (!tile) {
      const canvas = document.createElement("canvas");
      canvas.width = TILE_HOPS * PX_A_HOP;
      canvas.height = TILE_HEIGHT;
      tile = { canvas, version, theme: this.theme };
      tiles.set(number, tile);
      for (const old of tiles.keys()) if (old < number - 64) tiles.delete(old);
    }
    tile.version = version;
    tile.theme = this.theme;
    const context = tile.canvas.getContext("2d")!;
    context.clearRect(0, 0, tile.canvas.width, TILE_HEIGHT);
    context.fillStyle = this.colours[stream.modality === "text" ? "text-stream" : stream.modality] || this.colours["unknown"]!;
    for (let k = 0; k < TILE_HOPS; k++) {
      const value = stream.activity.at(number * TILE_HOPS + k);
      if (Number.isNaN(value)) continue;
      const half = 1 + Math.sqrt(value) * (TILE_HEIGHT / 2 - 1);
      context.fillRect(k * PX_A_HOP, TILE_HEIGHT / 2 - half, PX_A_HOP, 2 * half);
    }
    return tile.canvas;
  }

  private resize(): void {
    const ratio = devicePixelRatio || 1;
    const { width, height } = this.canvas.getBoundingClientRect();
    this.width = width;
    this.height = height;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
  }
}

export const AXIS_PX = AXIS_HEIGHT;

function clockText(tS: number): string {
  if (tS > 1e9) return new Date(tS * 1000).toISOString().slice(11, 19);
  const whole = Math.round(Math.abs(tS));
  const minutes = Math.floor(whole / 60);
  return `${tS <= -0.5 ? "−" : ""}${minutes}:${String(whole - minutes * 60).padStart(2, "0")}`;
}
