"""SSDAQ's chunks, decompressed by several threads, are what the HDF5 library makes of them."""

from __future__ import annotations

import bz2
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tables

from socs.errors import Malformed
from socs.slow_signal.store import SSDataReader, SSDataWriter, bzip2_chunks, formats
from socs.slow_signal.store.fletcher import is_right
from tests.camera_data import random_walk

COUNT = 100  # readouts: the last chunk is not full
TABLE = "/SlowSignal/readout"
PEERS = sorted(formats.PEER_TABLES)


@pytest.fixture(autouse=True)
def idle(monkeypatch, tmp_path: Path) -> Path:
    """Two processors, which nobody else uses: what the kernel says of that."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    said = tmp_path / "loadavg"
    said.write_text("0.50 0.40 0.30 1/500 1234\n")
    monkeypatch.setattr(bzip2_chunks, "RUNNING", said)
    return said


def written(path: Path, layout: str, **filters: object) -> Path:
    chosen = tables.Filters(9, "bzip2", **filters) if filters else None
    with SSDataWriter(path, layout=layout, filters=chosen) as writer:
        writer.write_readouts(random_walk(COUNT))
    return path


@pytest.fixture(scope="module", params=PEERS)
def path(request, tmp_path_factory) -> Path:
    """A file with the usual filters."""
    return written(tmp_path_factory.mktemp(request.param) / "x.hdf5", request.param)


def by_the_library(path: Path) -> np.ndarray:
    with tables.open_file(path) as file:
        return file.get_node(TABLE).read()


def change(path: Path, action: Callable[[tables.Table], None]) -> None:
    with tables.open_file(path, "r+") as file:
        action(file.get_node(TABLE))


def test_rows_are_those_of_the_library(path: Path) -> None:
    rows = by_the_library(path)
    with tables.open_file(path) as file:
        table = file.get_node(TABLE)
        assert bzip2_chunks.can_unpack(table)
        with bzip2_chunks.Bzip2Chunks(path, table) as chunks:
            for start, stop in [(0, COUNT), (0, 30), (7, 31), (14, 16), (31, 99), (89, COUNT)]:
                assert chunks.read(start, stop).tobytes() == rows[start:stop].tobytes()
            for start, stop in [(0, 15), (20, 29), (5, 5), (90, COUNT)]:
                assert chunks.read(start, stop) is None  # within a chunk


@pytest.mark.parametrize("layout", PEERS)
def test_files_without_checksums(tmp_path: Path, layout: str) -> None:
    path = written(tmp_path / "x.hdf5", layout, fletcher32=False, shuffle=True)
    with tables.open_file(path) as file:
        chunks = bzip2_chunks.Bzip2Chunks(path, file.get_node(TABLE))
        assert chunks.read(0, COUNT).tobytes() == by_the_library(path).tobytes()
        chunks.close()


@pytest.mark.parametrize("filters", [{"shuffle": False}, {"complib": "zlib"}, {"complevel": 0}])
def test_what_is_compressed_otherwise_is_left_to_the_library(tmp_path: Path, filters) -> None:
    chosen = tables.Filters(**{"complevel": 1, "complib": "bzip2"} | filters)
    with tables.open_file(tmp_path / "x.hdf5", "w") as file:
        row = formats.PEER_TABLES["seed"].row
        table = file.create_table("/", "t", row, filters=chosen, expectedrows=100)
        assert not bzip2_chunks.can_unpack(table)


def test_so_it_is_if_there_is_one_processor(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    with tables.open_file(path) as file:
        assert not bzip2_chunks.can_unpack(file.get_node(TABLE))


def test_so_it_is_while_others_use_the_processors(path: Path, idle: Path) -> None:
    with (
        tables.open_file(path) as file,
        bzip2_chunks.Bzip2Chunks(path, file.get_node(TABLE)) as chunks,
    ):
        for said, wanted in {"1.0 1.0 1.0 2/9 7": 0, "2.0 2.0 2.0 1/9 7": 1, "": 1}.items():
            idle.write_text(said)
            assert (chunks.read(0, COUNT) is not None) == wanted


def spoil_stream(table: tables.Table) -> None:
    stored = bytearray(table.read_chunk((15,)))
    stored[1000] ^= 4
    table.write_chunk((15,), bytes(stored))


def cut_stream(table: tables.Table) -> None:
    table.write_chunk((15,), table.read_chunk((15,))[:-100])


def spoil_checksum(table: tables.Table) -> None:
    stored = bytearray(table.read_chunk((15,)))
    stored[-1] ^= 4
    table.write_chunk((15,), bytes(stored))


@pytest.mark.parametrize("spoil", [spoil_stream, cut_stream, spoil_checksum])
@pytest.mark.parametrize("layout", PEERS)
def test_damage_is_found(tmp_path: Path, layout: str, spoil) -> None:
    path = written(tmp_path / "x.hdf5", layout)
    change(path, spoil)
    with SSDataReader(path) as reader, pytest.raises(Malformed):
        reader.column("data")
    with SSDataReader(path) as reader:
        assert len(reader.column("data", 30)) == COUNT - 30


@pytest.mark.parametrize("length", [1000, 1001, 2048, 100_001])
def test_checksums_are_those_of_the_library(length: int) -> None:
    chance = np.random.default_rng(length)
    checked = chance.integers(0, 256, length, np.uint8)
    first = second = 0
    padded = checked.tobytes() + bytes(length % 2)
    for at in range(0, len(padded), 2):
        first = (first + int.from_bytes(padded[at : at + 2], "big")) % 65_535
        second = (second + first) % 65_535
    right = (second << 16 | first).to_bytes(4, "little")
    assert is_right(checked, right)
    for bit in range(32):
        wrong = (int.from_bytes(right, "little") ^ 1 << bit).to_bytes(4, "little")
        assert not is_right(checked, wrong)
    spoilt = checked.copy()
    spoilt[500] ^= 1
    assert not is_right(spoilt, right)


@pytest.mark.parametrize("layout", PEERS)
def test_checksums_may_be_within_the_stream(tmp_path: Path, layout: str) -> None:
    """As in files of PyTables until 3.9, which ours does not write any more."""
    path = written(tmp_path / "x.hdf5", layout)
    rows = by_the_library(path)[15:30]
    memory = np.frombuffer(rows.tobytes(), np.uint8)
    words = memory.view(">u2").astype(int)
    first, second = int(words.sum()) % 65_535, int(words.cumsum().sum() % 65_535)
    shuffled = memory.reshape(15, -1).T.tobytes()
    with tables.open_file(path) as file:
        chunks = bzip2_chunks.Bzip2Chunks(path, file.get_node(TABLE))
        for wrong in (0, 1):
            checksum = (second << 16 | first ^ wrong).to_bytes(4, "little")
            unpacked = np.zeros_like(rows)
            assert chunks._unpack(bz2.compress(shuffled + checksum), unpacked) is not bool(wrong)
            assert wrong or unpacked.tobytes() == rows.tobytes()


def test_a_stream_of_more_than_a_chunk_is_not_unpacked(tmp_path: Path) -> None:
    path = written(tmp_path / "x.hdf5", "seed")
    with tables.open_file(path) as file:
        chunks = bzip2_chunks.Bzip2Chunks(path, file.get_node(TABLE))
        size = 15 * file.get_node(TABLE).dtype.itemsize
        nothing = bytes(bzip2_chunks.CHECKSUM)  # the checksum of zeros
        rows = np.ones(15, file.get_node(TABLE).dtype)
        assert chunks._unpack(bz2.compress(bytes(size) + nothing), rows)
        assert rows.tobytes() == bytes(size)
        assert not chunks._unpack(bz2.compress(bytes(size)), rows)
        assert not chunks._unpack(bz2.compress(bytes(size) + nothing + b"0"), rows)
        assert not chunks._unpack(bz2.compress(bytes(1 << 24)), rows)


@pytest.mark.parametrize("checked", [True, False])
def test_a_stream_of_less_than_a_chunk_is_not_unpacked(tmp_path: Path, checked: bool) -> None:
    path = written(tmp_path / "x.hdf5", "seed", fletcher32=checked, shuffle=True)
    with tables.open_file(path) as file:
        chunks = bzip2_chunks.Bzip2Chunks(path, file.get_node(TABLE))
        rows = np.ones(15, file.get_node(TABLE).dtype)
        for behind in (b"", bytes(bzip2_chunks.CHECKSUM)):
            assert not chunks._unpack(bz2.compress(bytes(1000)) + behind, rows)
            assert not chunks._unpack(bz2.compress(b"") + behind, rows)


NOT_SHUFFLED = 1  # the first filter was left out


def test_chunks_that_are_stored_otherwise_are_left_to_the_library(tmp_path: Path) -> None:
    path = written(tmp_path / "x.hdf5", "seed", fletcher32=False, shuffle=True)
    rows = by_the_library(path)
    stored = bz2.compress(rows[15:30].tobytes())
    change(path, lambda table: table.write_chunk((15,), stored, filter_mask=NOT_SHUFFLED))
    assert by_the_library(path).tobytes() == rows.tobytes()
    with SSDataReader(path) as reader:
        assert np.array_equal(reader.column("data"), rows["data"])


def test_threads_end_with_the_reader(path: Path) -> None:
    def alive() -> int:
        return sum(each.name.startswith("bzip2-chunks") for each in threading.enumerate())

    with SSDataReader(path) as reader:
        reader.column("data")
        assert alive()
    assert not alive()
