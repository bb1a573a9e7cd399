"""The writer: acknowledged is durable; an outage loses nothing, doubles nothing, grows nothing."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.errors import StoreUnavailable, StoreUnusable
from coeval_aggregator.store.opening import open_store
from coeval_aggregator.store.records import Ack
from coeval_aggregator.store.store import Store
from coeval_aggregator.store.writer import StoreWriter
from coeval_lab.postgres import RunningPostgres

from .making import block, count, event, evidence, kept

PATIENCE_S = 300.0


class Acks:
    """What was acknowledged."""

    def __init__(self) -> None:
        self.mids: list[int] = []
        self._changed = threading.Condition()

    def __call__(self, acks: Sequence[Ack]) -> None:
        with self._changed:
            self.mids += [ack.number for ack in acks]
            self._changed.notify_all()

    def wait_for(self, num: int) -> None:
        with self._changed:
            is_so = self._changed.wait_for(lambda: len(self.mids) >= num, PATIENCE_S)
            assert is_so, f"{len(self.mids)} of {num} acknowledged in {PATIENCE_S} s"


class Disk:
    """A store's opener whose disk can be full, or whose database can be away."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pages: int | None = None
        """Size of the disk in pages of SQLite; None: no end."""
        self.is_away = False

    def open(self) -> Store:
        if self.is_away:
            raise StoreUnavailable("the database is away")
        store = open_store(self.url)
        if self.pages is not None:
            store.database.execute(f"PRAGMA max_page_count = {self.pages}")
        return store


@contextmanager
def writing(open_it: Callable[[], Store], acks: Acks, **bounds: int) -> Iterator[StoreWriter]:
    writer = StoreWriter(open_it, config=StoreConfig(**bounds), acknowledge=acks, retry_s=0.01)
    writer.start()
    try:
        yield writer
    finally:
        writer.close()


def wait_until(is_so: Callable[[], bool], writer: StoreWriter) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until_s, f"after {PATIENCE_S} s: {writer.state}"
        time.sleep(0.01)


def seqs(url: str) -> list[int]:
    store = open_store(url)
    found = [row[0] for row in store.database.fetch("SELECT seq FROM blocks ORDER BY seq")]
    store.close()
    return found


def test_what_is_acknowledged_is_there(url: str) -> None:
    acks = Acks()
    with writing(lambda: open_store(url), acks) as writer:
        for seq in range(500):
            assert writer.put(kept(block(seq), mid=seq))
        acks.wait_for(500)
        assert seqs(url) == list(range(500))
    assert acks.mids == list(range(500))
    assert writer.state.num_blocks == 500


def test_closing_writes_what_waits(url: str) -> None:
    acks = Acks()
    with writing(lambda: open_store(url), acks) as writer:
        for seq in range(100):
            writer.put(kept(block(seq), mid=seq))
    assert len(acks.mids) == len(seqs(url)) == 100


