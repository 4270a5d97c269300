"""The journal: what is in it stays, whatever becomes of its end; one process writes it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from socs.appending import InUse
from socs.errors import FileNotReady, Malformed, StorageUnavailable
from socs.slow_signal.store import blocks, journal
from socs.slow_signal.store.blocks import differences, restored
from socs.slow_signal.store.growing import new_head
from socs.slow_signal.store.journal import Journal, JournalScan
from tests.camera_data import random_walk

HEAD = new_head("native", {"site": "Teneriffa", "gain": [1.0, 2.0]}, None, 1234.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.hdf5.journal"


def written(path: Path, sizes: tuple[int, ...] = (10, 1, 64)) -> list[int]:
    """A journal with blocks of so many readouts; where each of them ends."""
    readouts = random_walk(sum(sizes))
    ends, start = [], 0
    with Journal.create(path, HEAD) as file:
        for size in sizes:
            file.append(journal.READOUTS, blocks.pack(readouts[start : start + size]))
            start += size
            ends.append(file.size)
    return ends


def contents(path: Path) -> bytes:
    with JournalScan(path) as scan:
        return b"".join(blocks.unpack(scan.data(b))[0].tobytes() for b in scan.blocks)


# -- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2, 7, 64])
@pytest.mark.parametrize("dtype", ["u2", "u8"])
def test_differences_are_undone(block: int, dtype: str) -> None:
    chance = np.random.default_rng(1)
    values = chance.integers(0, np.iinfo(dtype).max, (65, 3), dtype, endpoint=True)
    assert (restored(differences(values, block), block) == values).all()


def test_differences_are_as_documented() -> None:
    values = np.array([500, 501, 499, 65535, 0, 7], np.uint16)
    stored = differences(values, 4)
    signed = [501 - 500, 499 - 501, 65535 - 499 - 65536]
    expected = [500, *(2 * d if d >= 0 else -2 * d - 1 for d in signed), 0, 14]
    assert stored.tolist() == expected


def test_readouts_and_residues_come_back() -> None:
    readouts = random_walk(12)
    readouts["cpu_ns"][3] = -5
    residues = np.random.default_rng(1).normal(size=(12, 32, 64)).astype(np.float32)
    again, rest = blocks.unpack(blocks.pack(readouts, residues))
    assert again.tobytes() == readouts.tobytes()
    assert rest is not None
    assert (rest == residues).all()
    assert blocks.unpack(blocks.pack(readouts))[1] is None


@pytest.mark.parametrize("cut", [0, 15, 16, 100, -1])
def test_a_block_that_is_cut_is_refused(cut: int) -> None:
    data = blocks.pack(random_walk(3))
    with pytest.raises(Malformed):
        blocks.unpack(data[:cut])
    with pytest.raises(Malformed):
        blocks.unpack(data + b"x")


@pytest.mark.parametrize("count", [0, 2, 4, 5000])
def test_a_block_of_another_number_of_readouts_is_refused(count: int) -> None:
    data = blocks.pack(random_walk(3))
    with pytest.raises(Malformed):
        blocks.unpack(count.to_bytes(4, "little") + data[4:])


# -- the journal ----------------------------------------------------------------------------------


def test_what_is_appended_is_found(path: Path) -> None:
    written(path)
    assert contents(path) == random_walk(75).tobytes()
    with JournalScan(path) as scan:
        assert scan.head == HEAD
        assert [block.readouts for block in scan.blocks] == [10, 1, 64]


def test_a_reader_sees_blocks_as_they_come(path: Path) -> None:
    with Journal.create(path, HEAD) as file, JournalScan(path) as scan:
        assert not scan.refresh()
        file.append(journal.READOUTS, blocks.pack(random_walk(3)))
        assert scan.refresh()
        assert not scan.refresh()
        file.append(journal.TELESCOPE, b"abc")
        assert scan.refresh()
        assert [block.readouts for block in scan.blocks] == [3, 0]
        assert scan.data(scan.blocks[1]) == b"abc"


def test_the_end_may_be_cut_anywhere(path: Path) -> None:
    ends = written(path)
    whole, readouts = path.read_bytes(), random_walk(75)
    for cut in [*range(ends[0] - 3, ends[0] + 40), ends[1] - 1, ends[1], ends[2] - 1]:
        path.write_bytes(whole[:cut])
        count = sum(n for n, end in zip((10, 1, 64), ends, strict=True) if end <= cut)
        assert contents(path) == readouts[:count].tobytes()
        with JournalScan(path) as scan:
            assert not scan.is_damaged()


def test_a_block_that_was_changed_ends_the_journal(path: Path) -> None:
    ends = written(path)
    data = bytearray(path.read_bytes())
    for place in (ends[0], ends[0] + 4, ends[0] + 8, ends[0] + 12, ends[0] + 30, ends[1] - 1):
        changed = data.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        assert contents(path) == random_walk(75)[:10].tobytes()
        with JournalScan(path) as scan:
            assert scan.is_damaged()


def test_the_head_must_be_whole(path: Path) -> None:
    written(path)
    data = path.read_bytes()
    for wrong in (b"", data[:15], data[:40], b"X" + data[1:], data[:20] + b"X" + data[21:]):
        path.write_bytes(wrong)
        with pytest.raises(Malformed, match=r"x\.hdf5\.journal"):
            JournalScan(path)
        with pytest.raises(Malformed):
            Journal.take_over(path)


def test_a_journal_of_another_version_is_left_alone(path: Path, monkeypatch) -> None:
    written(path)
    monkeypatch.setattr(journal, "VERSION", 2)
    with pytest.raises(Malformed, match="version 1; this program knows 2"):
        JournalScan(path)


def test_one_process_at_a_time(path: Path) -> None:
    with Journal.create(path, HEAD):
        with pytest.raises(FileExistsError):
            Journal.create(path, HEAD)
        with pytest.raises(InUse, match="another process"):
            Journal.take_over(path)
    with Journal.take_over(path) as mine:
        assert mine.head == HEAD
    with pytest.raises(StorageUnavailable, match="No such file"):
        Journal.create(path.parent / "missing" / "x", HEAD)
    with pytest.raises(FileNotReady, match="No such file"):
        JournalScan(path.parent / "missing")


def test_a_block_is_there_as_a_whole_or_not_at_all(path: Path, monkeypatch) -> None:
    readouts = random_walk(4)
    real = os.pwrite

    def full(file: int, data: bytes, offset: int) -> int:
        """A disk with room for 20 more bytes."""
        if len(data) > 20:
            return real(file, data[:20], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Journal.create(path, HEAD) as file:
        file.append(journal.READOUTS, blocks.pack(readouts[:2]))
        before = path.read_bytes()
        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StorageUnavailable, match=r"x\.hdf5\.journal: No space left"):
            file.append(journal.READOUTS, b"y" * 27)
        assert path.read_bytes() == before
        monkeypatch.setattr(os, "pwrite", real)
        file.append(journal.READOUTS, blocks.pack(readouts[2:]))
    assert contents(path) == readouts.tobytes()
