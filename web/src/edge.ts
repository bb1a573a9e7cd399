/** Now, as an instant on the timeline, advancing smoothly between blocks that come in lumps. */
export class Edge {
  private arrivals: { atS: number; endS: number }[] = [];
  private shown: number | null = null;
  private lastS = 0;

  /** A block of the reference's streams came: it ends at `endS` of the timeline. */
  push(endS: number, nowS: number): void {
    const newest = this.arrivals.at(-1);
    if (newest && (endS < newest.endS - 60 || endS > newest.endS + 3600)) this.reset(); // another run of the clock
    else if (newest && endS <= newest.endS) return;
    this.arrivals.push({ atS: nowS, endS });
    while (this.arrivals.length > 2 && this.arrivals[0]!.atS < nowS - 20) this.arrivals.shift();
  }

  reset(): void {
    this.arrivals = [];
    this.shown = null;
  }

  /** Seconds of the timeline a second: 1 live, more in a fast replay. */
  get rate(): number {
    const first = this.arrivals[0];
    const last = this.arrivals.at(-1);
    if (!first || !last || last.atS - first.atS < 2) return 1;
    return Math.min(Math.max((last.endS - first.endS) / (last.atS - first.atS), 0.1), 50);
  }

  /** Where the newest data is now; null: nothing came. It stands still when nothing comes for 3 s. */
  at(nowS: number): number | null {
    const last = this.arrivals.at(-1);
    if (!last) return null;
    const target = last.endS + this.rate * Math.min(nowS - last.atS, 3);
    const stepS = Math.min(Math.max(nowS - this.lastS, 0), 1);
    this.lastS = nowS;
    if (this.shown === null || Math.abs(target - this.shown) > 10 * this.rate) this.shown = target;
    else {
      this.shown += this.rate * (nowS - last.atS < 3 ? stepS : 0);
      this.shown += (target - this.shown) * Math.min(stepS * 1.5, 1);
    }
    return this.shown;
  }
}
