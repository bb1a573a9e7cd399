"""The journal as a source: a real journald in a mount namespace of its own, and invented programs.

Where systemd, root or namespaces are missing, the tests with the real journald skip and say so.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from coeval.errors import BadConfig
from coeval.samples import MetadataBlock, Sample, TextLine
from coeval_edge.config import load_node_config
from coeval_edge.kernel_clocks import KernelClock, read_node_clock
from coeval_edge.live import LiveStreams, SourcesConfig
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceForbidden,
    SourceLost,
    SourceUnfit,
    SourceUnusable,
)
from coeval_edge.sources.journal import JournalConfig, JournalSource, text_of

JOURNALD = Path("/lib/systemd/systemd-journald")
START = """
mount -t tmpfs tmpfs /run
mkdir -p /run/log/journal /run/systemd/journal
mount --bind "$1/journal" /run/log/journal
mount --bind "$1/sockets" /run/systemd/journal
exec "$2"
"""
PATIENCE_S = 300.0
BOOT = "0123456789abcdef0123456789abcdef"


# A real journald


@dataclass
class Journald:
    """One that writes into a folder of ours, and its sockets."""

    folder: Path

    def config(self, **keys: object) -> JournalConfig:
        return JournalConfig(directory=self.folder / "journal", **keys)  # type: ignore[arg-type]

    def syslog(self, text: str) -> None:
        """As syslog(3) does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.sendto(f"<13>{text}".encode(), str(self.folder / "sockets/dev-log"))

    def native(self, fields: bytes) -> None:
        """As sd_journal_send(3) does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
            log.sendto(fields, str(self.folder / "sockets/socket"))

    def printed(self, name: str, text: str) -> None:
        """As what a service writes to its standard output."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as log:
            log.connect(str(self.folder / "sockets/stdout"))
            log.sendall(f"{name}\n\n6\n0\n0\n0\n0\n{text}\n".encode())


