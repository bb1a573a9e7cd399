/** A block of embeddings as it comes over MQTT: bytes in, rows out (core/coeval/wire.py). */

export interface Block {
  bootId: string;
  seq: number;
  t0NodeNs: bigint;
  hopNs: number;
  /** The node's clock when the block was sealed; null: not read. */
  clockNodeNs: bigint | null;
  count: number;
  dim: number;
  /** Row after row. */
  embeddings: Float32Array;
}

/** Bytes that are no block of this version. */
export class BadBlock extends Error {}

const HEADER_BYTES = 48;
const CRC_AT = 44;
const HAS_CLOCK = 1;
const MAX_COUNT = 4096;
const MAX_DIM = 1024;
const LONGEST_NS = 2n ** 62n;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

function crc32(...parts: Uint8Array[]): number {
  let c = 0xffffffff;
  for (const part of parts) for (const byte of part) c = CRC_TABLE[(c ^ byte) & 0xff]! ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** The number that a float16 stands for. */
export function fromFloat16(bits: number): number {
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** Read a block; throws `BadBlock` for anything else, and nothing else. */
export function decodeBlock(data: Uint8Array): Block {
  if (data.length < 5 || String.fromCharCode(...data.subarray(0, 4)) !== "COEV") throw new BadBlock("no block");
  if (data[4] !== 1) throw new BadBlock(`wire version ${data[4]}, this page speaks 1; reload it`);
  if (data.length < HEADER_BYTES) throw new BadBlock("truncated header");
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const count = view.getUint16(6, true);
  const dim = view.getUint16(40, true);
  const hopNs = view.getUint32(36, true);
  if (count < 1 || count > MAX_COUNT || dim < 1 || dim > MAX_DIM) throw new BadBlock(`${count} rows of ${dim}`);
  const size = HEADER_BYTES + 2 * count * dim;
  if (data.length !== size) throw new BadBlock(`expected ${size} bytes, got ${data.length}`);
  if (crc32(data.subarray(0, CRC_AT), data.subarray(HEADER_BYTES)) !== view.getUint32(CRC_AT, true))
    throw new BadBlock("checksum differs");
  const t0NodeNs = view.getBigInt64(16, true);
  const clockNs = view.getBigInt64(24, true);
  const endNs = t0NodeNs + BigInt(count) * BigInt(hopNs);
  for (const t of [t0NodeNs, clockNs, endNs])
    if (t > LONGEST_NS || t < -LONGEST_NS) throw new BadBlock("a time beyond 146 years");
  if (hopNs === 0) throw new BadBlock("hop of 0");
  const embeddings = new Float32Array(count * dim);
  for (let k = 0; k < embeddings.length; k++) {
    const value = fromFloat16(view.getUint16(HEADER_BYTES + 2 * k, true));
    if (!Number.isFinite(value)) throw new BadBlock("an embedding is NaN or infinite");
    embeddings[k] = value;
  }
  return {
    bootId: view.getBigUint64(8, true).toString(16).padStart(16, "0"),
    seq: view.getUint32(32, true),
    t0NodeNs,
    hopNs,
    clockNodeNs: view.getUint8(5) & HAS_CLOCK ? clockNs : null,
    count,
    dim,
    embeddings,
  };
}
