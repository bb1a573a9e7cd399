/** Anomalies as stretches of the timeline: made of events that tell their begin and their end. */

export interface Anomaly {
  /** The stream that was least as it should be, `node/stream`. */
  suspect: string;
  /** All that were not as they should be. */
  streams: string[];
  fromS: number;
  /** null: it goes on. */
  toS: number | null;
  facts: Record<string, unknown>;
}

const MOST = 500;
/** Begin and end tell the same instant, rounded differently. */
const SAME_S = 0.5;

export class Anomalies {
  /** In the order of their begin. */
  readonly all: Anomaly[] = [];

  /** Take in an event, of now or of the past, in any order. */
  take(suspect: string, facts: Record<string, unknown>): void {
    const toldS = Number(facts["t_ref_ns"]) * 1e-9;
    if (!Number.isFinite(toldS)) return;
    const isEnd = facts["state"] === "end";
    const fromS = isEnd ? toldS - Number(facts["duration_s"] ?? 0) : toldS;
    const streams = Array.isArray(facts["streams"]) ? facts["streams"].map(String) : [suspect];
    const known = this.all.find((each) => each.suspect === suspect && Math.abs(each.fromS - fromS) < SAME_S);
    if (known) {
      if (isEnd) Object.assign(known, { toS: toldS, streams, facts });
      return;
    }
    const at = this.all.findIndex((each) => each.fromS > fromS);
    this.all.splice(at < 0 ? this.all.length : at, 0, { suspect, streams, fromS, toS: isEnd ? toldS : null, facts });
    // One goes on at a time: an older one whose end nobody told (a restart) is a mark at its begin.
    for (const each of this.all.slice(0, -1)) each.toS ??= each.fromS;
    if (this.all.length > MOST) this.all.shift();
  }

  /** A tick says that none goes on. */
  close(tS: number): void {
    const last = this.all.at(-1);
    if (last && last.toS === null && last.fromS < tS) last.toS = tS;
  }

  clear(): void {
    this.all.length = 0;
  }
}
