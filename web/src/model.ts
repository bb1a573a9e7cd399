/** What is known of one session: taken in message by message, read by the views. */

import { Activity } from "./activity";
import { decodeBlock } from "./block";
import { type Clock, offsetAt, toRef } from "./clock";
import { Edge } from "./edge";

export type Modality = "text" | "image" | "video" | "audio" | "metadata" | "unknown";

export interface Stretch {
  fromS: number;
  toS: number | null;
  reason: string;
}

export interface Stream {
  name: string;
  node: string;
  id: string;
  modality: Modality;
  activity: Activity;
  /** Why it carries nothing, as its node says; null: it carries something. */
  irrelevant: string | null;
  /** When it carried nothing, on its node's clock, s; to null: until now. */
  stretches: Stretch[];
  /** Newest sample minus the timeline's now when it came: places a stream whose clock is unknown. */
  arrivalOffsetS: number | null;
  lastSeenS: number | null;
  bootId: string | null;
}

export interface Told {
  kind: string;
  node: string;
  stream: string | null;
  tRefS: number | null;
  heardS: number;
  facts: Record<string, unknown>;
}

export interface PairFacts {
  first: string;
  second: string;
  kind: "hardware" | "network" | "content";
  accepted: boolean;
  ci95_s: number | null;
}

export interface StreamCounts {
  blocks: number;
  duplicates: number;
  late: number;
  lost: number;
  refused: boolean;
  looks_like: string | null;
}

export interface AggregatorState {
  state: "online" | "offline";
  reference?: string | null;
  degraded?: string[];
  pairs?: PairFacts[];
  streams?: Record<string, StreamCounts>;
}

export interface ClockPoint {
  tS: number;
  offsetS: number;
  ci95S: number | null;
  skewPpm: number | null;
  skewCi95Ppm: number | null;
  evidence: string[];
}

/** An estimate as the API tells it of the past. */
export interface StoredClock {
  node: string;
  t_ref_ns: number;
  status: string;
  offset_ns: number | null;
  skew_ppb: number | null;
  var_offset_ns2: number | null;
  var_skew_ppb2: number | null;
  evidence: string[];
}

const NORMAL_95 = 1.959964;
const MOST_POINTS = 3000;
const MOST_EVENTS = 300;
const MOST_STRETCHES = 50;

export class Model {
  readonly streams = new Map<string, Stream>();
  readonly clocks = new Map<string, Clock>();
  readonly history = new Map<string, ClockPoint[]>();
  readonly nodes = new Map<string, Record<string, unknown>>();
  readonly events: Told[] = [];
  readonly edge = new Edge();
  aggregator: AggregatorState | null = null;
  /** Streams that the aggregator warns of, with the reason; null: it said nothing yet. */
  unsynchronised: Record<string, string> | null = null;
  numBadBlocks = 0;

