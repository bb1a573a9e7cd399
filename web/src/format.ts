/** Numbers as people read them; unknown is a dash, never 0. */

const UNKNOWN = "–";

/** Seconds with a unit that fits: 2.500 s, 12.3 ms, 4.1 µs. */
export function seconds(value: number | null | undefined, { signed = false } = {}): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  const sign = value < 0 ? "−" : signed && value > 0 ? "+" : "";
  const size = Math.abs(value);
  if (size >= 3600) return `${sign}${(size / 3600).toFixed(2)} h`;
  if (size >= 1) return `${sign}${size.toFixed(3)} s`;
  if (size >= 1e-3) return `${sign}${(size * 1e3).toPrecision(3)} ms`;
  if (size === 0) return "0";
  return `${sign}${(size * 1e6).toPrecision(3)} µs`;
}

export function ppm(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  return `${value < 0 ? "−" : value > 0 ? "+" : ""}${Math.abs(value).toFixed(1)} ppm`;
}

/** A span of time in words' length: 3 s, 4 min, 2 h. */
export function span(value: number | null | undefined): string {
  if (value === null || value === undefined) return UNKNOWN;
  if (value < 90) return `${value < 10 && !Number.isInteger(value) ? value.toFixed(1) : Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

/** An instant of the timeline: of day where it is tied to UTC, else since the clock began. */
export function clockText(tS: number): string {
  if (tS > 1e9) return new Date(tS * 1000).toISOString().slice(11, 19);
  const whole = Math.round(Math.abs(tS));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = String(whole % 60).padStart(2, "0");
  const sign = tS <= -0.5 ? "−" : "";
  return hours ? `${sign}${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${sign}${minutes}:${rest}`;
}

/** How rarely calm material alarms so, given the days between such alarms. */
export function rarely(days: number): string {
  if (!Number.isFinite(days) || days <= 0) return "";
  const [size, unit] = days >= 1 ? [days, "d"] : [days * 24, "h"];
  return `, once in ${Number(size.toPrecision(2))} ${unit}`;
}

const REASONS: Record<string, string> = {
  no_reference: "no reference clock yet",
  no_estimate: "nothing shows its offset yet",
  unrelated: "does not seem to see this scene",
};

export function reason(value: string): string {
  return REASONS[value] ?? value.replaceAll("_", " ");
}
