/** What the aggregator and its store know already when the page opens, and earlier parts on demand. */

import type { Clock } from "./clock";
import { fetchJson } from "./fetching";
import type { Modality, Model, StoredClock, StoredEvent } from "./model";

/** Of the clocks' estimates. */
const HISTORY_S = 600;
const EVENTS_A_PAGE = 100;

export interface Session {
  session: string;
  is_live: boolean;
  /** null: it is not stored. */
  began_utc_ns: number | null;
}

interface Timeline {
  number: number;
  reference: string;
  boot: string;
}

interface StreamFacts {
  stream: string;
  boot: string;
  modality: string | null;
  span_node_ns: [number, number] | null;
  now: unknown;
}

/** Load what is known; a session that keeps nothing has no past. */
export async function loadHistory(model: Model, session: Session | undefined): Promise<void> {
  const { base } = model;
  const isLive = session?.is_live ?? true;
  model.past.isOver = !isLive;
  const told = await fetchJson(`${base}/clocks`);
  const clocks = Object.values((told?.["clocks"] ?? {}) as Record<string, Clock>);
  if (told?.["is_live"]) for (const clock of clocks) if (!model.clocks.has(clock.node)) model.takeClock(clock);
  model.past.isKept = session?.began_utc_ns != null;
  if (!model.past.isKept) return;
  const kept = await fetchJson(base);
  const timeline = ((kept?.["timelines"] ?? []) as Timeline[]).at(-1);
  model.timeline = timeline?.number ?? null;
  const newestS = timeline === undefined ? null : await loadStreams(model, timeline, isLive);
  if (timeline !== undefined) {
    if (!isLive) model.showStored(timeline.reference, Object.values((told?.["clocks"] ?? {}) as Record<string, StoredClock>));
    await loadClocks(model, newestS ?? Math.max(0, ...clocks.map((clock) => (clock.t_ref_ns ?? 0) * 1e-9)));
  }
  await loadEvents(model, {});
}

/** The streams of a session that is over, and where what is stored begins and ends. */
async function loadStreams(model: Model, timeline: Timeline, isLive: boolean): Promise<number | null> {
  const told = await fetchJson(`${model.base}/streams`);
  const runs = (told?.["streams"] ?? []) as StreamFacts[];
  for (const run of runs) {
    const [node, id] = run.stream.split("/");
    if (isLive || node === undefined || id === undefined) continue;
    model.stream(node, id).modality = (run.modality as Modality | null) ?? "unknown";
  }
  const spans = runs
    .filter((run) => run.stream.startsWith(`${timeline.reference}/`) && run.boot === timeline.boot)
    .flatMap((run) => (run.span_node_ns === null ? [] : [run.span_node_ns]));
  if (spans.length === 0) return null;
  model.past.oldestS = Math.min(...spans.map(([from]) => from)) * 1e-9;
  model.past.newestS = Math.max(...spans.map(([, to]) => to)) * 1e-9;
  return model.past.newestS;
}

async function loadClocks(model: Model, newestS: number): Promise<void> {
  const range = `from=${Math.max(newestS - HISTORY_S, 0).toFixed(3)}&to=${(newestS + 1).toFixed(3)}`;
  const stored = await fetchJson(`${model.base}/clocks/history?${range}&limit=20000`);
  for (const row of (stored?.["clocks"] ?? []) as StoredClock[]) model.addStored(row);
}

/** Load the newest events, or those before the oldest that is known. */
export async function loadEvents(model: Model, { isEarlier = false }): Promise<void> {
  const { events } = model;
  if (model.past.isKept !== true) return;
  const before = isEarlier && events.oldest !== null ? `&before=${events.oldest}` : "";
  const told = await fetchJson(`${model.base}/events?order=newest&limit=${EVENTS_A_PAGE}${before}`);
  if (told === null) return;
  const rows = told["events"] as StoredEvent[];
  for (const row of rows.toReversed()) model.addStoredEvent(row);
  if (isEarlier || !events.hasEarlier) events.hasEarlier = told["next"] !== null;
}
