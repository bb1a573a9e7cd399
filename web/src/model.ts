/** What is known of one session: taken in message by message, read by the views. */

import { Activity } from "./activity";
import { Anomalies } from "./anomalies";
import { decodeBlock } from "./block";
import { type Clock, offsetAt, toRef } from "./clock";
import { Edge } from "./edge";
import { EventLog } from "./event_log";
import { Past } from "./past";
import { heightOf, Scores } from "./scores";

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
  /** What a recogniser found of a stream that nobody labelled; null: it was labelled. */
  recognised: Recognised | null;
  /** Why it carries nothing, as its node says; null: it carries something. */
  irrelevant: string | null;
  /** When it carried nothing, on its node's clock, s; to null: until now. */
  stretches: Stretch[];
  /** Newest sample minus the timeline's now when it came: places a stream whose clock is unknown. */
  arrivalOffsetS: number | null;
  lastSeenS: number | null;
  bootId: string | null;
}

export interface Recognised {
  modality?: string;
  confidence?: number;
  format?: string;
  why?: string;
}

export interface Tick {
  t_ref: number;
  streams: Record<string, { t_node_ns: number; anomaly?: number | null }>;
  anomaly?: number | null;
  alarm?: boolean | null;
  fusion_why?: string | null;
}

/** An event as the API tells it of the past. */
export interface StoredEvent {
  number: number;
  event: string;
  node: string;
  stream?: string;
  told_utc_ns: number;
  timeline: number | null;
  t_ref_ns: number | null;
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
  jumps: [number, number][];
}

const NORMAL_95 = 1.959964;
const MOST_POINTS = 3000;
const MOST_STRETCHES = 50;
/** A stretch that carries nothing is told some seconds after it began. */
const TOLD_WITHIN_S = 600;
/** A tick that is so much older than the newest is of another run of the clock. */
const LONGEST_STEP_BACK_S = 60;

export class Model {
  readonly streams = new Map<string, Stream>();
  readonly clocks = new Map<string, Clock>();
  readonly history = new Map<string, ClockPoint[]>();
  readonly nodes = new Map<string, Record<string, unknown>>();
  readonly events = new EventLog();
  readonly anomalies = new Anomalies();
  /** How unusual the whole session was. */
  readonly scores = new Scores();
  readonly past: Past;
  readonly edge = new Edge();
  /** The score from which on it is an anomaly: once a day, until an event says what is accepted. */
  alarmScore = 0;
  /** Why nothing is judged; null: it is, or no tick came yet. */
  notJudged: string | null = null;
  /** Number of the stored timeline that is shown; null: none is stored. */
  timeline: number | null = null;
  /** The reference node of a session that is over; null: it is live. */
  storedReference: string | null = null;
  aggregator: AggregatorState | null = null;
  /** Streams that the aggregator warns of, with the reason; null: it said nothing yet. */
  unsynchronised: Record<string, string> | null = null;
  numBadBlocks = 0;

