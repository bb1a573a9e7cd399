/** What is marked on the timeline: scores, anomalies, stretches that carry nothing, steps and gaps. */

import type { Anomaly } from "./anomalies";
import { heightOf, type Scores } from "./scores";

export const FONT = "11px system-ui, sans-serif";
const SPACE_FOR_TEXT_PX = 110;
/** A line that jumps over so much has a hole. */
const HOLE_S = 3;

export type Colours = Record<string, string>;

/** A part of the canvas: a lane, or all of them. */
export interface Box {
  x: number;
  top: number;
  width: number;
  height: number;
}

/** The instants at a box's sides; nothing is drawn after `untilS`. */
export interface Range {
  leftS: number;
  rightS: number;
  untilS?: number;
}

/** Lines aslant over a box. */
export function hatch(context: CanvasRenderingContext2D, { x, top, width, height }: Box, colour: string): void {
  context.save();
  context.beginPath();
  context.rect(x, top, width, height);
  context.clip();
  context.strokeStyle = colour;
  context.globalAlpha = 0.28;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = x - height; at < x + width; at += 12) {
    context.moveTo(at, top + height);
    context.lineTo(at + height, top);
  }
  context.stroke();
  context.restore();
}

/** Text on a plate, where it fits in the box. */
export function label(context: CanvasRenderingContext2D, box: Box, text: string, colour: string, back: string): void {
  if (box.width < SPACE_FOR_TEXT_PX || box.height < 14) return;
  context.font = FONT;
  let shown = text;
  while (shown.length > 8 && context.measureText(shown).width > box.width - 20) shown = `${shown.slice(0, -2).trimEnd()}…`;
  const width = context.measureText(shown).width;
  const middle = box.top + box.height / 2;
  context.fillStyle = back;
  context.globalAlpha = 0.85;
  context.fillRect(box.x + 4, middle - 7.5, width + 8, 15);
  context.globalAlpha = 1;
  context.fillStyle = colour;
  context.fillText(shown, box.x + 8, middle + 4);
}

/** A shaded stretch from its begin to its end; one that goes on has no edge at its end. */
export function shade(context: CanvasRenderingContext2D, box: Box, anomaly: Anomaly, isSuspect: boolean, colour: string): void {
  const { x, top, width, height } = box;
  context.fillStyle = colour;
  context.globalAlpha = isSuspect ? 0.24 : 0.13;
  context.fillRect(x, top, Math.max(width, 2), height);
  context.globalAlpha = 1;
  if (x > 0) context.fillRect(x - 1, top, 2, height);
  if (anomaly.toS !== null) {
    context.fillRect(x + width - 1, top, 2, height);
    return;
  }
  context.save();
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(x + width - 1, top);
  context.lineTo(x + width - 1, top + height);
  context.stroke();
  context.restore();
}

/** A filled line of scores over a box, from its bottom to its top; none where nothing was judged. */
export function curve(context: CanvasRenderingContext2D, box: Box, scores: Scores, range: Range, colour: CanvasGradient): void {
  const { leftS, rightS } = range;
  const untilS = range.untilS ?? rightS + 1;
  const scale = box.width / (rightS - leftS);
  const bottom = box.top + box.height - 1;
  const line = new Path2D();
  const area = new Path2D();
  let lastX = NaN; // of the run of points that goes on; NaN: none does
  const end = () => {
    if (!Number.isNaN(lastX)) area.lineTo(lastX, bottom);
    lastX = NaN;
  };
  for (let k = Math.max(scores.from(leftS) - 1, 0); k < scores.timesS.length; k++) {
    const tS = scores.timesS[k]!;
    if (tS > untilS) break;
    if (k > 0 && tS - scores.timesS[k - 1]! > HOLE_S) end();
    const height = heightOf(scores.values[k]!);
    if (Number.isNaN(height)) {
      end();
      continue;
    }
    const x = box.x + (tS - leftS) * scale;
    const y = bottom - height * (box.height - 3);
    if (Number.isNaN(lastX)) {
      line.moveTo(x, y);
      area.moveTo(x, bottom);
    } else line.lineTo(x, y);
    area.lineTo(x, y);
    lastX = x;
  }
  end();
  context.fillStyle = colour;
  context.globalAlpha = 0.25;
  context.fill(area);
  context.globalAlpha = 1;
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.stroke(line);
}

/** A triangle that stands on the lanes. */
export function triangle(context: CanvasRenderingContext2D, x: number, bottom: number, colour: string): void {
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(x - 5, bottom - 7);
  context.lineTo(x + 5, bottom - 7);
  context.lineTo(x, bottom);
  context.fill();
}
