import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { BadBlock, decodeBlock } from "../src/block";

interface Vectors {
  good: { name: string; hex: string; block: Record<string, unknown> & { embeddings: number[][] } }[];
  bad: { name: string; hex: string }[];
}
const vectors = JSON.parse(
  readFileSync(new URL("../../tests/vectors/block.json", import.meta.url), "utf8"),
) as Vectors;
const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));

describe("the vectors that Python and C read", () => {
  it.each(vectors.good)("$name is read", ({ hex, block }) => {
    const read = decodeBlock(bytes(hex));
    expect(read.bootId).toBe(block["boot_id"]);
    expect(read.seq).toBe(block["seq"]);
    expect(String(read.t0NodeNs)).toBe(block["t0_node_ns"]);
    expect(read.hopNs).toBe(block["hop_ns"]);
    expect(read.clockNodeNs === null ? null : String(read.clockNodeNs)).toBe(block["clock_node_ns"]);
    expect(Array.from(read.embeddings)).toEqual(block.embeddings.flat());
  });

  it.each(vectors.bad)("$name is refused", ({ hex }) => {
    expect(() => decodeBlock(bytes(hex))).toThrow(BadBlock);
  });
});