  /** `base`: the session in the API. */
  constructor(readonly base = "") {
    this.past = new Past(base, (name) => {
      const [node, id] = name.split("/");
      return this.stream(node!, id!).activity.scale;
    });
  }

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
    else if (subtree === "aligned") this.takeTick(facts as unknown as Tick);
    else if (subtree === "event") this.takeEvent(names, facts, nowS);
  }

  takeClock(clock: Clock): void {
    const before = this.clocks.get(clock.node);
    if (before && before.reference !== clock.reference) {
      this.history.clear();
      this.edge.reset();
      this.forgetTimeline();
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

  /** Show a session that is over: the last that was estimated of its clocks. */
  showStored(reference: string, rows: StoredClock[]): void {
    this.storedReference = reference;
    for (const row of rows) {
      this.clocks.set(row.node, {
        node: row.node,
        reference,
        status: row.status as Clock["status"],
        t_ref_ns: row.t_ref_ns,
        offset_s: row.offset_ns === null ? null : row.offset_ns * 1e-9,
        skew_ppm: row.skew_ppb === null ? null : row.skew_ppb * 1e-3,
        ci95_s: half(row.var_offset_ns2, 1e-9),
        skew_ci95_ppm: half(row.var_skew_ppb2, 1e-3),
        evidence: row.evidence as Clock["evidence"],
        jumps: row.jumps.map(([at_ns, jump_ns]) => ({ at_s: at_ns * 1e-9, jump_s: jump_ns * 1e-9 })),
        holdover_s: null,
      });
    }
  }

  /** Put an estimate of the past before those that were heard. */
  addStored(row: StoredClock): void {
    if (row.offset_ns === null) return;
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
    if (this.storedReference !== null) return this.storedReference;
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
        recognised: null,
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
    this.useBoot(stream, block.bootId);
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

  /** Another run of a node has another clock. */
  private useBoot(stream: Stream, bootId: string): void {
    if (stream.bootId !== null && stream.bootId !== bootId) {
      stream.activity = new Activity();
      stream.stretches = [];
    }
    stream.bootId = bootId;
  }

  private takeDescriptor(node: string, id: string, facts: Record<string, unknown>): void {
    const stream = this.stream(node, id);
    if (typeof facts["boot"] === "string") this.useBoot(stream, facts["boot"]);
    stream.modality = (facts["modality"] as Modality | undefined) ?? "unknown";
    stream.recognised = (facts["recognised"] as Recognised | null | undefined) ?? null;
    const relevance = facts["relevance"] as Record<string, unknown> | undefined;
    const isIrrelevant = relevance?.["state"] === "irrelevant";
    stream.irrelevant = isIrrelevant ? String(relevance["reason"]) : null;
    if (!relevance) return;
    this.takeRelevance(stream, isIrrelevant, Number(relevance["since_node_ns"]) * 1e-9, stream.irrelevant);
  }

  /** A stream begins or ends to carry nothing, at a reading of its node's clock. */
  private takeRelevance(stream: Stream, isIrrelevant: boolean, sinceS: number, why: string | null): void {
    const { stretches } = stream;
    const before = stretches.findLast((each) => each.fromS <= sinceS);
    if (before?.fromS !== sinceS && before && (before.toS === null || before.toS > sinceS)) before.toS = sinceS;
    if (!isIrrelevant || before?.fromS === sinceS) return;
    const at = stretches.findIndex((each) => each.fromS > sinceS);
    const next = stretches[at];
    stretches.splice(at < 0 ? stretches.length : at, 0, { fromS: sinceS, toS: next?.fromS ?? null, reason: why ?? "" });
    if (stretches.length > MOST_STRETCHES) stretches.shift();
  }

  /** What was fused at an instant: how unusual it all was. */
  private takeTick(tick: Tick): void {
    if (typeof tick.t_ref !== "number") return;
    if (tick.t_ref < (this.scores.timesS.at(-1) ?? -Infinity) - LONGEST_STEP_BACK_S) this.forgetTimeline();
    this.scores.push(tick.t_ref, tick.anomaly);
    for (const [name, told] of Object.entries(tick.streams ?? {})) this.streams.get(name)?.activity.pushScore(told.t_node_ns * 1e-9, heightOf(told.anomaly ?? NaN));
    this.notJudged = tick.fusion_why ?? null;
    if (tick.alarm === false) this.anomalies.close(tick.t_ref);
  }

  /** The timeline is another one: what was marked on the old one has no place on it. */
  private forgetTimeline(): void {
    this.anomalies.clear();
    this.scores.clear();
    for (const told of this.events.all) told.tRefS = null;
  }

  private takeEvent(names: string[], facts: Record<string, unknown>, nowS: number): void {
    const [kind = "event", node = "", stream = null] = names;
    const tRefS = eventRefS(facts) ?? this.edge.at(nowS);
    this.events.push({ kind, node, stream, tRefS, heardS: nowS, number: null, utcS: null, facts });
    if (kind === "anomaly" && stream !== null) this.takeAnomaly(`${node}/${stream}`, facts);
  }

  private takeAnomaly(suspect: string, facts: Record<string, unknown>): void {
    this.anomalies.take(suspect, facts);
    const perDay = facts["false_alarms_per_day"];
    if (typeof perDay === "number" && perDay > 0) this.alarmScore = -Math.log10(perDay);
  }

  /** Put in an event that the store keeps. */
  addStoredEvent(row: StoredEvent): void {
    const facts = row as unknown as Record<string, unknown>;
    const { number, event: kind, node, stream = null } = row;
    const isOfTimeline = row.timeline !== null && row.timeline === this.timeline;
    const toldS = row.t_ref_ns === null ? null : row.t_ref_ns * 1e-9;
    const tRefS = isOfTimeline ? (eventRefS(facts) ?? toldS) : null;
    const told = { kind, node, stream, tRefS, heardS: -Infinity, number, utcS: row.told_utc_ns * 1e-9, facts };
    if (!this.events.addStored(told) || tRefS === null || stream === null) return;
    if (kind === "anomaly") this.takeAnomaly(`${node}/${stream}`, facts);
    if (kind !== "relevance") return;
    const sinceS = Number(facts["since_node_ns"]) * 1e-9;
    const sinceRefS = sinceS - (this.offset(node, tRefS) ?? NaN);
    // Another run of the node's clock says nothing of this one.
    if (sinceRefS <= tRefS + 1 && sinceRefS > tRefS - TOLD_WITHIN_S)
      this.takeRelevance(this.stream(node, stream), facts["state"] === "irrelevant", sinceS, String(facts["reason"] ?? ""));
  }
}

/** Half-width of a 95 % interval; null: unknown. */
function half(variance: number | null, unit: number): number | null {
  return variance === null ? null : NORMAL_95 * Math.sqrt(variance) * unit;
}

/** When an event says that it was, s of the timeline; null: it does not say. */
function eventRefS(facts: Record<string, unknown>): number | null {
  const at = facts["at_s"] ?? facts["t_ref"];
  if (typeof at === "number") return at;
  const atNs = facts["t_ref_ns"];
  return typeof atNs === "number" ? atNs * 1e-9 : null;
}
