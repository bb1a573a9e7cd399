/** The warning: streams that are not known to be synchronised, and whoever could not tell. */

import { byId, make, show } from "./dom";
import { reason } from "./format";
import type { Link } from "./connection";
import type { Model } from "./model";

const MOST_NAMED = 6;

/** What must be said; empty: all is well. */
export function warnings(model: Model, link: Link, heardAgoS: number): string[][] {
  if (link === "lost") return [["No connection to the broker.", ` What is shown is ${Math.round(heardAgoS)} s old; it is tried again.`]];
  const told: string[][] = [];
  if (model.aggregator?.state === "offline") told.push(["The aggregator is offline.", " Nobody estimates the clocks; what is shown of them is old."]);
  for (const problem of model.aggregator?.degraded ?? []) told.push(["Degraded.", ` ${problem}`]);
  const byReason = new Map<string, string[]>();
  for (const stream of model.streams.values()) {
    const why = model.warning(stream);
    if (why !== null) byReason.set(why, [...(byReason.get(why) ?? []), stream.name]);
  }
  for (const [why, names] of byReason) {
    const more = names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : "";
    const which = names.sort().slice(0, MOST_NAMED).join(", ") + more;
    told.push([`Not known to be synchronised: ${which}`, ` (${reason(why)})`]);
  }
  return told;
}

export function showBanner(told: string[][]): void {
  const banner = byId("banner");
  banner.hidden = told.length === 0;
  show(banner, JSON.stringify(told), () => told.map(([strong, rest]) => make("div", {}, make("b", {}, strong ?? ""), rest ?? "")));
}
