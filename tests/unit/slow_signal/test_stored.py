"""What the HDF5 library could not write is noticed, and made again from the journal."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tables

from socs.counters import SLOW_SIGNAL_FILES, Counters
from socs.errors import StorageUnavailable
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import SSDataReader, SSDataWriter, formats, hdf5
from socs.slow_signal.store.growing import Completed
from socs.slow_signal.store.naming import Names
from socs.slow_signal.store.series import FileSeries, SeriesSettings
from socs.slow_signal.store.stored import check_stored
from tests.camera_data import random_walk

BATCHES = {"native": 512, "seed": 300, "ssdaq": 300}  # readouts that are written together
Refuse = Callable[[], None]


@pytest.fixture
def readouts(layout: str) -> Readouts:
    """More than a batch."""
    return random_walk(BATCHES[layout] + 20)


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Have the system refuse, once, what the next flush of a table makes the file longer by."""
    flush = tables.Table.flush
    asked: list[bool] = []

    def flush_or_not(table: tables.Table) -> None:
        if not asked:
            flush(table)
            return
        asked.clear()
        before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = os.path.getsize(table._v_file.filename)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            flush(table)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))

    monkeypatch.setattr(tables.Table, "flush", flush_or_not)
    return lambda: asked.append(True)


def check(path: Path, readouts: Readouts) -> None:
    """It is there, with nothing beside it, and has all that was written."""
    assert os.listdir(path.parent) == [path.name]
    with SSDataReader(path) as reader:
        assert reader.column("number").tobytes() == readouts["number"].tobytes()
        assert reader.column("counts").tobytes() == readouts["counts"].tobytes()


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_a_flush_that_failed_is_not_hidden_by_one_that_did_not(
    tmp_path: Path, readouts: Readouts, layout: str, refuse: Refuse
) -> None:
    path = tmp_path / "x.hdf5"
    writer = SSDataWriter(path, layout=layout)
    refuse()
    writer.write_readouts(readouts)
    assert "File too large" in writer._file.problem
    assert os.listdir(tmp_path) == ["x.hdf5.journal"]
    writer.close()
    check(path, readouts)


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_nor_is_it_when_the_file_is_closed(
    tmp_path: Path, readouts: Readouts, layout: str, refuse: Refuse
) -> None:
    path = tmp_path / "x.hdf5"
    writer = SSDataWriter(path, layout=layout)
    writer.write_readouts(readouts[:40])  # less than a batch
    refuse()
    with pytest.raises(StorageUnavailable, match="File too large"):
        writer.close()
    assert os.listdir(tmp_path) == ["x.hdf5.journal"]
    writer.close()
    check(path, readouts[:40])


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_what_is_not_in_a_file_is_found_whatever_the_library_says(
    tmp_path: Path,
    readouts: Readouts,
    layout: str,
    refuse: Refuse,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "x.hdf5"
    writer = SSDataWriter(path, layout=layout)
    monkeypatch.setattr(hdf5, "_look_for_errors", lambda: None)
    refuse()
    writer.write_readouts(readouts)
    assert writer._file.problem is None
    with pytest.raises(StorageUnavailable, match=r"rows 0 to .* were written, but are not in it"):
        writer.close()
    assert os.listdir(tmp_path) == ["x.hdf5.journal"]
    writer.close()
    check(path, readouts)


# -- the look at a file ---------------------------------------------------------------------------

TABLE = f"/{formats.GROUP}/{formats.READOUT_TABLE}"


@pytest.mark.parametrize("layout", formats.LAYOUTS)
def test_every_chunk_is_looked_at(tmp_path: Path, readouts: Readouts, layout: str) -> None:
    path, count = tmp_path / "x.hdf5", len(readouts)
    with SSDataWriter(path, layout=layout) as writer:
        writer.write_readouts(readouts)
    with tables.open_file(str(path)) as file:
        wanted = {leaf._v_pathname: range(count) for leaf in file.walk_nodes("/", "Leaf")}
        wanted.pop(f"/{formats.GROUP}/{formats.TELESCOPE_TABLE}", None)
        chunks = [
            leaf.chunk_info((start, *(0,) * (leaf.ndim - 1)))
            for leaf in map(file.get_node, wanted)
            for start in range(0, count, leaf.chunkshape[0])
        ]
    check_stored(path, wanted)
    whole = path.read_bytes()
    for chunk in (chunks[0], chunks[len(chunks) // 2], chunks[-1]):
        spoilt = bytearray(whole)
        spoilt[chunk.offset + chunk.size // 2] ^= 4
        path.write_bytes(spoilt)
        with pytest.raises(StorageUnavailable, match=f"rows {chunk.start[0]} to"):
            check_stored(path, wanted)
        path.write_bytes(whole)
    check_stored(path, wanted)
    with pytest.raises(StorageUnavailable, match=f"has {count} rows; {count + 1} were written"):
        check_stored(path, {TABLE: range(count + 1)})
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageUnavailable, match="just written"):
        check_stored(path, wanted)


def test_chunks_without_checksums_are_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with SSDataWriter(path, {}, tables.Filters(1, "zlib"), layout="ssdaq") as writer:
        writer.write_readouts(random_walk(40))
    check_stored(path, {TABLE: range(40)})
    with tables.open_file(str(path)) as file:
        chunk = file.get_node(TABLE).chunk_info((15,))
    with path.open("r+b") as file:
        file.seek(chunk.offset)
        file.write(bytes(np.full(chunk.size, 255, np.uint8)))
    with pytest.raises(StorageUnavailable, match="just written"):
        check_stored(path, {TABLE: range(40)})


# -- the journal ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["native"])  # of ``readouts``
def test_a_journal_that_was_damaged_while_it_was_needed_is_told_and_kept(
    tmp_path: Path, readouts: Readouts, refuse: Refuse
) -> None:
    counters = Counters(SLOW_SIGNAL_FILES)
    done: list[Completed] = []
    series = FileSeries(
        Names(tmp_path, "x", None),
        SeriesSettings(flush_every=0.0),
        counters=counters,
        on_finished=done.append,
    )
    series.start(0.0)
    refuse()  # the journal alone has what follows
    for start in range(0, len(readouts), 76):
        series.write(readouts[start : start + 76], 1.0)
    (path,) = tmp_path.glob("*.journal")
    with path.open("r+b") as journal:
        journal.seek(path.stat().st_size // 2)
        journal.write(bytes(8))
    series.close(2.0)
    (completed,) = done
    with SSDataReader(completed.path) as reader:
        assert 0 < len(reader) == completed.readouts < len(readouts)
        assert reader.readouts().tobytes() == readouts[: len(reader)].tobytes()
    assert counters["data_files_damaged"] == 1
    assert len(list(tmp_path.glob("*.journal.damaged-*"))) == 1
    assert not path.exists()
