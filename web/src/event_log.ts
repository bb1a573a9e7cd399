/** What was told of a session: as it is heard, and as the store keeps it, each event once. */

export interface Told {
  kind: string;
  node: string;
  stream: string | null;
  /** Where it lies on the timeline that is shown, s; null: on none, or on an earlier one. */
  tRefS: number | null;
  heardS: number;
  /** Its number in the store; null: it was heard, and the store was not asked yet. */
  number: number | null;
  /** When it was told, UTC, s; null: not known. */
  utcS: number | null;
  facts: Record<string, unknown>;
}

const MOST = 2000;
const OF_THE_STORE = new Set(["number", "told_utc_ns", "timeline"]);

export class EventLog {
  /** In the order they were told. */
  readonly all: Told[] = [];
  /** Whether the store keeps earlier ones. */
  hasEarlier = false;
  /** Grows with every change. */
  version = 0;

  /** An event is heard. */
  push(told: Told): void {
    this.all.push(told);
    if (this.all.length > MOST) this.all.shift();
    this.version++;
  }

  /** Put in an event of the store; false: it was known. */
  addStored(told: Told): boolean {
    if (this.all.some((each) => each.number === told.number)) return false;
    const key = keyOf(told);
    const heard = this.all.findLast((each) => each.number === null && keyOf(each) === key);
    if (heard) {
      heard.number = told.number;
      heard.utcS = told.utcS;
    } else this.all.push(told);
    this.all.sort((a, b) => (a.number ?? Infinity) - (b.number ?? Infinity) || a.heardS - b.heardS);
    this.version++;
    return !heard;
  }

  /** The lowest number that is known; null: none is. */
  get oldest(): number | null {
    return this.all.find((each) => each.number !== null)?.number ?? null;
  }
}

function keyOf(told: Told): string {
  const facts = Object.entries(told.facts).filter(([key]) => !OF_THE_STORE.has(key) && !(key === "t_ref_ns" && told.kind !== "anomaly"));
  return JSON.stringify([told.kind, told.node, told.stream, facts.sort(([a], [b]) => (a < b ? -1 : 1))]);
}
