/** Anomaly scores over time, of one stream or of the whole session. */

const MOST = 4096;
/** A tick says log10 of the days between such false alarms: this is nothing (docs/guide/mqtt.md) … */
const NOTHING = -3;
/** … and this is as high as is drawn: once in a hundred days. */
const HIGHEST = 2;

/** Height of a score, 0…1. */
export function heightOf(score: number): number {
  return Math.min(Math.max((score - NOTHING) / (HIGHEST - NOTHING), 0), 1);
}

export class Scores {
  readonly timesS: number[] = [];
  /** NaN: nothing could be judged. */
  readonly values: number[] = [];

  /** Put in a score; one that is older than the newest is of another run of the timeline. */
  push(tS: number, score: number | null | undefined): void {
    if (tS <= (this.timesS.at(-1) ?? -Infinity)) this.clear();
    this.timesS.push(tS);
    this.values.push(score ?? NaN);
    if (this.timesS.length > 2 * MOST) {
      this.timesS.splice(0, MOST);
      this.values.splice(0, MOST);
    }
  }

  clear(): void {
    this.timesS.length = this.values.length = 0;
  }

  /** Index of the first score at or after an instant. */
  from(tS: number): number {
    let low = 0;
    let high = this.timesS.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.timesS[middle]! < tS) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
