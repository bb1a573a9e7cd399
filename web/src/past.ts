/** What the store keeps of the timeline, fetched in chunks as it comes into view. */

import { type ActivitySource, type Scale, TILE_HOPS } from "./activity";
import { fetchJson } from "./fetching";
import { Scores } from "./scores";

/** One tile of the drawing at the hop of the embeddings. */
const STEP_S = 0.05;
const CHUNK_HOPS = 4 * TILE_HOPS;
const CHUNK_S = CHUNK_HOPS * STEP_S;
const MOST_CHUNKS = 60;
/** A chunk that the newest data had not filled is asked for again after so long. */
const AGAIN_S = 5;
/** What was sent is stored by then. */
const STORED_WITHIN_S = 10;

interface Chunk {
  moves: Map<string, Float32Array>;
  /** By which offsets each stream's moves were placed: from which hop of the chunk on, and how much. */
  offsets: Map<string, [number, number][]>;
  scores: Scores;
  isWhole: boolean;
  fetchedS: number;
  version: number;
}

interface Answer {
  from_ns: number;
  streams: Record<string, { activity: (number | null)[]; offset_s: [number, number][] }>;
}

/** A part of a tile, in hops of the tile, that was placed by one offset (node − timeline; positive: fast). */
export interface Piece {
  fromHop: number;
  toHop: number;
  offsetS: number;
}

/** Stored activity of one stream, by hop of the timeline. */
class StoredActivity implements ActivitySource {
  readonly hopS = STEP_S;

  constructor(
    private readonly past: Past,
    private readonly name: string,
  ) {}

  version(tile: number): number | undefined {
    const chunk = this.past.chunkAt(Math.floor((tile * TILE_HOPS) / CHUNK_HOPS));
    return chunk?.moves.has(this.name) ? chunk.version * 1000 + this.past.scaleOf(this.name).version : undefined;
  }

  at(hop: number): number {
    const number = Math.floor(hop / CHUNK_HOPS);
    const move = this.past.chunkAt(number)?.moves.get(this.name)?.[hop - number * CHUNK_HOPS];
    return move === undefined ? NaN : this.past.scaleOf(this.name).of(move);
  }

  scoreAt(): number {
    return NaN; // the store keeps the session's score only
  }
}

export class Past {
  /** Whether the session is kept at all; null: not known yet. */
  isKept: boolean | null = null;
  /** The newest instant that is known to be stored, s; null: not known. */
  newestS: number | null = null;
  /** Where what is stored begins, s; null: not known. */
  oldestS: number | null = null;
  isLoading = false;
  /** Whether nothing is added any more. */
  isOver = false;
  private readonly chunks = new Map<number, Chunk>();
  private readonly sources = new Map<string, StoredActivity>();
  private numFetched = 0;

  constructor(
    private readonly base: string,
    /** The scale of a stream's live activity: the past is drawn by the same. */
    readonly scaleOf: (name: string) => Scale,
  ) {}

  chunkAt(number: number): Chunk | undefined {
    return this.chunks.get(number);
  }

  /** Offset by which a stream's data of an instant was placed, s; null: nothing is known of it. */
  offsetAt(name: string, tRefS: number): number | null {
    const number = Math.floor(tRefS / CHUNK_S);
    const told = this.chunks.get(number)?.offsets.get(name);
    if (told === undefined || told.length === 0) return null;
    const hop = Math.floor(tRefS / STEP_S) - number * CHUNK_HOPS;
    return (told.findLast(([fromHop]) => fromHop <= hop) ?? told[0]!)[1];
  }

  /** How a tile of a stream was placed, piece by piece. */
  pieces(name: string, tile: number): Piece[] {
    const number = Math.floor((tile * TILE_HOPS) / CHUNK_HOPS);
    const told = this.chunks.get(number)?.offsets.get(name) ?? [];
    const first = tile * TILE_HOPS - number * CHUNK_HOPS;
    const found: Piece[] = [];
    for (const [k, [from, offsetS]] of told.entries()) {
      const fromHop = Math.max(k === 0 ? 0 : from - first, 0);
      const toHop = Math.min((told[k + 1]?.[0] ?? Infinity) - first, TILE_HOPS);
      if (fromHop < toHop) found.push({ fromHop, toHop, offsetS });
    }
    return found;
  }

  source(name: string): ActivitySource {
    let source = this.sources.get(name);
    if (!source) this.sources.set(name, (source = new StoredActivity(this, name)));
    return source;
  }

  /** The session's stored scores that lie in a range, a chunk after another. */
  *scores(fromS: number, toS: number): Generator<Scores> {
    for (let k = Math.floor(fromS / CHUNK_S); k <= Math.floor(toS / CHUNK_S); k++) {
      const chunk = this.chunks.get(k);
      if (chunk) yield chunk.scores;
    }
  }

  /** Fetch what a range lacks, one chunk at a time, the newest first. */
  want({ leftS: fromS, rightS: toS }: { leftS: number; rightS: number }, liveS: number | null, nowS: number): void {
    if (this.isKept !== true || this.isLoading) return;
    const newestS = liveS ?? this.newestS ?? toS;
    const last = Math.floor(Math.min(toS, newestS) / CHUNK_S);
    const first = Math.floor(Math.max(fromS, this.oldestS ?? fromS) / CHUNK_S);
    for (let k = last; k >= first; k--) {
      const chunk = this.chunks.get(k);
      if (chunk && (chunk.isWhole || nowS - chunk.fetchedS < AGAIN_S)) continue;
      void this.fetch(k, this.isOver ? Infinity : newestS, nowS);
      return;
    }
  }

  private async fetch(number: number, newestS: number, nowS: number): Promise<void> {
    this.isLoading = true;
    const range = `from=${(number * CHUNK_S).toFixed(3)}&to=${((number + 1) * CHUNK_S).toFixed(3)}`;
    const [told, ticks] = await Promise.all([
      fetchJson(`${this.base}/activity?${range}&step=${STEP_S}`),
      fetchJson(`${this.base}/ticks?${range}`),
    ]);
    this.isLoading = false;
    const scores = new Scores();
    for (const tick of (ticks?.["ticks"] ?? []) as { t_ref_ns: number; anomaly?: number | null }[]) scores.push(tick.t_ref_ns * 1e-9, tick.anomaly);
    const moves: Chunk["moves"] = new Map();
    const offsets: Chunk["offsets"] = new Map();
    const streams = told === null ? {} : (told as unknown as Answer).streams;
    for (const [name, each] of Object.entries(streams)) {
      if (!each.activity.some((move) => move !== null)) continue;
      const row = Float32Array.from(each.activity, (move) => move ?? NaN);
      moves.set(name, row);
      offsets.set(name, each.offset_s);
      const scale = this.scaleOf(name);
      if (scale.version === 0) scale.learn(row);
    }
    const isWhole = told !== null && newestS > (number + 1) * CHUNK_S + STORED_WITHIN_S;
    this.chunks.set(number, { moves, offsets, scores, isWhole, fetchedS: nowS, version: ++this.numFetched });
    if (this.chunks.size > MOST_CHUNKS) this.chunks.delete(this.chunks.keys().next().value!);
  }
}
