/** A node's clock as the aggregator states it. Sign: offset = node − reference; positive: fast. */

export type EvidenceKind = "hardware" | "network" | "content";

export interface Clock {
  node: string;
  reference: string;
  status: "reference" | "locked" | "unsure" | "unrelated";
  t_ref_ns: number;
  offset_s: number | null;
  skew_ppm: number | null;
  ci95_s: number | null;
  skew_ci95_ppm: number | null;
  evidence: EvidenceKind[];
  jumps: { at_s: number; jump_s: number }[];
  holdover_s: number | null;
  utc?: { offset_s: number; ci95_s: number } | null;
  sources?: Record<string, { scale: number; trusted: boolean }>;
}

/** Offset of the clock at an instant of the timeline, s; null: unknown. */
export function offsetAt(clock: Clock | undefined, tRefS: number): number | null {
  if (!clock || clock.offset_s === null) return null;
  const stated = clock.t_ref_ns * 1e-9;
  let offset = clock.offset_s + (clock.skew_ppm ?? 0) * 1e-6 * (tRefS - stated);
  for (const jump of clock.jumps) if (jump.at_s <= stated && tRefS < jump.at_s) offset -= jump.jump_s;
  return offset;
}

/** Where a reading of the clock lies on the timeline, s; null: unknown. */
export function toRef(clock: Clock | undefined, tNodeS: number): number | null {
  let tRef = tNodeS;
  for (let k = 0; k < 3; k++) {
    const offset = offsetAt(clock, tRef);
    if (offset === null) return null;
    tRef = tNodeS - offset;
  }
  return tRef;
}