def test_a_full_disk_is_named_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    disk = Disk(f"sqlite:///{tmp_path}/store.db")
    disk.pages = 60
    acks = Acks()
    with writing(disk.open, acks) as writer:
        for seq in range(1000):
            writer.put(kept(block(seq), mid=seq))
        wait_until(lambda: writer.state.problem is not None, writer)
        assert "database or disk is full" in (writer.state.problem or "")
        assert set(acks.mids) <= set(seqs(disk.url))
        assert writer.state.num_waiting == 1000 - len(acks.mids)
        disk.pages = None
        acks.wait_for(1000)
        wait_until(lambda: writer.state.problem is None, writer)
    assert seqs(disk.url) == list(range(1000))
    assert sorted(acks.mids) == list(range(1000))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 600 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "coeval", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_file_system_that_is_full_and_then_is_not_loses_nothing(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/store.db"
    acks = Acks()
    with writing(lambda: open_store(url), acks) as writer:
        for seq in range(3000):
            writer.put(kept(block(seq), mid=seq))
        wait_until(lambda: "disk is full" in (writer.state.problem or ""), writer)
        subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
        acks.wait_for(3000)
    assert seqs(url) == list(range(3000))


def test_a_server_that_goes_and_comes_back_loses_and_doubles_nothing(
    postgres: RunningPostgres,
) -> None:
    url = postgres.url  # no other test keeps anything in its default schema
    acks = Acks()
    with writing(lambda: open_store(url), acks) as writer:
        for seq in range(100):
            writer.put(kept(block(seq), event(), mid=seq))
        acks.wait_for(100)
        postgres.stop()
        try:
            for seq in range(100, 300):
                writer.put(kept(block(seq), event(), mid=seq))
            wait_until(lambda: writer.state.problem is not None, writer)
            assert len(acks.mids) == 100
        finally:
            postgres.start()
        acks.wait_for(300)
        wait_until(lambda: writer.state.problem is None, writer)
    assert seqs(url) == list(range(300))


def test_a_database_that_is_away_at_the_start_is_waited_for(url: str) -> None:
    disk, acks = Disk(url), Acks()
    disk.is_away = True
    with writing(disk.open, acks) as writer:
        assert writer.state.problem == "the database is away"
        disk.is_away = False
        wait_until(lambda: writer.state.problem is None, writer)


def test_a_store_of_a_newer_schema_is_not_waited_for(url: str) -> None:
    store = open_store(url)
    store.database.execute("UPDATE schema_version SET version = 99")
    store.close()
    with pytest.raises(StoreUnusable, match="99"), writing(lambda: open_store(url), Acks()):
        pass


def test_what_waits_is_bounded_and_the_rest_stays_with_the_broker(url: str) -> None:
    disk, acks = Disk(url), Acks()
    disk.is_away = True
    with writing(disk.open, acks, max_waiting=50) as writer:
        taken = [writer.put(kept(block(seq), mid=seq)) for seq in range(80)]
        assert taken == [True] * 50 + [False] * 30
        assert writer.put(kept(event()))
        assert (writer.state.num_held_back, writer.state.num_waiting) == (30, 51)
        assert not writer.is_behind  # but away: nobody waits for it
        disk.is_away = False
        acks.wait_for(50)
        again = [writer.put(kept(block(seq), mid=seq)) for seq in range(50, 80)]
        assert all(again)
    assert seqs(url) == list(range(80))


def test_what_comes_again_on_a_new_connection_is_written_once(url: str) -> None:
    disk, acks = Disk(url), Acks()
    disk.is_away = True
    with writing(disk.open, acks, max_waiting=50) as writer:
        for seq in range(50):
            writer.put(kept(block(seq), mid=seq))
        writer.put(kept(event()))
        writer.forget(range(2))
        wait_until(lambda: writer._num_unanswered == 0, writer)  # what it had in hand, too
        again = [kept(block(seq))._replace(ack=Ack(2, seq)) for seq in range(50)]
        assert all([writer.put(each) for each in again])
        disk.is_away = False
        acks.wait_for(50)
    state = writer.state
    assert (state.num_blocks, state.num_known, state.num_waiting) == (50, 0, 0)
    assert acks.mids == list(range(50))


def test_what_a_session_found_by_a_message_stays_when_the_message_comes_again(url: str) -> None:
    disk, acks = Disk(url), Acks()
    disk.is_away = True
    with writing(disk.open, acks) as writer:
        writer.put(kept(block(0), event(), mid=0))
        writer.forget(range(2))
        disk.is_away = False
    store = open_store(url)
    assert (count(store, "events"), count(store, "blocks")) == (1, 0)
    store.close()


def test_a_batch_in_hand_is_let_go_too_when_it_comes_again(url: str) -> None:
    disk, acks = Disk(url), Acks()
    disk.is_away = True
    with writing(disk.open, acks, max_waiting=1) as writer:
        writer.put(kept(block(0), mid=0))
        wait_until(lambda: writer._waiting.empty(), writer)
        writer.forget(range(2))
        wait_until(lambda: writer.state.num_waiting == 0, writer)
        assert writer.put(kept(block(0))._replace(ack=Ack(2, 0)))
        disk.is_away = False
    assert (writer.state.num_blocks, writer.state.num_known) == (1, 0)


def test_a_database_that_hangs_is_told_and_bounds_what_waits(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coeval_aggregator.store.writer.SILENT_S", 0.05)
    may_write, acks = threading.Event(), Acks()

    def open_and_hang() -> Store:
        assert may_write.wait(PATIENCE_S)
        return open_store(url)

    writer = StoreWriter(open_and_hang, config=StoreConfig(max_waiting=2), acknowledge=acks)
    writer._thread.start()
    wait_until(lambda: "no answer" in (writer.state.problem or ""), writer)
    assert [writer.put(kept(block(seq), mid=seq)) for seq in range(3)] == [True, True, False]
    assert not writer.is_behind  # nobody stands still for it
    may_write.set()
    acks.wait_for(2)
    wait_until(lambda: writer.state.problem is None, writer)
    writer.close()


def test_a_record_that_no_database_takes_does_not_keep_the_others_out(url: str) -> None:
    acks = Acks()
    with writing(lambda: open_store(url), acks) as writer:
        writer.put(kept(block(0), mid=0))
        writer.put(kept(evidence("text \ud800"), mid=1))  # type: ignore[arg-type]
        writer.put(kept(block(1), mid=2))
        acks.wait_for(3)
    assert seqs(url) == [0, 1]
    assert writer.state.num_refused == 1


KILLED = """
import sys
sys.path.insert(0, {folder!r})
from making import block, kept
from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.opening import open_store
from coeval_aggregator.store.writer import StoreWriter

def say(acks):
    sys.stdout.write("".join(f"{{ack.number}}\\n" for ack in acks))
    sys.stdout.flush()

writer = StoreWriter(lambda: open_store({url!r}), config=StoreConfig(), acknowledge=say)
writer.start()
seq = 0
while True:
    seq += writer.put(kept(block(seq), mid=seq))
"""


def test_an_aggregator_killed_in_mid_batch_has_kept_all_that_it_acknowledged(url: str) -> None:
    folder = __file__.rpartition("/")[0]
    code = KILLED.format(url=url, folder=folder)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(3000)]
        child.send_signal(signal.SIGKILL)
        said += [
            int(line)
            for line in child.stdout.read().splitlines(keepends=True)
            if line.endswith(b"\n")
        ]
    there = seqs(url)
    assert set(said) <= set(there)
    store = open_store(url)
    store.write([kept(*(block(seq) for seq in range(max(there) + 100)))])
    assert count(store, "blocks") == max(there) + 100
    store.close()