  /** Take in one message; `path` is the topic below the session. */
  take(path: string, payload: Uint8Array, nowS: number): void {
    const [subtree, ...names] = path.split("/");
    if (subtree === "bin" && names.length === 2) return this.takeBlock(names[0]!, names[1]!, payload, nowS);
    if (payload.length === 0) return;
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder().decode(payload));
    } catch {
      return;
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    const facts = value as Record<string, unknown>;
    if (subtree === "state" && names[0] === "aggregator") this.aggregator = facts as unknown as AggregatorState;
    else if (subtree === "state" && names.length === 1) this.nodes.set(names[0]!, facts);
    else if (subtree === "state" && names.length === 2) this.takeDescriptor(names[0]!, names[1]!, facts);
    else if (subtree === "clock" && names.length === 1) this.takeClock(facts as unknown as Clock);
    else if (subtree === "unsynchronised") this.unsynchronised = (facts["streams"] ?? {}) as Record<string, string>;
    else if (subtree === "event") this.takeEvent(names, facts, nowS);
  }

  takeClock(clock: Clock): void {
    const before = this.clocks.get(clock.node);
    if (before && before.reference !== clock.reference) {
      this.history.clear();
      this.edge.reset();
    }
    this.clocks.set(clock.node, clock);
    if (clock.offset_s === null || clock.status === "reference" || !clock.t_ref_ns) return;
    this.addPoint(clock.node, {
      tS: clock.t_ref_ns * 1e-9,
      offsetS: clock.offset_s,
      ci95S: clock.ci95_s,
      skewPpm: clock.skew_ppm,
      skewCi95Ppm: clock.skew_ci95_ppm,
      evidence: clock.status === "locked" ? clock.evidence : [],
    });
  }

  /** Put an estimate of the past before those that were heard. */
  addStored(row: StoredClock): void {
    if (row.offset_ns === null) return;
    const half = (variance: number | null, unit: number) => (variance === null ? null : NORMAL_95 * Math.sqrt(variance) * unit);
    const points = this.history.get(row.node) ?? [];
    const tS = row.t_ref_ns * 1e-9;
    const at = points.findIndex((point) => point.tS >= tS);
    if (points[at]?.tS === tS) return;
    points.splice(at < 0 ? points.length : at, 0, {
      tS,
      offsetS: row.offset_ns * 1e-9,
      ci95S: half(row.var_offset_ns2, 1e-9),
      skewPpm: row.skew_ppb === null ? null : row.skew_ppb * 1e-3,
      skewCi95Ppm: half(row.var_skew_ppb2, 1e-3),
      evidence: row.evidence,
    });
    this.history.set(row.node, points);
  }

  addPoint(node: string, point: ClockPoint): void {
    const points = this.history.get(node) ?? [];
    this.history.set(node, points);
    const last = points.at(-1);
    if (last && point.tS < last.tS) points.length = 0; // the timeline began anew
    if (last && point.tS === last.tS) points.pop();
    points.push(point);
    if (points.length > MOST_POINTS) points.splice(0, points.length - MOST_POINTS);
  }

  /** The node whose clock is the time axis: the reference, or the first heard until there is one. */
  get axisNode(): string | null {
    for (const clock of this.clocks.values()) if (clock.reference) return clock.reference;
    return this.streams.values().next().value?.node ?? null;
  }

  stream(node: string, id: string): Stream {
    const name = `${node}/${id}`;
    let stream = this.streams.get(name);
    if (!stream) {
      stream = {
        name,
        node,
        id,
        modality: "unknown",
        activity: new Activity(),
        irrelevant: null,
        stretches: [],
        arrivalOffsetS: null,
        lastSeenS: null,
        bootId: null,
      };
      this.streams.set(name, stream);
    }
    return stream;
  }

  /** The clock's offset at an instant, s; null: not known. */
  offset(node: string, tRefS: number): number | null {
    return node === this.axisNode ? 0 : offsetAt(this.clocks.get(node), tRefS);
  }

  /** Why a stream is not known to be synchronised; null: it is. */
  warning(stream: Stream): string | null {
    const clock = this.clocks.get(stream.node);
    if (clock?.offset_s !== null && clock?.offset_s !== undefined && clock.status !== "unrelated") return null;
    return this.unsynchronised?.[stream.name] ?? (clock?.status === "unrelated" ? "unrelated" : "no_estimate");
  }

  /** How far a stream's newest sample is behind the newest of all, on the timeline; null: unknown. */
  backlogS(stream: Stream): number | null {
    const end = this.endRefS(stream);
    if (end === null) return null;
    let newest = end;
    for (const other of this.streams.values()) newest = Math.max(newest, this.endRefS(other) ?? newest);
    return newest - end;
  }

  private endRefS(stream: Stream): number | null {
    const end = stream.activity.endS;
    if (end === null) return null;
    return stream.node === this.axisNode ? end : toRef(this.clocks.get(stream.node), end);
  }

  private takeBlock(node: string, id: string, payload: Uint8Array, nowS: number): void {
    let block;
    try {
      block = decodeBlock(payload);
    } catch {
      this.numBadBlocks++;
      return;
    }
    const stream = this.stream(node, id);
    if (stream.bootId !== null && stream.bootId !== block.bootId) {
      stream.activity = new Activity();
      stream.stretches = [];
    }
    stream.bootId = block.bootId;
    stream.activity.push(block);
    stream.lastSeenS = nowS;
    const endS = stream.activity.endS!;
    if (node === this.axisNode) this.edge.push(endS, nowS);
    const edgeS = this.edge.at(nowS);
    if (edgeS !== null) {
      const now = endS - edgeS;
      const before = stream.arrivalOffsetS;
      stream.arrivalOffsetS = before === null || Math.abs(now - before) > 5 ? now : before + 0.1 * (now - before);
    }
  }

  private takeDescriptor(node: string, id: string, facts: Record<string, unknown>): void {
    const stream = this.stream(node, id);
    stream.modality = (facts["modality"] as Modality | undefined) ?? "unknown";
    const relevance = facts["relevance"] as Record<string, unknown> | undefined;
    const isIrrelevant = relevance?.["state"] === "irrelevant";
    stream.irrelevant = isIrrelevant ? String(relevance["reason"]) : null;
    if (!relevance) return;
    const sinceS = Number(relevance["since_node_ns"]) * 1e-9;
    const open = stream.stretches.at(-1);
    if (open?.toS === null && open.fromS !== sinceS) open.toS = sinceS;
    if (isIrrelevant && open?.fromS !== sinceS)
      stream.stretches.push({ fromS: sinceS, toS: null, reason: stream.irrelevant ?? "" });
    if (stream.stretches.length > MOST_STRETCHES) stream.stretches.shift();
  }

  private takeEvent(names: string[], facts: Record<string, unknown>, nowS: number): void {
    const at = facts["at_s"] ?? facts["t_ref"];
    this.events.push({
      kind: names[0] ?? "event",
      node: names[1] ?? "",
      stream: names[2] ?? null,
      tRefS: typeof at === "number" ? at : this.edge.at(nowS),
      heardS: nowS,
      facts,
    });
    if (this.events.length > MOST_EVENTS) this.events.shift();
  }
}
