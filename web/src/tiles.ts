/** Bitmaps of activity and its scores: each is made once and copied every frame. */

import { type ActivitySource, TILE_HOPS } from "./activity";

const PX_A_HOP = 2;
export const TILE_HEIGHT = 40;
const TILES_A_FRAME = 12;
const MOST_TILES = 80;
/** A score below this height is as calm as can be told: no line is drawn. */
const CALM = 0.02;
const LINE_PX = 2.5;

interface Tile {
  canvas: HTMLCanvasElement;
  version: number;
  colour: string;
}

export class Tiles {
  private readonly kept = new Map<ActivitySource, Map<number, Tile>>();
  private budget = 0;

  clear(): void {
    this.kept.clear();
  }

  /** Allow some to be drawn in this frame; others follow in the next ones. */
  beginFrame(): void {
    this.budget = TILES_A_FRAME;
  }

  /** The bitmap of a source's tile; null: it holds nothing, or is not drawn yet. */
  get(source: ActivitySource, number: number, colour: string, ofScores: string): HTMLCanvasElement | null {
    const version = source.version(number);
    if (version === undefined) return null;
    let tiles = this.kept.get(source);
    if (!tiles) this.kept.set(source, (tiles = new Map()));
    let tile = tiles.get(number);
    if (tile && ((tile.version === version && tile.colour === colour) || this.budget <= 0)) return tile.canvas;
    if (this.budget <= 0) return null;
    this.budget--;
    if (!tile) {
      const canvas = document.createElement("canvas");
      canvas.width = TILE_HOPS * PX_A_HOP;
      canvas.height = TILE_HEIGHT;
      tile = { canvas, version, colour };
      tiles.set(number, tile);
      if (tiles.size > MOST_TILES) tiles.delete(tiles.keys().next().value!);
    }
    tile.version = version;
    tile.colour = colour;
    paint(tile.canvas, source, number, colour, ofScores);
    return tile.canvas;
  }
}

function paint(canvas: HTMLCanvasElement, source: ActivitySource, number: number, colour: string, ofScores: string): void {
  const context = canvas.getContext("2d")!;
  context.clearRect(0, 0, canvas.width, TILE_HEIGHT);
  context.fillStyle = colour;
  for (let k = 0; k < TILE_HOPS; k++) {
    const value = source.at(number * TILE_HOPS + k);
    if (Number.isNaN(value)) continue;
    const half = 1 + Math.sqrt(value) * (TILE_HEIGHT / 2 - 1);
    context.fillRect(k * PX_A_HOP, TILE_HEIGHT / 2 - half, PX_A_HOP, 2 * half);
  }
  context.fillStyle = ofScores;
  let before = NaN; // height of the line's last hop
  for (let k = -1; k < TILE_HOPS; k++) {
    const score = source.scoreAt(number * TILE_HOPS + k);
    if (score > CALM) {
      const y = (1 - score) * (TILE_HEIGHT - LINE_PX);
      const from = Number.isNaN(before) ? y : Math.min(y, before);
      const to = Number.isNaN(before) ? y : Math.max(y, before);
      context.fillRect(k * PX_A_HOP, from, PX_A_HOP, to - from + LINE_PX);
      before = y;
    } else before = NaN;
  }
}
