import { afterEach, describe, expect, it, vi } from "vitest";
import { Activity } from "../src/activity";
import { Anomalies } from "../src/anomalies";
import { warnings } from "../src/banner";
import type { Block } from "../src/block";
import { type Clock, offsetAt, toRef } from "../src/clock";
import { Edge } from "../src/edge";
import { clockText, ppm, seconds } from "../src/format";
import { widthOf } from "../src/graph";
import { Model, type StoredEvent } from "../src/model";
import { heightOf, Scores } from "../src/scores";

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

describe("the past", () => {
  afterEach(() => void vi.unstubAllGlobals());
  const fetched = async (offset_s: [number, number][]) => {
    const streams = { "wrist/imu": { activity: Array.from({ length: 512 }, () => 1), offset_s } };
    const answer = { from_ns: 0, streams, ticks: [] };
    vi.stubGlobal("fetch", () => Promise.resolve({ ok: true, json: () => Promise.resolve(answer) }));
    const { past } = new Model();
    past.isKept = true;
    past.want({ leftS: 0, rightS: 20 }, 100, 0);
    await vi.waitFor(() => expect(past.isLoading).toBe(false));
    return past;
  };
  it("was stamped by the offset that placed it, not by today's", async () => {
    const past = await fetched([[0, 3.2], [200, 3.7]]);
    expect([0, 9.9, 10.1, 25].map((tS) => past.offsetAt("wrist/imu", tS))).toEqual([3.2, 3.2, 3.7, 3.7]);
    expect(past.offsetAt("wrist/imu", 30)).toBeNull();
  });
  it("falls into the pieces of a tile that were placed alike", async () => {
    const past = await fetched([[10, 3.2], [200, 3.7]]);
    expect(past.pieces("wrist/imu", 0)).toEqual([{ fromHop: 0, toHop: 128, offsetS: 3.2 }]);
    expect(past.pieces("wrist/imu", 1)).toEqual([
      { fromHop: 0, toHop: 72, offsetS: 3.2 },
      { fromHop: 72, toHop: 128, offsetS: 3.7 },
    ]);
    expect(past.pieces("wrist/imu", 4)).toEqual([]);
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

describe("an anomaly", () => {
  const begin = { state: "begin", streams: ["cam/mic"], t_ref_ns: 10e9, duration_s: null, once_in_days: 2 };
  const end = { ...begin, state: "end", streams: ["cam/mic", "wrist/imu"], t_ref_ns: 14e9, duration_s: 4 };
  it("goes on from its begin until its end is told", () => {
    const anomalies = new Anomalies();
    anomalies.take("cam/mic", begin);
    expect(anomalies.all.map((each) => [each.fromS, each.toS])).toEqual([[10, null]]);
    anomalies.take("cam/mic", end);
    expect(anomalies.all.map((each) => [each.fromS, each.toS, each.streams.length])).toEqual([[10, 14, 2]]);
  });
  it("is whole by its end alone, told in any order", () => {
    const anomalies = new Anomalies();
    anomalies.take("cam/mic", { ...end, t_ref_ns: 34e9 });
    anomalies.take("cam/mic", end);
    anomalies.take("cam/mic", begin);
    expect(anomalies.all.map((each) => [each.fromS, each.toS])).toEqual([
      [10, 14],
      [30, 34],
    ]);
  });
  it("ends with the first tick that says that none goes on", () => {
    const model = new Model();
    say(model, "event/anomaly/cam/mic", begin);
    say(model, "aligned", { t_ref: 13, streams: {}, anomaly: 0.5, alarm: true });
    expect(model.anomalies.all[0]!.toS).toBeNull();
    say(model, "aligned", { t_ref: 25, streams: {}, anomaly: -3, alarm: false });
    expect(model.anomalies.all[0]!.toS).toBe(25);
  });
  it("whose end nobody told is a mark once another begins", () => {
    const anomalies = new Anomalies();
    anomalies.take("cam/mic", begin);
    anomalies.take("cam/mic", { ...begin, t_ref_ns: 50e9 });
    expect(anomalies.all.map((each) => each.toS)).toEqual([10, null]);
  });
});

describe("scores", () => {
  it("of a tick are kept for the session and for each stream that is known", () => {
    const model = new Model();
    say(model, "state/cam/mic", { modality: "audio" });
    const { activity } = model.stream("cam", "mic");
    activity.push(block(0, Array.from({ length: 100 }, () => 0)));
    for (const [tS, anomaly] of [[1, -1], [1.25, 1], [1.5, null]] as const)
      say(model, "aligned", { t_ref: tS, streams: { "cam/mic": { t_node_ns: tS * 1e9, anomaly }, "new/one": { t_node_ns: 0, anomaly } }, anomaly: null });
    expect([20, 21, 25, 26].map((hop) => activity.scoreAt(hop))).toEqual([heightOf(-1), heightOf(1), heightOf(1), NaN].map(Math.fround));
    expect(model.scores.values).toEqual([NaN, NaN, NaN]);
  });
  it("begin anew when the timeline does", () => {
    const scores = new Scores();
    for (const tS of [10, 11, 3]) scores.push(tS, 0);
    expect(scores.timesS).toEqual([3]);
  });
  it("are higher for what is rarer, and unknown is no height", () => {
    expect(heightOf(-3)).toBe(0);
    expect(heightOf(0)).toBeGreaterThan(heightOf(-1));
    expect(heightOf(NaN)).toBeNaN();
  });
});

describe("events of the store", () => {
  const gap = (number: number, facts: object = {}): StoredEvent =>
    ({ number, event: "gap", node: "cam", stream: "mic", blocks: 3, told_utc_ns: number * 1e9, timeline: 1, t_ref_ns: 7e9, ...facts }) as StoredEvent;
  it("are told once, whether they were heard before or not", () => {
    const model = new Model();
    model.timeline = 1;
    say(model, "event/gap/cam/mic", { event: "gap", node: "cam", stream: "mic", blocks: 3 });
    for (const number of [5, 4, 5]) model.addStoredEvent(gap(number));
    expect(model.events.all.map((told) => told.number)).toEqual([4, 5]);
  });
  it("have no place on the timeline when they are of an earlier one", () => {
    const model = new Model();
    model.timeline = 2;
    model.addStoredEvent(gap(1));
    model.addStoredEvent(gap(2, { timeline: 2 }));
    expect(model.events.all.map((told) => told.tRefS)).toEqual([null, 7]);
  });
  it("say when a stream carried nothing before the page was opened", () => {
    const model = new Model();
    model.timeline = 1;
    say(model, "clock/cam", clock({ node: "cam", status: "reference", offset_s: 0 }));
    const told = (number: number, state: string, sinceS: number, atS: number) =>
      model.addStoredEvent(gap(number, { event: "relevance", state, reason: "dark", since_node_ns: sinceS * 1e9, t_ref_ns: atS * 1e9 }));
    told(1, "irrelevant", 900, 7); // of another run of the clock
    told(2, "irrelevant", 10, 15);
    told(3, "relevant", 25, 26);
    expect(model.stream("cam", "mic").stretches).toEqual([{ fromS: 10, toS: 25, reason: "dark" }]);
  });
});

describe("an instant", () => {
  it.each([
    [75, "1:15"],
    [3675, "1:01:15"],
    [-5, "−0:05"],
    [1_795_661_901, "02:58:21"],
  ])("of %s s is %s", (tS, text) => expect(clockText(tS)).toBe(text));
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
