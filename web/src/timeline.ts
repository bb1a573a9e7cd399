/** The timeline: a lane a stream, drawn at its node's own clock or on the common time, now or then. */

import { type ActivitySource, TILE_HOPS } from "./activity";
import type { Anomaly } from "./anomalies";
import { clockText, rarely } from "./format";
import { type Box, type Colours, curve, FONT, hatch, label, shade, triangle } from "./marks";
import type { Model, Stream } from "./model";
import { heightOf } from "./scores";
import { Tiles } from "./tiles";

export const AXIS_PX = 22;
/** The lane of the whole session's score. */
export const SCORE_PX = 34;
const GLIDE_S = 0.7;
/** A clock that is further ahead does not widen the view. */
const LONGEST_SHIFT_S = 45;
/** What is drawn live is so much behind the newest: blocks come in lumps. */
const BEHIND_S = 0.6;
const SPACE_FOR_TIME_PX = 34;
/** A narrower stretch is pointed at. */
const NARROW_PX = 12;
const COLOURS = ["text", "muted", "card", "line", "lane", "warn", "bad", "accent", "audio", "video", "image", "metadata", "unknown", "text-stream"];

export type Mode = "raw" | "aligned";

export class Timeline {
  mode: Mode = "aligned";
  windowS = 60;
  frames = 0;
  /** The instant that stands at the right edge, s; null: it is live. */
  standsAtS: number | null = null;
  private mix = 1;
  private lastS = 0;
  private edgeS: number | null = null;
  private right = 0;
  private readonly shifts = new Map<string, number>();
  private readonly tiles = new Tiles();
  private readonly context: CanvasRenderingContext2D;
  private width = 0;
  private height = 0;
  private colours: Colours = {};

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
    this.edgeS = this.standsAtS = null;
  }

  readTheme(): void {
    const style = getComputedStyle(document.documentElement);
    for (const name of COLOURS) this.colours[name] = style.getPropertyValue(`--${name}`).trim();
  }

  /** The newest instant that is live, s; null: nothing is. */
  get liveS(): number | null {
    return this.edgeS;
  }

  /** What stands at the right edge: an instant that was chosen, the newest, or the last one stored. */
  private get atS(): number | null {
    return this.standsAtS ?? this.edgeS ?? this.model.past.newestS;
  }

  /** The instants that are drawn, s of the timeline; null: nothing is. */
  get range(): { leftS: number; rightS: number } | null {
    if (this.atS === null) return null;
    return { leftS: this.right - this.windowS, rightS: this.right };
  }

  /** What is to be fetched of the past: as stamped, what is drawn may lie elsewhere on the timeline. */
  get wanted(): { leftS: number; rightS: number } | null {
    const { range } = this;
    if (range === null || this.mode === "aligned") return range;
    return { leftS: range.leftS - LONGEST_SHIFT_S, rightS: range.rightS + LONGEST_SHIFT_S };
  }

  pause(): void {
    this.standsAtS = this.atS === null ? null : this.right;
  }

  goLive(): void {
    this.standsAtS = null;
  }

  /** Show the time around an instant. */
  goTo(tRefS: number): void {
    this.standsAtS = tRefS + this.windowS / 2;
    const newestS = this.edgeS ?? this.model.past.newestS;
    if (newestS !== null) this.standsAtS = Math.min(this.standsAtS, newestS);
  }

  /** Go back or on by a share of what is shown; what would be beyond the newest is live. */
  move(share: number): void {
    const newestS = this.edgeS ?? this.model.past.newestS;
    if (newestS === null) return;
    const oldestS = this.model.past.oldestS ?? -Infinity;
    const atS = Math.max(this.right + share * this.windowS, Math.min(oldestS + this.windowS / 2, newestS));
    this.standsAtS = atS >= newestS ? null : atS;
  }

  /** Draw; called once a frame. */
  draw(nowS: number, streams: Stream[], laneHeight: number): void {
    this.frames++;
    const stepS = Math.min(nowS - this.lastS, 0.1);
    this.lastS = nowS;
    const goal = this.mode === "aligned" ? 1 : 0;
    this.mix += Math.sign(goal - this.mix) * Math.min(stepS / GLIDE_S, Math.abs(goal - this.mix));
    const eased = this.mix * this.mix * (3 - 2 * this.mix);
    this.edgeS = this.model.edge.at(nowS) ?? this.edgeS;
    const { context } = this;
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const { atS } = this;
    if (atS === null) return;
    let ahead = 0;
    for (const stream of streams) {
      const shift = this.offsetThen(stream, atS, this.shiftOf(stream, atS));
      if (shift <= LONGEST_SHIFT_S) ahead = Math.max(ahead, shift);
    }
    const behind = this.standsAtS === null && this.edgeS !== null ? BEHIND_S * this.model.edge.rate : 0;
    this.right = atS - behind + (1 - eased) * ahead;
    const scale = this.width / this.windowS;
    this.tiles.beginFrame();
    this.drawGrid(scale);
    const lanes = AXIS_PX + SCORE_PX;
    for (const [k, stream] of streams.entries()) {
      const target = this.shiftOf(stream, atS);
      const isKnown = this.model.warning(stream) === null;
      const before = this.shifts.get(stream.name);
      // An estimate that moves glides into place: that is the jump into line.
      const aligned = isKnown ? target : (stream.arrivalOffsetS ?? 0);
      const glided = before === undefined || Math.abs(aligned - before) > 1e4 ? aligned : before + (aligned - before) * Math.min(stepS * 6, 1);
      this.shifts.set(stream.name, glided);
      const box = { x: 0, top: lanes + k * laneHeight, width: this.width, height: laneHeight - 1 };
      const shift = { own: glided * eased, common: (tRefS: number) => this.offsetThen(stream, tRefS, glided) * (eased - 1) };
      this.drawLane(stream, box, shift, isKnown, eased);
      this.drawEvents(stream, box, shift.common, scale);
    }
    const all = { x: 0, top: AXIS_PX, width: this.width, height: SCORE_PX - 1 };
    this.drawSession(all, streams.length * laneHeight);
  }

  /** Own clock − timeline, s: as estimated, or as it looks by arrival. */
  private shiftOf(stream: Stream, atS: number): number {
    return this.model.offset(stream.node, atS) ?? stream.arrivalOffsetS ?? 0;
  }

  /** The same at an instant: what came before this page was opened was placed by another offset than today's. */
  private offsetThen(stream: Stream, tRefS: number, todayS: number): number {
    const beginS = stream.activity.endHop === null ? Infinity : stream.activity.firstHop * stream.activity.hopS - todayS;
    return tRefS < beginS ? (this.model.past.offsetAt(stream.name, tRefS) ?? todayS) : todayS;
  }

  /**
   * `own` is what is taken from readings of the node's clock to place them, `common` from an instant
   * of the timeline: 0 while aligned, which `eased` 1 is.
   */
  private drawLane(stream: Stream, box: Box, shift: { own: number; common: (tRefS: number) => number }, isKnown: boolean, eased: number): void {
    const { context, colours } = this;
    const leftS = this.right - this.windowS;
    const colour = colours[stream.modality === "text" ? "text-stream" : stream.modality] || colours["unknown"]!;
    context.fillStyle = colours["lane"]!;
    context.fillRect(0, box.top + box.height, box.width, 1);
    context.globalAlpha = isKnown ? 1 : 0.45;
    const beginS = stream.activity.endHop === null ? Infinity : stream.activity.firstHop * stream.activity.hopS - shift.own;
    if (isKnown && beginS > leftS) this.drawPast(stream.name, box, eased - 1, colour, beginS);
    this.drawTiles(stream.activity, box, shift.own, colour);
    context.globalAlpha = 1;
    if (!isKnown) hatch(context, box, colours["warn"]!);
    for (const stretch of stream.stretches) {
      const part = this.part(box, stretch.fromS - shift.own, stretch.toS === null ? null : stretch.toS - shift.own);
      if (!part) continue;
      hatch(context, part, colours["muted"]!);
      label(context, part, `nothing: ${stretch.reason}`, colours["muted"]!, colours["card"]!);
    }
    for (const anomaly of this.model.anomalies.all) {
      if (!anomaly.streams.includes(stream.name) && anomaly.suspect !== stream.name) continue;
      const { fromS, toS } = anomaly;
      const part = this.part(box, fromS - shift.common(fromS), toS === null ? null : toS - shift.common(toS));
      if (part) shade(context, part, anomaly, anomaly.suspect === stream.name, colours["bad"]!);
    }
  }

  /** Colour of a score by its height in a box: calm below, alarming above. */
  private rising({ top, height }: Box): CanvasGradient {
    const gradient = this.context.createLinearGradient(0, top + height, 0, top);
    gradient.addColorStop(0, this.colours["muted"]!);
    const alarming = heightOf(this.model.alarmScore);
    gradient.addColorStop(alarming * 0.6, this.colours["muted"]!);
    gradient.addColorStop(alarming, this.colours["bad"]!);
    return gradient;
  }

  private drawTiles(source: ActivitySource, box: Box, shift: number, colour: string): void {
    const leftS = this.right - this.windowS;
    const tileS = TILE_HOPS * source.hopS;
    const last = Math.floor((this.right + shift) / tileS);
    for (let k = Math.floor((leftS + shift) / tileS); k <= last; k++) {
      const tile = this.tiles.get(source, k, colour, this.colours["bad"]!);
      if (tile) this.drawPiece(tile, box, { fromHop: 0, toHop: TILE_HOPS }, k * tileS - shift, source.hopS);
    }
  }

  /** Draw what is stored, until a place on the axis; `share` of its offsets is taken from the instants. */
  private drawPast(name: string, box: Box, share: number, colour: string, untilS: number): void {
    const source = this.model.past.source(name);
    const leftS = this.right - this.windowS;
    const tileS = TILE_HOPS * source.hopS;
    const reachS = share === 0 ? 0 : LONGEST_SHIFT_S;
    const last = Math.floor((Math.min(this.right, untilS) + reachS) / tileS);
    for (let k = Math.floor((leftS - reachS) / tileS); k <= last; k++) {
      if (source.version(k) === undefined) continue;
      for (const { fromHop, toHop, offsetS } of this.model.past.pieces(name, k)) {
        const atS = k * tileS - share * offsetS;
        const end = Math.min(toHop, (untilS - atS) / source.hopS);
        if (end <= fromHop || atS + end * source.hopS < leftS || atS + fromHop * source.hopS > this.right) continue;
        const tile = this.tiles.get(source, k, colour, this.colours["bad"]!);
        if (tile) this.drawPiece(tile, box, { fromHop, toHop: end }, atS, source.hopS);
      }
    }
  }

  /** Draw some hops of a tile that begins at an instant. */
  private drawPiece(tile: HTMLCanvasElement, box: Box, hops: { fromHop: number; toHop: number }, atS: number, hopS: number): void {
    const { fromHop, toHop } = hops;
    const scale = box.width / this.windowS;
    const perHop = tile.width / TILE_HOPS;
    const x = (atS + fromHop * hopS - (this.right - this.windowS)) * scale;
    const drawn = toHop - fromHop;
    this.context.drawImage(tile, fromHop * perHop, 0, drawn * perHop, tile.height, x, box.top + 2, drawn * hopS * scale, box.height - 4);
  }

  /** The part of a box between two instants; null: it is out of sight. An end that is null is now. */
  private part(box: Box, fromS: number, toS: number | null): Box | null {
    const leftS = this.right - this.windowS;
    const scale = box.width / this.windowS;
    const from = Math.max((fromS - leftS) * scale, 0);
    const newest = ((this.edgeS ?? this.right) - leftS) * scale;
    const to = Math.min(toS === null ? Math.max(newest, from) : (toS - leftS) * scale, box.width);
    return to < from || from >= box.width || to < 0 ? null : { ...box, x: from, width: to - from };
  }

  /** The whole session's score, and its anomalies over all lanes' height. */
  private drawSession(box: Box, lanesHeight: number): void {
    const { context, colours, model } = this;
    const leftS = this.right - this.windowS;
    const range = { leftS, rightS: this.right };
    const rising = this.rising(box);
    const accepted = box.top + box.height - 1 - heightOf(model.alarmScore) * (box.height - 3);
    context.fillStyle = colours["line"]!;
    context.fillRect(0, box.top + box.height, box.width, 1);
    context.save();
    context.strokeStyle = colours["muted"]!;
    context.globalAlpha = 0.5;
    context.setLineDash([2, 4]);
    context.beginPath();
    context.moveTo(0, accepted);
    context.lineTo(box.width, accepted);
    context.stroke();
    context.restore();
    for (const scores of model.past.scores(leftS, this.right)) {
      const liveS = model.scores.timesS[0] ?? Infinity;
      if ((scores.timesS[0] ?? Infinity) < liveS) curve(context, box, scores, { ...range, untilS: liveS }, rising);
    }
    curve(context, box, model.scores, range, rising);
    for (const anomaly of model.anomalies.all) {
      const part = this.part(box, anomaly.fromS, anomaly.toS);
      if (!part) continue;
      shade(context, part, anomaly, true, colours["bad"]!);
      if (part.width < NARROW_PX) triangle(context, part.x + part.width / 2, box.top, colours["bad"]!);
      label(context, part, anomalyText(anomaly), colours["bad"]!, colours["card"]!);
      context.globalAlpha = 0.06;
      context.fillStyle = colours["bad"]!;
      context.fillRect(part.x, box.top + box.height, part.width, lanesHeight);
      context.globalAlpha = 1;
    }
    if (model.notJudged !== null) {
      context.font = FONT;
      context.fillStyle = colours["muted"]!;
      context.fillText(`not judged: ${model.notJudged}`, 8, box.top + box.height / 2 + 4);
    }
  }

  private drawGrid(scale: number): void {
    const { context, colours } = this;
    const step = [1, 2, 5, 10, 20, 30, 60, 120, 300].find((each) => each * scale >= 70) ?? 300;
    const leftS = this.right - this.windowS;
    context.fillStyle = colours["muted"]!;
    context.font = FONT;
    for (let t = Math.ceil(leftS / step) * step; t < this.right; t += step) {
      const x = (t - leftS) * scale;
      context.globalAlpha = 0.25;
      context.fillRect(Math.round(x), AXIS_PX - 4, 1, this.height);
      context.globalAlpha = 1;
      if (x + SPACE_FOR_TIME_PX < this.width) context.fillText(clockText(t), x + 4, 12);
    }
  }

  /** Steps of the lane's clock, and blocks of it that never came. */
  private drawEvents(stream: Stream, box: Box, shift: (tRefS: number) => number, scale: number): void {
    const colour = this.colours["warn"]!;
    const leftS = this.right - this.windowS;
    for (const told of this.model.events.all) {
      if ((told.kind !== "jump" && told.kind !== "gap") || told.node !== stream.node) continue;
      if (told.tRefS === null || (told.stream !== null && told.stream !== stream.id)) continue;
      const x = (told.tRefS - shift(told.tRefS) - leftS) * scale;
      if (x < 0 || x > box.width) continue;
      this.context.fillStyle = colour;
      this.context.fillRect(x - 1, box.top, 2, box.height);
      triangle(this.context, x, AXIS_PX - 1, colour);
    }
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

function anomalyText(anomaly: Anomaly): string {
  return `anomaly: ${anomaly.suspect}${rarely(Number(anomaly.facts["once_in_days"]))}${anomaly.toS === null ? ", goes on" : ""}`;
}
