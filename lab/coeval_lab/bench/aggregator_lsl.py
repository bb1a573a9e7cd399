"""The Lab Streaming Layer with as many streams: what carrying stamped samples costs there.

`pylsl` is a wrapper; some of its wheels carry liblsl. Run as a program: `send` or `receive`, in
processes of their own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from coeval.hops import EMBEDDING_DIM
from coeval_lab.bench.aggregator_load import EMBEDDINGS_HZ, ROWS
from coeval_lab.bench.aggregator_process import Row, Say, rounded

BY = "liblsl, pylsl"
CONFIG = """\
[lab]
KnownPeers = {127.0.0.1}
[ports]
PortRange = 1000
[multicast]
ResolveScope = machine
[log]
level = -3
"""
FIND_S = 60.0
PULL_S = 0.02


def lsl_rows(num_streams: int, *, seconds: float, say: Say) -> list[Row]:
    """One process sends, another receives."""
    row: Row = {"part": "lsl", "by": BY, "streams": num_streams}
    try:
        import pylsl
    except ImportError as exc:
        return [row | {"note": f"not measured: pip install 'coeval[bench]' ({exc})"}]
    except RuntimeError as exc:  # the wheel of this platform has no liblsl
        return [row | {"note": f"not measured: {exc}"}]
    say(f"LSL, {num_streams} streams")
    with tempfile.TemporaryDirectory(prefix="coeval-bench-") as folder:
        config = Path(folder) / "lsl_api.cfg"
        config.write_text(CONFIG)
        command = [sys.executable, "-m", "coeval_lab.bench.aggregator_lsl"]
        options: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.DEVNULL,
            "text": True,
            "env": os.environ | {"LSLAPICFG": str(config)},
        }
        lasts = [str(num_streams), str(seconds)]
        with subprocess.Popen([*command, "send", *lasts], stdin=subprocess.PIPE, **options) as out:
            said = subprocess.run([*command, "receive", *lasts], check=False, **options)
            sent = out.communicate()[0]  # its input ends: so does it
    if said.returncode or out.returncode:
        return [row | {"note": f"not measured: exit codes {said.returncode}, {out.returncode}"}]
    got, took = json.loads(said.stdout), json.loads(sent)
    note = f"version {pylsl.library_version()}; the sender takes {took['cpu_share']:.3f}"
    if got["streams"] < num_streams:
        note += f"; ONLY {got['streams']} STREAMS WERE FOUND"
    return [
        row
        | {
            "rate": round(got["samples"] / got["took_s"] / ROWS),
            "cpu_share": round(got["cpu_share"], 3),
            "cpu_share_a_stream": round(got["cpu_share"] / max(got["streams"], 1), 5),
            "p50_ms": rounded(got["p50_ms"]),
            "p99_ms": rounded(got["p99_ms"]),
            "memory_mb": round(got["memory_mb"], 1),
            "note": f"{note}; latency from the push of a chunk to its pull every "
            f"{1e3 * PULL_S:.0f} ms",
        }
    ]


def send(num_streams: int) -> None:
    """Push chunks until our input ends; print what it took."""
    import select

    import pylsl

    outlets = [
        pylsl.StreamOutlet(
            pylsl.StreamInfo(
                f"coeval-{k}", "Embedding", EMBEDDING_DIM, EMBEDDINGS_HZ, pylsl.cf_float32, f"c{k}"
            ),
            chunk_size=ROWS,
        )
        for k in range(num_streams)
    ]
    chunk = np.random.default_rng(0).normal(size=(ROWS, EMBEDDING_DIM)).astype(np.float32)
    began_s, began_cpu_s, seq = time.monotonic(), time.process_time(), 0
    while True:
        seq += 1
        due_s = began_s + seq * ROWS / EMBEDDINGS_HZ
        if select.select([sys.stdin], [], [], max(due_s - time.monotonic(), 0.0))[0]:
            break
        for outlet in outlets:
            outlet.push_chunk(chunk, pylsl.local_clock())
    took_s = time.monotonic() - began_s
    print(json.dumps({"cpu_share": (time.process_time() - began_cpu_s) / took_s}))


def receive(num_streams: int, seconds: float) -> None:
    """Pull chunks of all streams; print what came and what it took."""
    import pylsl

    found: dict[str, Any] = {}
    until_s = time.monotonic() + FIND_S
    while len(found) < num_streams and time.monotonic() < until_s:
        for info in pylsl.resolve_streams(wait_time=2.0):
            if info.name().startswith("coeval-"):
                found[info.source_id()] = info
    flags = pylsl.proc_clocksync | pylsl.proc_dejitter
    inlets = [pylsl.StreamInlet(info, processing_flags=flags) for info in found.values()]
    for inlet in inlets:
        inlet.open_stream(timeout=FIND_S)
    buffer = np.zeros((4096, EMBEDDING_DIM), np.float32)
    for inlet in inlets:  # what came while they were opened
        while inlet.pull_chunk(timeout=0.0, max_samples=len(buffer), dest_obj=buffer)[1]:
            pass
    began_s, began_cpu_s, num = time.monotonic(), time.process_time(), 0
    late_s: list[float] = []
    while time.monotonic() < began_s + seconds:
        for inlet in inlets:
            _, stamps = inlet.pull_chunk(timeout=0.0, max_samples=len(buffer), dest_obj=buffer)
            if stamps:
                num += len(stamps)
                late_s.append(pylsl.local_clock() - stamps[-1])
        time.sleep(PULL_S)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    late_ms = 1e3 * np.array(late_s or [np.nan])
    memory = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    told = {
        "streams": len(inlets),
        "samples": num,
        "took_s": took_s,
        "cpu_share": cpu_s / took_s,
        "p50_ms": float(np.percentile(late_ms, 50)),
        "p99_ms": float(np.percentile(late_ms, 99)),
        "memory_mb": int(memory) * os.sysconf("SC_PAGE_SIZE") / 1e6,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    role, wanted, lasts_s = sys.argv[1:]
    if role == "send":
        send(int(wanted))
    else:
        receive(int(wanted), float(lasts_s))
