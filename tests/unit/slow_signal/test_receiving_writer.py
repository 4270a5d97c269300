"""Messages of a publisher as rows of files, and a writer of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zmq

from socs.errors import ConfigError
from socs.slow_signal.layout import MODULES, MV_PER_COUNT, PIXELS, READOUT, Readouts
from socs.slow_signal.readout import SSReadout, pack_many
from socs.slow_signal.settings import WriterSettings
from socs.slow_signal.ssdaq.receiving_writer import ReceivingFileWriter, readouts_of
from socs.slow_signal.store import SSDataReader
from socs.testing import wait_until

NOW = 1_700_000_000.25


def rows(count: int, first: int = 1) -> Readouts:
    made = np.zeros(count, READOUT)
    made["number"] = np.arange(first, first + count)
    made["tack"] = made["number"] * 10**8
    made["cpu_ns"] = made["number"].astype(np.int64) * 10**9 + 5
    made["present"] = 0xFFFFFFFE  # module 0 is absent
    made["counts"] = np.random.default_rng(1).integers(0, 65536, (count, MODULES, PIXELS))
    made["counts"][:, 0] = 0
    made["tacks"][:, 1:] = made["tack"][:, None, None]
    return made


def messages(readouts: Readouts, layout: str) -> list[bytes]:
    return [bytes(row) for row in pack_many(readouts, layout)]


def test_both_layouts_become_what_they_were() -> None:
    for layout in ("seed", "ssdaq"):
        sent = rows(4)
        got, malformed, rounded = readouts_of(messages(sent, layout), NOW)
        assert (malformed, rounded) == (0, 0)
        if layout == "seed":
            sent["cpu_ns"] = int(NOW * 1e9)
        else:
            sent["tacks"] = 0
        assert np.array_equal(got, sent)


def test_what_is_no_readout_is_counted() -> None:
    got, malformed, _ = readouts_of([b"", b"x" * 100, *messages(rows(1), "seed")], NOW)
    assert (len(got), malformed) == (1, 2)
    got, malformed, _ = readouts_of([b"x"], NOW)
    assert (len(got), malformed) == (0, 1)


def test_amplitudes_between_counts_are_rounded_and_counted() -> None:
    data = np.full((MODULES, PIXELS), 100 * MV_PER_COUNT)
    between = data.copy()
    between[5, 6] += 0.3 * MV_PER_COUNT
    packed = [SSReadout(1, n, each).pack() for n, each in enumerate((data, between))]
    got, _, rounded = readouts_of(packed, NOW)
    assert rounded == 1
    assert (got["counts"] == 100).all()


def test_hostile_numbers_do_no_harm() -> None:
    hostile = np.random.default_rng(2).integers(0, 256, 16_416 * 20, np.uint8).tobytes()
    packed = [hostile[i * 16_416 : (i + 1) * 16_416] for i in range(20)]
    got, malformed, rounded = readouts_of(packed, NOW)
    assert (len(got), malformed, rounded) == (20, 0, 20)


@pytest.fixture
def publisher(tmp_path: Path):
    with zmq.Context() as context, context.socket(zmq.XPUB) as socket:
        socket.set(zmq.LINGER, 0)
        yield socket, socket.bind_to_random_port("tcp://127.0.0.1")


def settings(folder: Path, port: int, **more) -> WriterSettings:
    return WriterSettings("order", "a", str(folder), "127.0.0.1", port, **more)


def test_everything_published_is_in_the_files(tmp_path: Path, publisher) -> None:
    socket, port = publisher
    with ReceivingFileWriter(settings(tmp_path, port)) as writer:
        writer.start()
        assert socket.poll(10_000)
        assert socket.recv() == b"\1"  # the subscription
        sent = rows(300)
        for message in [*messages(sent[:200], "ssdaq"), *messages(sent[210:], "ssdaq"), b"no"]:
            socket.send(message)
        again = rows(5)  # counted from 1 again: a new file
        for message in messages(again, "ssdaq"):
            socket.send(message)
        wait_until(lambda: writer.received == 295)
        assert writer.alive
    assert writer.status()["missed"] == 10
    assert writer.malformed == 1
    found = []
    for path in sorted(tmp_path.glob("*.hdf5")):
        with SSDataReader(path) as reader:
            found.append(reader.readouts())
    assert [len(each) for each in found] == [290, 5]
    expected = np.concatenate([sent[:200], sent[210:], again])
    for name in ("number", "tack", "cpu_ns", "counts", "present"):
        assert np.array_equal(np.concatenate(found)[name], expected[name]), name


def test_it_closes_unstarted_and_names_what_is_wrong(tmp_path: Path) -> None:
    ReceivingFileWriter(settings(tmp_path, 5555)).close()
    with pytest.raises(ConfigError, match=r"cannot listen to tcp://no such host:5555"):
        ReceivingFileWriter(WriterSettings(folder=str(tmp_path), ip="no such host"))
    with pytest.raises(ConfigError, match="layout"):
        ReceivingFileWriter(settings(tmp_path, 5555, layout="none"))