@pytest.fixture(scope="module")
def journald() -> Iterator[Journald]:
    if not JOURNALD.exists() or shutil.which("journalctl") is None:
        pytest.skip("no systemd here: nothing to start journald from")
    folder = Path(tempfile.mkdtemp(prefix="cv-journal-"))  # short: sockets' names are
    folder.chmod(0o755)
    for each in ("journal", "sockets"):
        (folder / each).mkdir(mode=0o755)
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-ec", START, "sh", str(folder), str(JOURNALD)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        until_s = time.monotonic() + PATIENCE_S
        asked = ["journalctl", f"--directory={folder}/journal", "--boot", "--lines=0"]
        while subprocess.run(asked, capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > until_s:
                process.kill()
                told = process.communicate()[1].decode(errors="replace").strip()
                pytest.skip(f"no journald in a namespace of its own: {told or 'it is mute'}")
            time.sleep(0.05)
        yield Journald(folder)
    finally:
        process.terminate()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        shutil.rmtree(folder)


def read_some(source: JournalSource, num: int) -> list[Sample]:
    """So many samples; journald and journalctl take their time on a loaded machine."""
    found: list[Sample] = []
    until_s = time.monotonic() + PATIENCE_S
    while len(found) < num:
        assert time.monotonic() < until_s, f"{len(found)} of {num} in {PATIENCE_S} s: {found}"
        found += source.read(0.5)
    return found


@pytest.fixture
def follow() -> Iterator[Callable[..., JournalSource]]:
    opened: list[JournalSource] = []

    def open_(config: JournalConfig, **keys: object) -> JournalSource:
        opened.append(JournalSource(config, **keys))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    for source in opened:
        source.close()


Follow = Callable[..., JournalSource]


def settle(journald: Journald, source: JournalSource, name: str) -> None:
    """Until the follower follows: what comes before it has opened the journal is not shown."""
    until_s = time.monotonic() + PATIENCE_S
    while not source.read(0.3):
        assert time.monotonic() < until_s, f"nothing was followed in {PATIENCE_S} s"
        journald.syslog(f"{name}: is anybody there?")
    journald.syslog(f"{name}: good")  # the last of what was asked: nothing comes after it
    while not any(isinstance(each, TextLine) and "good" in each.text for each in source.read(0.5)):
        assert time.monotonic() < until_s, f"the last question is missing after {PATIENCE_S} s"
    source.counts.clear()


def test_a_message_has_the_time_of_its_sending_on_the_node_s_clock(
    journald: Journald, follow: Follow
) -> None:
    source = follow(journald.config(identifiers=("door",)))
    settle(journald, source, "door")
    before_ns = read_node_clock()
    journald.syslog("door: opened")
    after_ns = read_node_clock()
    (line,) = read_some(source, 1)
    assert isinstance(line, TextLine)
    assert line.text == "door: opened"
    slack_ns = 2_000_000  # the stamp is whole µs, and REALTIME is measured a little later
    assert before_ns - slack_ns <= line.t_node_ns <= after_ns + slack_ns
    assert source.counts == {"sent": 1}


def test_what_a_service_prints_has_the_time_of_its_receipt(
    journald: Journald, follow: Follow
) -> None:
    source = follow(journald.config(identifiers=("pump",)))
    settle(journald, source, "pump")
    before_ns = read_node_clock()
    journald.printed("pump", "running")
    (line,) = read_some(source, 1)
    assert isinstance(line, TextLine)
    assert line.text == "pump: running"
    assert before_ns <= line.t_node_ns <= read_node_clock()
    assert source.counts == {"received": 1}


def test_a_kernel_s_message_has_the_time_of_its_printing(
    journald: Journald, follow: Follow
) -> None:
    source = follow(journald.config(identifiers=("coeval-test",), kernel=True))
    before_ns = read_node_clock()
    found: list[Sample] = []
    try:
        for _ in range(10):
            Path("/dev/kmsg").write_text("<6>coeval-test: printed\n")
            if found := source.read(0.3):
                break
        else:
            pytest.skip("this journald does not read /dev/kmsg")
    except OSError as exc:
        pytest.skip(f"/dev/kmsg cannot be written here: {exc}")
    line = found[0]
    assert isinstance(line, TextLine)
    assert line.text == "coeval-test: printed"
    assert before_ns <= line.t_node_ns <= read_node_clock()
    assert set(source.counts) == {"printed"}


def test_identifiers_and_priorities_choose_messages(journald: Journald, follow: Follow) -> None:
    source = follow(journald.config(identifiers=("oven",), priority="warning"))
    settle_text = b"MESSAGE=ready\nSYSLOG_IDENTIFIER=oven\nPRIORITY=3\n"
    until_s = time.monotonic() + PATIENCE_S
    while not source.read(0.3):
        assert time.monotonic() < until_s, f"nothing was followed in {PATIENCE_S} s"
        journald.native(settle_text)
    journald.native(b"MESSAGE=chatter\nSYSLOG_IDENTIFIER=oven\nPRIORITY=6\n")
    journald.native(b"MESSAGE=hot\nSYSLOG_IDENTIFIER=kettle\nPRIORITY=3\n")
    journald.native(b"MESSAGE=too hot\nSYSLOG_IDENTIFIER=oven\nPRIORITY=4\n")
    texts: list[str] = []
    until_s = time.monotonic() + PATIENCE_S
    while "oven: too hot" not in texts and time.monotonic() < until_s:
        texts += [line.text for line in source.read(0.5) if isinstance(line, TextLine)]
    assert set(texts) <= {"oven: ready", "oven: too hot"}
    assert texts[-1] == "oven: too hot"


def test_numbers_of_messages_are_channels(journald: Journald, follow: Follow) -> None:
    source = follow(journald.config(identifiers=("meter",), modality="metadata"))
    found: list[Sample] = []
    until_s = time.monotonic() + PATIENCE_S
    while not found and time.monotonic() < until_s:
        journald.syslog("meter: 21.5 C 40 %")
        found = source.read(0.3)
    assert isinstance(found[0], MetadataBlock)
    assert found[0].values[0].tolist() == [21.5, 40.0]


def test_messages_of_another_boot_are_left_out(
    journald: Journald, follow: Follow, tmp_path: Path
) -> None:
    other = tmp_path / "boot_id"
    other.write_text("00000000-1111-2222-3333-444444444444\n")
    source = follow(journald.config(identifiers=("door",)), boot_id_file=other)
    until_s = time.monotonic() + PATIENCE_S
    while not source.counts and time.monotonic() < until_s:
        journald.syslog("door: opened")
        assert source.read(0.3) == []
    assert set(source.counts) == {"other_boot"}


def test_a_user_without_the_right_is_told_the_group(
    journald: Journald, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("no setpriv, or not root: cannot become another user")
    real = shutil.which("journalctl")
    become = f'exec setpriv --reuid=65534 --regid=65534 --clear-groups {real} "$@"'
    invent(tmp_path, monkeypatch, become)
    with pytest.raises(SourceForbidden, match="usermod -aG systemd-journal"):
        JournalSource(journald.config())


def test_a_folder_without_a_journal_or_none_at_all_is_named(
    journald: Journald, tmp_path: Path
) -> None:
    assert journald.folder.exists()
    with pytest.raises(SourceAbsent, match="is the directory right"):
        JournalSource(JournalConfig(directory=tmp_path / "nothing"))
    with pytest.raises(SourceAbsent, match="journald"):
        JournalSource(JournalConfig(directory=tmp_path))


# Invented programs


def invent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A `journalctl` that does something else."""
    program = tmp_path / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


ONLY_FOLLOWING = 'case "$*" in *--follow*) ;; *) exit 0;; esac\n'


def entry(**fields: object) -> str:
    """What journalctl prints of a message that was received just now."""
    now_us = time.clock_gettime_ns(KernelClock.MONOTONIC) // 1000
    return json.dumps(
        {"_BOOT_ID": BOOT, "__MONOTONIC_TIMESTAMP": str(now_us), "MESSAGE": "x"} | fields
    )


def test_what_is_no_entry_is_counted_and_the_rest_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: Follow
) -> None:
    lines = [
        *("not json", "[]", "{}", '"text"', "7"),
        entry(__MONOTONIC_TIMESTAMP="soon"),
        entry(MESSAGE=None),
        entry(MESSAGE=[111, 107, 255]),
        entry(_SOURCE_REALTIME_TIMESTAMP="never"),
        entry(_SOURCE_REALTIME_TIMESTAMP="99999999999999999"),
        entry(MESSAGE="good"),
    ]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n")
    invent(tmp_path, monkeypatch, f"{ONLY_FOLLOWING}cat {tmp_path}/lines\nsleep 60")
    boot = tmp_path / "boot_id"
    boot.write_text(BOOT)
    source = follow(JournalConfig(), boot_id_file=boot)
    texts = [each.text for each in read_some(source, 3) if isinstance(each, TextLine)]
    assert texts == ["ok\ufffd", "x", "good"]
    assert source.counts == {"garbage": 7, "no_text": 1, "received": 4}


def test_a_journalctl_that_dies_is_lost_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: Follow
) -> None:
    invent(tmp_path, monkeypatch, f"{ONLY_FOLLOWING}echo 'Bus error' >&2; exit 7")
    source = follow(JournalConfig())
    with pytest.raises(SourceLost, match="journalctl: Bus error"):
        source.read(PATIENCE_S)


def test_a_journalctl_that_was_killed_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follow: Follow
) -> None:
    invent(tmp_path, monkeypatch, f"{ONLY_FOLLOWING}kill -9 $$")
    source = follow(JournalConfig())
    with pytest.raises(SourceLost, match="ended with -9; it is started again"):
        source.read(PATIENCE_S)


@pytest.mark.parametrize(
    ("said", "kind", "todo"),
    [
        ("Unknown log level loud", SourceUnfit, "see priority"),
        ("Invalid unit name", SourceUnfit, "see units"),
        ("No journal files were found.", SourceAbsent, "is systemd-journald running"),
        ("Something else", SourceUnfit, "Something else"),
        ("", SourceUnfit, "try it by hand"),
    ],
)
def test_a_failure_of_journalctl_says_what_to_do(
    said: str,
    kind: type[SourceUnusable],
    todo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    invent(tmp_path, monkeypatch, f"echo '{said}' >&2; exit 1")
    with pytest.raises(kind, match=todo):
        JournalSource(JournalConfig())


def test_a_system_without_journalctl_is_told_to_follow_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceAbsent, match=r"node\.sources\.file"):
        JournalSource(JournalConfig())


# Configuration


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"priority": "loud"}, "priority must be one of emerg"),
        ({"modality": "audio"}, "modality must be text or metadata"),
        ({"units": ("",)}, "units must not hold an empty name"),
    ],
)
def test_a_wrong_value_names_its_key(keys: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        JournalConfig(**keys)  # type: ignore[arg-type]


def test_a_stream_of_the_journal_says_whose_its_stamps_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invent(tmp_path, monkeypatch, f"{ONLY_FOLLOWING}exec sleep 60")
    file = tmp_path / "node.toml"
    file.write_text('[node]\nid = "hall"\n[node.sources.journal.log]\ndirectory = "j"\n')
    sources = load_node_config(file).sources
    assert sources is not None
    assert sources.journal["log"].directory == tmp_path / "j"
    live = LiveStreams(SourcesConfig(journal={"log": JournalConfig()}), "hall")
    ((spec, timing),) = live.streams
    assert (spec.modality, timing.origin) == ("text", "kernel")
    live.close()


@pytest.mark.parametrize(
    ("field", "text"),
    [("a", "a"), ([97, 98], "ab"), (["one", "two"], "one"), (None, ""), ({}, ""), ([], "")],
)
def test_a_field_is_text_however_journalctl_prints_it(field: object, text: str) -> None:
    assert text_of(field) == text
