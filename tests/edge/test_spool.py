"""The spool: nothing unacknowledged is lost, whatever happens; what has to go is said."""

import logging
import resource
from pathlib import Path

import pytest

from coeval.errors import BadConfig
from coeval_edge.spool import RECORD, Spool


def payloads(spool: Spool, *, after: int = 0, limit: int = 1000) -> list[bytes]:
    return [record.payload for record in spool.pending(after=after, limit=limit)]


def fill(spool: Spool, count: int, *, size: int = 100) -> None:
    for number in range(count):
        spool.append("coeval/s/bin/cam/mic", number.to_bytes(4, "little") * (size // 4))


def numbers(spool: Spool) -> list[int]:
    return [int.from_bytes(data[:4], "little") for data in payloads(spool)]


def test_messages_come_out_in_order_with_their_topics(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append("a/ü", b"1")
    spool.append("b", b"")
    first, second = spool.pending(after=0, limit=10)
    assert (first.topic, first.payload) == ("a/ü", b"1")
    assert (second.topic, second.payload) == ("b", b"")
    assert payloads(spool, after=first.id) == [b""]
    assert payloads(spool, limit=1) == [b"1"]
    spool.close()


def test_acknowledged_messages_are_gone_in_any_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    fill(spool, 3)
    first, second, third = spool.pending(after=0, limit=10)
    spool.acknowledge(second.id)
    spool.acknowledge(second.id)
    assert numbers(spool) == [0, 2]
    spool.acknowledge(third.id)
    spool.acknowledge(first.id)
    assert len(spool) == 0
    spool.close()
    assert list(tmp_path.glob("*.spool")) == []


def test_unacknowledged_messages_survive_a_restart(tmp_path: Path) -> None:
    before = Spool(tmp_path, segment_bytes=1000)
    fill(before, 25)
    for record in before.pending(after=0, limit=10):
        before.acknowledge(record.id)
    before.close()
    after = Spool(tmp_path, segment_bytes=1000)
    kept = numbers(after)
    assert kept[-15:] == list(range(10, 25))
    assert set(kept) <= set(range(25))
    after.append("t", b"new")
    assert payloads(after)[-1] == b"new"
    after.close()


def test_a_crash_without_close_loses_nothing(tmp_path: Path) -> None:
    crashed = Spool(tmp_path)
    fill(crashed, 5)
    data = {path.name: path.read_bytes() for path in tmp_path.glob("*.spool")}
    crashed.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in data.items():
        (copy / name).write_bytes(content)
    spool = Spool(copy)
    assert numbers(spool) == [0, 1, 2, 3, 4]
    spool.close()


@pytest.mark.parametrize("damage", ["cut", "flip", "tail"])
def test_a_damaged_end_is_cut_off_and_said(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path)
    fill(spool, 3)
    spool.close()
    (path,) = tmp_path.glob("*.spool")
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-1:]
    elif damage == "flip":
        data[-1] ^= 1
    else:
        data += RECORD.pack(0, 2**31, 9)
    path.write_bytes(bytes(data))
    with caplog.at_level(logging.WARNING):
        spool = Spool(tmp_path)
    assert numbers(spool) == ([0, 1, 2] if damage == "tail" else [0, 1])
    assert "cut off a damaged end" in caplog.text
    spool.append("t", b"goes on")
    spool.close()
    again = Spool(tmp_path)
    assert payloads(again)[-1] == b"goes on"
    again.close()


def test_a_full_spool_drops_the_oldest_and_says_how_many(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path, max_bytes=5000, segment_bytes=1000)
    with caplog.at_level(logging.WARNING):
        fill(spool, 100)
    kept = numbers(spool)
    assert kept == list(range(100 - len(kept), 100))
    assert spool.dropped == 100 - len(kept) > 0
    assert f"total={spool.dropped}" in caplog.text
    assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) <= 5000
    spool.close()


def test_a_disk_that_refuses_is_counted_and_does_not_stop_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    fill(spool, 1)

    def refuse(_num_bytes: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool, "_open_segment", refuse)
    fill(spool, 1)
    assert spool.dropped == 1
    assert numbers(spool) == [0]
    monkeypatch.undo()
    spool.close()


def test_what_a_full_disk_holds_is_still_handed_out_and_room_is_used_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        fill(spool, 20)
        kept = numbers(spool)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert kept == list(range(len(kept)))
    assert spool.dropped == 20 - len(kept) > 0
    spool.append("t", b"\xff\x00\x00\x00 there is room again")
    assert numbers(spool) == [*kept, 255]
    spool.close()
    again = Spool(tmp_path)
    assert numbers(again) == [*kept, 255]
    again.close()


def test_files_do_not_grow_while_everything_is_acknowledged(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    for _ in range(2000):
        spool.append("t", bytes(400))
        (record,) = spool.pending(after=0, limit=2)
        spool.acknowledge(record.id)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.spool")) < 20_000
    spool.close()


def test_one_folder_serves_one_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(BadConfig, match="used by another process"):
        Spool(tmp_path)
    spool.close()
    Spool(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig, match=r"spool .*file.* cannot be used"):
        Spool(tmp_path / "file")
