"""Any readouts, in pieces of any size, into files and messages of any layout: they come back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from socs.errors import Malformed
from socs.slow_signal import pixels
from socs.slow_signal.layout import READOUT, Readouts, is_present, millivolts
from socs.slow_signal.readout import MESSAGES, SSReadout, pack_many
from socs.slow_signal.store import SSDataReader, SSDataWriter, blocks, formats, journal
from socs.slow_signal.store.growing import new_head
from socs.slow_signal.store.journal import Journal, JournalScan

U64 = st.integers(0, 2**64 - 1)


@st.composite
def readouts(draw, most: int = 150) -> Readouts:
    """Readouts with any numbers, times, modules and counts."""
    count = draw(st.integers(1, most))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = np.zeros(count, READOUT)
    made["number"] = draw(U64)
    made["number"] += np.arange(count, dtype=np.uint64)  # modulo 2^64
    made["tack"] = chance.integers(0, draw(U64), count, np.uint64, endpoint=True)
    made["cpu_ns"] = chance.integers(0, draw(st.integers(0, 2**63 - 1)), count, endpoint=True)
    made["present"] = chance.integers(0, 2**32, count)
    if draw(st.booleans()):
        made["present"] = 0xFFFFFFFF
    largest = draw(st.sampled_from([0, 1, 255, 65535]))
    made["counts"] = chance.integers(0, largest, made["counts"].shape, np.uint16, endpoint=True)
    made["tacks"] = chance.integers(0, draw(U64), made["tacks"].shape, np.uint64, endpoint=True)
    absent = ~is_present(made["present"])
    made["counts"][absent] = 0
    made["tacks"][absent] = 0
    return made


def as_in(layout: str, written: Readouts) -> Readouts:
    """``written`` with what the layout has of it."""
    kept = written.copy()
    if layout == "seed":
        kept["cpu_ns"] = 0
    if layout == "ssdaq":
        kept["tacks"] = 0
    return kept


@settings(max_examples=60)
@given(
    written=readouts(),
    layout=st.sampled_from(formats.LAYOUTS),
    buffer=st.integers(1, 200),
    data=st.data(),
)
def test_what_is_written_is_read(written: Readouts, layout: str, buffer: int, data) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.hdf5"
        with SSDataWriter(path, buffer=buffer, layout=layout) as writer:
            start = 0
            while start < len(written):
                count = data.draw(st.integers(1, len(written) - start))
                writer.write_readouts(written[start : start + count])
                start += count
            writer.flush()
            with SSDataReader(path) as reader:  # from the journal, which has everything
                assert reader.readouts().tobytes() == written.tobytes()
        with SSDataReader(path, "raw") as reader:
            assert reader.readouts().tobytes() == as_in(layout, written).tobytes()
            some = slice(*data.draw(st.tuples(*[st.integers(-200, 200)] * 2)))
            step = data.draw(st.integers(-70, 70).filter(bool))
            picked = slice(some.start, some.stop, step)
            expected = millivolts(written).astype(np.float32)[picked]
            np.testing.assert_array_equal(reader[picked], expected)


@settings(max_examples=60)
@given(written=readouts(most=5), layout=st.sampled_from([*MESSAGES]))
def test_what_is_packed_is_unpacked(written: Readouts, layout: str) -> None:
    kept = written.copy()
    if layout == "seed":
        kept["cpu_ns"] = 0
    else:
        kept["tacks"] = 0
    for row, message in zip(kept, pack_many(written, layout), strict=True):
        readout = SSReadout.from_bytes(message.tobytes())
        assert readout.pack(layout) == message.tobytes()
        again, residues = readout.to_rows()
        assert again.tobytes() == row.tobytes()
        assert residues is None


ANY_FLOATS = arrays.arrays(
    np.float32, (2, 32, 64), elements=st.floats(width=32), fill=st.floats(width=32)
)


@settings(max_examples=100)
@given(amplitudes=ANY_FLOATS)
def test_any_amplitudes_come_back_as_float32_has_them(amplitudes: np.ndarray) -> None:
    rows = np.zeros(2, READOUT)
    rows["counts"], rows["present"], residues = pixels.count(amplitudes)
    again = pixels.amplitudes(rows, residues)
    np.testing.assert_array_equal(again, amplitudes)  # -0.0 is 0.0


@settings(max_examples=150)
@given(garbage=st.binary(max_size=200), written=readouts(most=3), data=st.data())
def test_any_bytes_are_a_block_or_refused(garbage: bytes, written: Readouts, data) -> None:
    block = bytearray(blocks.pack(written))
    for _ in range(data.draw(st.integers(0, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    for candidate in (garbage, bytes(block), bytes(block)[: len(garbage)], bytes(block) + garbage):
        try:
            found, _ = blocks.unpack(candidate)
        except Malformed:
            continue
        assert found.dtype == READOUT


@settings(max_examples=60)
@given(
    pieces=st.lists(readouts(most=20), min_size=1, max_size=5),
    garbage=st.binary(max_size=60),
    data=st.data(),
)
def test_a_journal_keeps_what_is_before_its_first_damage(pieces, garbage: bytes, data) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.journal"
        ends = []
        with Journal.create(path, new_head("native", None, None, 0.0)) as file:
            first = file.size
            for piece in pieces:
                file.append(journal.READOUTS, blocks.pack(piece))
                ends.append(file.size)
        whole = path.read_bytes()
        place = data.draw(st.integers(first, len(whole) - 1))
        path.write_bytes(whole[:place] + garbage + whole[place + data.draw(st.integers(0, 60)) :])
        good = [piece for piece, end in zip(pieces, ends, strict=True) if end <= place]
        with JournalScan(path) as scan:
            found = [blocks.unpack(scan.data(block))[0] for block in scan.blocks]
        assert [f.tobytes() for f in found[: len(good)]] == [g.tobytes() for g in good]
        if path.read_bytes() != whole:
            # Whatever is found further on was written: the damage can but leave it as it was.
            assert all(f.tobytes() in {p.tobytes() for p in pieces} for f in found)
