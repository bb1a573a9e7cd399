"""What is in deploy/: every example passes its own check; units and the broker's file parse."""

import configparser
import dataclasses
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from coeval.preprocessing import Preprocessing
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.store.config import StoreConfig
from coeval_edge.config import NodeConfig, ReplayConfig
from coeval_edge.live import SourcesConfig
from coeval_lab.broker import find_mosquitto, free_port
from coeval_lab.check_command import check_file

DEPLOY = Path(__file__).parents[1] / "deploy"
EXAMPLES = sorted(DEPLOY.glob("examples/*.toml"))
UNITS = sorted(DEPLOY.glob("systemd/*.service"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_passes_the_check(path: Path) -> None:
    assert check_file(path)


@pytest.mark.parametrize("path", [*EXAMPLES, *UNITS, DEPLOY / "broker/mosquitto.conf"])
def test_a_file_begins_with_its_header(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    for word in ("Purpose:", "Requires:", "Variables:", "Defaults:"):
        assert f"# {word}" in head


@pytest.mark.parametrize(
    ("file", "kinds"),
    [
        (
            "node.toml",
            {"node": NodeConfig, "node.replay": ReplayConfig, "node.preprocessing": Preprocessing},
        ),
        (
            "aggregator.toml",
            {
                "aggregator": AggregatorConfig,
                "aggregator.store": StoreConfig,
                "aggregator.api": ApiConfig,
            },
        ),
    ],
)
def test_a_default_in_a_comment_is_the_real_one(file: str, kinds: dict[str, type]) -> None:
    table = ""
    seen = 0
    for line in (DEPLOY / "examples" / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            table = line.strip("[]")
        elif match := re.match(r"# (\w+) = ", line):
            stated = tomllib.loads(line[2:])[match[1]]
            (field,) = [f for f in dataclasses.fields(kinds[table]) if f.name == match[1]]
            assert stated == (list(field.default) if field.default == () else field.default)
            seen += 1
    assert seen >= 6


@pytest.mark.parametrize("kind", [field.name for field in dataclasses.fields(SourcesConfig)])
def test_every_kind_of_source_has_an_example_and_a_row_in_the_guide(kind: str) -> None:
    example = (DEPLOY / "examples/node-live.toml").read_text(encoding="utf-8")
    guide = (DEPLOY.parent / "docs/guide/sources.md").read_text(encoding="utf-8")
    assert f"[node.sources.{kind}." in example
    assert re.search(rf"^\| `{kind}`", guide, re.MULTILINE)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_parses_and_runs_a_command_that_exists(path: Path, tmp_path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path, encoding="utf-8")
    assert {"Unit", "Service", "Install"} <= set(unit.sections())
    command = unit["Service"]["ExecStart"]
    name = path.stem.removeprefix("coeval-")
    assert command == f"/opt/coeval/bin/coeval {name} --config /etc/coeval/{name}.toml"
    if shutil.which("systemd-analyze") is None:
        pytest.skip("the unit was parsed; systemd-analyze is not here to verify it")
    copy = tmp_path / path.name
    text = path.read_text(encoding="utf-8")
    copy.write_text(text.replace("/opt/coeval/bin/coeval", sys.executable), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if path.name in line]
    assert ours == []


@pytest.mark.broker
def test_mosquitto_takes_the_brokers_file(tmp_path: Path) -> None:
    mosquitto = find_mosquitto()
    if mosquitto is None:
        pytest.skip("mosquitto is not installed")
    text = (DEPLOY / "broker/mosquitto.conf").read_text(encoding="utf-8")
    assert re.findall(r"^listener \d+ (\S+)$", text, re.MULTILINE) == ["127.0.0.1"] * 2
    for old, new in (
        ("listener 1883 127", f"listener {free_port()} 127"),
        ("listener 9001 127", f"listener {free_port()} 127"),
        ("/var/lib/mosquitto/", f"{tmp_path}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    conf = tmp_path / "mosquitto.conf"
    conf.write_text(text, encoding="utf-8")
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen([mosquitto, "-v", "-c", str(conf)], stdout=log, stderr=log)
        try:
            until_s = time.monotonic() + 300
            while b"mosquitto version" not in (tmp_path / "log").read_bytes() or not re.search(
                rb"running|Opening websockets", (tmp_path / "log").read_bytes()
            ):
                said = (tmp_path / "log").read_text(errors="replace")
                assert process.poll() is None, said
                assert time.monotonic() < until_s, said
                time.sleep(0.02)
        finally:
            process.terminate()
            process.wait()
