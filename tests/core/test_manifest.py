"""What a manifest may say, and the line that answers when it does not."""

import copy
import re
from typing import Any

import pytest

from coeval.errors import BadRecording
from coeval.manifest import manifest_to_json, parse_manifest

GOOD: dict[str, Any] = {
    "format": "coeval-recording/1",
    "name": "walk-03",
    "licence": "CC-BY-4.0",
    "source": {"repo": "example"},
    "nodes": {"cam": {}, "wrist": {"evidence": {"pps": "pps.csv"}, "board": "rev B"}},
    "streams": [
        {
            "id": "video",
            "node": "cam",
            "modality": "video",
            "file": "video.mp4",
            "t0_s": 0.5,
            "rate_hz": 29.97,
        },
        {
            "id": "imu",
            "node": "wrist",
            "modality": "metadata",
            "file": "imu.csv",
            "units": {"gx": "rad/s"},
            "note": "kept",
        },
    ],
    "truth": {
        "nodes": {
            "cam": {"offset_s": 0.0, "skew_ppm": 0.0},
            "wrist": {
                "offset_s": 3.217,
                "skew_ppm": 41.0,
                "jumps": [{"at_s": 40.0, "by_s": 0.25}],
            },
        },
        "sigma_s": 0.005,
        "how": "one device",
        "start_s": 0.5,
        "quality": "good",
    },
    "description": "kept too",
}


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """GOOD with one value changed; `...` removes it."""
    manifest = copy.deepcopy(GOOD)
    *inner, key = path
    holder: Any = manifest
    for step in inner:
        holder = holder[step]
    if to is ...:
        del holder[key]
    else:
        holder[key] = to
    return manifest


def test_a_manifest_survives_the_round_trip_with_keys_of_others() -> None:
    manifest = parse_manifest(GOOD, where="x")
    assert manifest_to_json(manifest) == GOOD
    assert list(manifest.nodes) == ["cam", "wrist"]
    assert manifest.truth is not None
    assert manifest.truth.nodes["wrist"].jumps[0].by_s == 0.25


def test_what_is_not_stated_is_none_and_not_zero() -> None:
    manifest = parse_manifest(
        {
            "format": "coeval-recording/1",
            "name": "bare",
            "nodes": {"n": None},
            "streams": [{"id": "s", "node": "n", "modality": "audio", "file": "a.wav"}],
        },
        where="x",
    )
    assert manifest.truth is None
    assert manifest.licence is None
    assert manifest.streams[0].t0_s is None
    assert manifest.streams[0].rate_hz is None


def test_evidence_may_be_listed_by_file_name() -> None:
    given = changed("nodes", "wrist", to={"evidence": ["wrist/pps.csv", "edges.csv"]})
    evidence = parse_manifest(given, where="x").nodes["wrist"].evidence
    assert evidence == {"pps": "wrist/pps.csv", "edges": "edges.csv"}


def test_asking_for_a_stream_or_node_that_is_not_there_lists_those_that_are() -> None:
    manifest = parse_manifest(GOOD, where="x")
    with pytest.raises(BadRecording, match="no stream 'mic'; its streams are video, imu"):
        manifest.stream("mic")
    with pytest.raises(BadRecording, match="no node 'belt'; its nodes are cam, wrist"):
        manifest.streams_of("belt")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "expected a JSON object, got a list"),
        (changed("format", to="coeval-recording/2"), "'coeval-recording/2'.*update coeval"),
        (changed("format", to=...), "format is None.*set 'format'"),
        (changed("name", to=...), "'name' is missing"),
        (changed("streams", to=[]), "at least one stream"),
        (changed("streams", 0, to="video.mp4"), "stream 1: expected a JSON object, got text"),
        (changed("streams", 0, "id", to=...), "stream 1: 'id' is missing"),
        (changed("streams", 0, "id", to="a/b"), "id 'a/b' must be"),
        (changed("streams", 0, "id", to="imu"), "two streams have the id 'imu'"),
        (changed("streams", 0, "id", to=7), "'id' must be text, got the number 7"),
        (changed("streams", 0, "node", to="hat"), "names the node 'hat'.*cam, wrist"),
        (changed("streams", 1, "modality", to="imu"), "unknown modality 'imu'; expected one of"),
        (changed("streams", 0, "file", to=...), "'file' is missing"),
        (changed("streams", 0, "t0_s", to="0"), "'t0_s' must be a number, got text"),
        (changed("streams", 0, "t0_s", to=True), "'t0_s' must be a number, got true/false"),
        (changed("streams", 0, "t0_s", to=float("nan")), "'t0_s' must be finite and within"),
        (changed("streams", 0, "t0_s", to=10**400), "'t0_s' must be finite and within"),
        (changed("streams", 0, "t0_s", to=1.7e12), "'t0_s' must be finite and within"),
        (changed("streams", 0, "rate_hz", to=1e-300), "'rate_hz' must be positive"),
        (changed("streams", 0, "rate_hz", to=0), "'rate_hz' must be positive, got 0"),
        (changed("streams", 1, "units", to=["m"]), "'units' must be text, or"),
        (changed("nodes", "wrist", to="x"), "node 'wrist': expected a JSON object, got text"),
        (changed("nodes", "wrist", "evidence", to="pps.csv"), "'evidence' must be an object"),
        (changed("nodes", to={}), "not among the nodes \\(none\\)"),
        (changed("truth", "nodes", "hat", to={}), "names the node 'hat', which is not listed"),
        (changed("truth", "nodes", "cam", "skew_ppm", to=...), "node 'cam': 'skew_ppm' is missing"),
        (changed("truth", "nodes", "wrist", "jumps", to=3), "'jumps' must be a list"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_names_it(given: object, says: str) -> None:
    with pytest.raises(BadRecording) as caught:
        parse_manifest(given, where="walk/recording.json")
    message = str(caught.value)
    assert message.startswith("walk/recording.json")
    assert re.search(says, message)
    assert "\n" not in message
