/** How much happens in a stream, for the eye: how far each embedding moves from the one before. */

import type { Block } from "./block";

/** Activity by hop of some clock, in tiles that are drawn as bitmaps. */
export interface ActivitySource {
  readonly hopS: number;
  /** Changes when a tile must be drawn anew; undefined: the tile holds nothing. */
  version(tile: number): number | undefined;
  /** Activity of a hop, 0…1; NaN: nothing came. */
  at(hop: number): number;
  /** Height of the stream's anomaly score, 0…1; NaN: not judged, or not kept. */
  scoreAt(hop: number): number;
}

/** Hops a tile of the drawing holds. */
export const TILE_HOPS = 128;
const CAPACITY_HOPS = 8192;
/** Ticks that are further apart leave a hole. */
const LONGEST_TICK_HOPS = 40;
const CALM_PERCENTILE = 0.2;
const BUSY_PERCENTILE = 0.99;

/** What is calm and what is busy for a stream. */
export class Scale {
  /** Grows when it changed enough to be seen. */
  version = 0;
  private low = 0;
  private high = 1e-6;

  /** Learn from moves, NaN where there is none. */
  learn(moves: Float32Array): void {
    const known = moves.filter((move) => !Number.isNaN(move)).sort();
    if (known.length < 8) return;
    const low = known[Math.floor(known.length * CALM_PERCENTILE)]!;
    const high = Math.max(known[Math.floor((known.length - 1) * BUSY_PERCENTILE)]!, low + 1e-6);
    const span = this.high - this.low;
    if (Math.abs(high - this.high) < 0.15 * span && Math.abs(low - this.low) < 0.15 * span) return;
    this.low = low;
    this.high = high;
    this.version++;
  }

  /** A move as 0…1; NaN stays NaN. */
  of(move: number): number {
    return Math.min(Math.max((move - this.low) / (this.high - this.low), 0), 1) + (Number.isNaN(move) ? NaN : 0);
  }
}

/** The last minutes of one stream's activity, by hop of its node's clock. */
export class Activity implements ActivitySource {
  hopS = 0.05;
  /** Number of the hop after the newest; null: nothing came. */
  endHop: number | null = null;
  firstHop = 0;
  private readonly versions = new Map<number, number>();
  readonly scale = new Scale();
  private readonly moves = new Float32Array(CAPACITY_HOPS).fill(NaN);
  private readonly scores = new Float32Array(CAPACITY_HOPS).fill(NaN);
  private scoredHop: number | null = null;
  private last: Float32Array | null = null;
  private sinceScaled = 0;

  get endS(): number | null {
    return this.endHop === null ? null : this.endHop * this.hopS;
  }

  push(block: Block): void {
    this.hopS = block.hopNs * 1e-9;
    const first = Math.round(Number(block.t0NodeNs) / block.hopNs);
    const end = first + block.count;
    if (this.endHop === null || first < this.endHop - CAPACITY_HOPS || first > this.endHop + CAPACITY_HOPS) this.clear(first);
    if (first !== this.endHop) this.last = null;
    for (let hop = this.endHop!; hop < end; hop++) this.moves[mod(hop, CAPACITY_HOPS)] = this.scores[mod(hop, CAPACITY_HOPS)] = NaN;
    for (let k = 0; k < block.count; k++) {
      const row = block.embeddings.subarray(k * block.dim, (k + 1) * block.dim);
      this.moves[mod(first + k, CAPACITY_HOPS)] = this.last === null ? 0 : distance(row, this.last);
      this.last = row;
    }
    for (let tile = Math.floor(first / TILE_HOPS); tile <= Math.floor((end - 1) / TILE_HOPS); tile++) this.touch(tile);
    this.endHop = Math.max(this.endHop!, end);
    this.sinceScaled += block.count;
    if (this.sinceScaled > 200 || this.endHop - this.firstHop < 400) this.rescale();
  }

  /** Activity of a hop, 0…1; NaN: nothing came. */
  at(hop: number): number {
    if (this.endHop === null || hop >= this.endHop || hop < this.firstHop || hop < this.endHop - CAPACITY_HOPS) return NaN;
    return this.scale.of(this.moves[mod(hop, CAPACITY_HOPS)]!);
  }

  /** A score of the hops up to an instant of the node's clock, as a height 0…1; NaN: not judged. */
  pushScore(tNodeS: number, height: number): void {
    const hop = Math.floor(tNodeS / this.hopS);
    if (!(this.firstHop <= hop && this.endHop !== null && hop < this.endHop)) return;
    const since = this.scoredHop === null || hop - this.scoredHop > LONGEST_TICK_HOPS || hop < this.scoredHop ? hop : this.scoredHop + 1;
    for (let k = since; k <= hop; k++) this.scores[mod(k, CAPACITY_HOPS)] = height;
    this.scoredHop = hop;
    for (let tile = Math.floor(since / TILE_HOPS); tile <= Math.floor(hop / TILE_HOPS); tile++) this.touch(tile);
  }

  scoreAt(hop: number): number {
    return this.scores[mod(hop, CAPACITY_HOPS)]!;
  }

  version(tile: number): number | undefined {
    return this.versions.get(tile);
  }

  private clear(first: number): void {
    this.moves.fill(NaN);
    this.scores.fill(NaN);
    this.scoredHop = null;
    this.last = null;
    this.endHop = this.firstHop = first;
    this.versions.clear();
  }

  private touch(tile: number): void {
    this.versions.set(tile, (this.versions.get(tile) ?? 0) + 1);
    if (this.versions.size > 2 * (CAPACITY_HOPS / TILE_HOPS)) this.versions.delete(this.versions.keys().next().value!);
  }

  private rescale(): void {
    this.sinceScaled = 0;
    const before = this.scale.version;
    this.scale.learn(this.moves);
    if (this.scale.version !== before) for (const tile of this.versions.keys()) this.touch(tile);
  }
}

function mod(value: number, by: number): number {
  return ((value % by) + by) % by;
}

function distance(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += (a[k]! - (b[k] ?? 0)) ** 2;
  return Math.sqrt(sum);
}
