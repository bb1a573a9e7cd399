import { describe, expect, it } from "vitest";
import { Activity } from "../src/activity";
import { warnings } from "../src/banner";
import type { Block } from "../src/block";
import { type Clock, offsetAt, toRef } from "../src/clock";
import { Edge } from "../src/edge";
import { ppm, seconds } from "../src/format";
import { widthOf } from "../src/graph";
import { Model } from "../src/model";

const clock = (facts: Partial<Clock> = {}): Clock => ({
  node: "wrist",
  reference: "cam",
  status: "locked",
  t_ref_ns: 100e9,
  offset_s: 2,
  skew_ppm: 10,
  ci95_s: 0.01,
  skew_ci95_ppm: 1,
  evidence: ["content"],
  jumps: [],
  holdover_s: 0,
  ...facts,
});

const block = (t0S: number, rows: number[]): Block => ({
  bootId: "1",
  seq: 0,
  t0NodeNs: BigInt(Math.round(t0S * 1e9)),
  hopNs: 50_000_000,
  clockNodeNs: null,
  count: rows.length,
  dim: 1,
  embeddings: Float32Array.from(rows),
});

const say = (model: Model, path: string, value: unknown) => model.take(path, new TextEncoder().encode(JSON.stringify(value)), 0);

describe("a clock", () => {
  it("carries its offset on with its skew", () => expect(offsetAt(clock(), 200)).toBeCloseTo(2.001, 9));
  it("had another offset before a step", () =>
    expect(offsetAt(clock({ skew_ppm: 0, jumps: [{ at_s: 90, jump_s: 0.5 }] }), 80)).toBeCloseTo(1.5, 9));
  it("puts a reading on the timeline", () => expect(toRef(clock(), 102)).toBeCloseTo(100, 9));
  it("that is unknown puts nothing anywhere", () => expect(toRef(clock({ offset_s: null }), 102)).toBeNull());
});

describe("the edge", () => {
  it("goes on between blocks and stands still when none come", () => {
    const edge = new Edge();
    for (let k = 0; k <= 20; k++) {
      edge.push(k, k);
      edge.at(k);
    }
    expect(edge.at(20.5)).toBeCloseTo(20.5, 1);
    for (let k = 0; k < 400; k++) edge.at(20.5 + k * 0.05);
    const still = edge.at(41)!;
    expect(still).toBeLessThan(23.1);
    expect(edge.at(42)).toBeCloseTo(still, 3);
  });
  it("keeps pace with a fast replay", () => {
    const edge = new Edge();
    for (let k = 0; k <= 20; k++) edge.push(3 * k, k);
    expect(edge.rate).toBeCloseTo(3, 6);
  });
});

describe("activity", () => {
  it("is high where an embedding moves, and unknown where nothing came", () => {
    const activity = new Activity();
    const rows = Array.from({ length: 100 }, (_, k) => (k === 50 ? 5 : 0));
    activity.push(block(0, rows));
    activity.push(block(10, rows));
    expect(activity.at(50)).toBeGreaterThan(0.9);
    expect(activity.at(20)).toBe(0);
    expect(activity.at(150)).toBeNaN();
    expect(activity.at(300)).toBeNaN();
  });
});

describe("the warning", () => {
  const heard = () => {
    const model = new Model();
    say(model, "state/cam/mic", { modality: "audio" });
    say(model, "state/wrist/imu", { modality: "metadata" });
    say(model, "clock/cam", clock({ node: "cam", status: "reference", offset_s: 0 }));
    return model;
  };
  it("names every stream whose clock is not known", () => {
    const model = heard();
    say(model, "clock/wrist", clock({ status: "unsure", offset_s: null, ci95_s: null }));
    expect(warnings(model, "connected", 0)).toEqual([["Not known to be synchronised: wrist/imu", " (nothing shows its offset yet)"]]);
  });
  it("is silent when all are", () => {
    const model = heard();
    say(model, "clock/wrist", clock());
    expect(warnings(model, "connected", 0)).toEqual([]);
  });
  it("says that what is shown is old when nobody tells any more", () =>
    expect(warnings(heard(), "lost", 7)[0]![1]).toContain("7 s old"));
  it("survives messages that are none", () => {
    const model = heard();
    for (const payload of ["", "[", "7", "null", "[]"]) model.take("clock/wrist", new TextEncoder().encode(payload), 0);
    model.take("bin/wrist/imu", new Uint8Array(3), 0);
    expect([model.clocks.size, model.numBadBlocks]).toEqual([1, 1]);
  });
});

describe("a stream that carries nothing", () => {
  it("is marked from when it began to when it ended", () => {
    const model = new Model();
    const told = (state: string, sinceS: number) =>
      say(model, "state/cam/video", { modality: "video", relevance: { state, reason: "dark", since_node_ns: sinceS * 1e9 } });
    told("irrelevant", 10);
    told("irrelevant", 10);
    expect(model.stream("cam", "video").stretches).toEqual([{ fromS: 10, toS: null, reason: "dark" }]);
    told("relevant", 25);
    expect(model.stream("cam", "video").stretches).toEqual([{ fromS: 10, toS: 25, reason: "dark" }]);
    expect(model.stream("cam", "video").irrelevant).toBeNull();
  });
});

describe("numbers", () => {
  it.each([
    [2.5, "+2.500 s"],
    [-0.0123, "−12.3 ms"],
    [4.1e-6, "+4.10 µs"],
    [null, "–"],
  ])("%s s is %s", (value, text) => expect(seconds(value, { signed: true })).toBe(text));
  it("unknown skew is a dash", () => expect(ppm(null)).toBe("–"));
  it("a line is wider for evidence that tells more", () => expect(widthOf(1e-6)).toBeGreaterThan(widthOf(0.02)));
});
