"""One readout for people's programs, and messages to subscribers, to the byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from socs.errors import ConfigError, Malformed
from socs.slow_signal import pixels
from socs.slow_signal.layout import MV_PER_COUNT, millivolts
from socs.slow_signal.readout import MESSAGES, SSReadout, pack_many
from tests.camera_data import random_walk, without

LENGTHS = {"seed": 16_912, "ssdaq": 16_416}


def test_the_arguments_are_those_of_the_peers() -> None:
    data, tacks = np.ones((32, 64)), np.full((32, 2), 2**63 + 5, np.uint64)
    readout = SSReadout(70, 7, data, tacks)
    assert (readout.readout_timestamp, readout.readout_number) == (70, 7)
    assert (readout.time, readout.iro) == (70, 7)
    assert (readout.data == data).all()
    assert (readout.timestamps == tacks).all()
    newest = SSReadout(70, 7, cpu_t_s=3, cpu_t_ns=500_000_000, data=data)
    assert (newest.cpu_t, newest.cpu_t_s, newest.cpu_t_ns) == (3.5, 3, 500_000_000)


def test_without_arguments_nothing_was_measured() -> None:
    readout = SSReadout()
    assert np.isnan(readout.data).all()
    assert not readout.timestamps.any()
    assert (readout.iro, readout.time, readout.cpu_t) == (0, 0, 0.0)


@pytest.mark.parametrize("layout", MESSAGES)
def test_a_message_is_what_the_peers_unpack(layout: str) -> None:
    row = without(random_walk(1), 0xFFFFFFFE)[0]
    message = SSReadout.from_row(row).pack(layout)
    assert len(message) == LENGTHS[layout]
    head = struct.unpack_from("<2Q", message)
    assert head == (row["number"], row["tack"])
    if layout == "seed":
        data = struct.unpack_from("<2048d", message, 16)
        tacks = struct.unpack_from("<64Q", message, 16 + 8 * 2048)
        assert list(tacks) == row["tacks"].ravel().tolist()
    else:
        assert struct.unpack_from("<2Q", message, 16) == divmod(int(row["cpu_ns"]), 10**9)
        data = struct.unpack_from("<2048d", message, 32)
    assert np.isnan(data[:64]).all()
    assert list(data[64:]) == (row["counts"] * MV_PER_COUNT).ravel()[64:].tolist()


@pytest.mark.parametrize("layout", MESSAGES)
@pytest.mark.parametrize("present", [0xFFFFFFFF, 0x80000001, 0])
def test_many_messages_are_those_of_each(layout: str, present: int) -> None:
    readouts = without(random_walk(7), present)
    packed = pack_many(readouts, layout)
    assert packed.shape == (7, LENGTHS[layout])
    for row, message in zip(readouts, packed, strict=True):
        assert message.tobytes() == SSReadout.from_row(row).pack(layout)


@pytest.mark.parametrize("layout", MESSAGES)
def test_unpacking_gives_back_what_the_layout_holds(layout: str) -> None:
    readout = SSReadout.from_row(without(random_walk(3), 0x7FFF00FF)[2])
    again = SSReadout.from_bytes(bytearray(readout.pack(layout)))
    assert again.pack(layout) == readout.pack(layout)
    assert (again.iro, again.time) == (readout.iro, readout.time)
    np.testing.assert_array_equal(again.data, readout.data)
    if layout == "seed":
        assert (again.timestamps == readout.timestamps).all()
        assert (again.cpu_t_s, again.cpu_t_ns) == (0, 0)
    else:
        assert not again.timestamps.any()
        assert again.cpu_t == readout.cpu_t > 0
    again.data[0, 0] = 1.0  # it is nobody else's memory


@pytest.mark.parametrize("length", [0, 1, 16_415, 16_417, 16_911, 16_913])
def test_messages_of_other_lengths_are_refused(length: int) -> None:
    with pytest.raises(Malformed, match=f"{length} bytes"):
        SSReadout.from_bytes(bytes(length))


def test_layouts_have_names() -> None:
    with pytest.raises(ConfigError, match="seed, ssdaq"):
        SSReadout().pack("newest")
    with pytest.raises(ConfigError, match="seed, ssdaq"):
        pack_many(random_walk(1), "")


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": np.zeros((64, 32))},
        {"data": "nothing"},
        {"data": [[1, 2], [3]]},
        {"timestamps": np.zeros(64)},
    ],
)
def test_arrays_of_other_shapes_are_refused(arguments: dict) -> None:
    with pytest.raises(Malformed, match="of a readout"):
        SSReadout(**arguments)


def test_rows_and_readouts_are_the_same() -> None:
    row = without(random_walk(1), 0x0F0F0F0F)
    again, residues = SSReadout.from_row(row[0]).to_rows()
    assert again.tobytes() == row.tobytes()
    assert residues is None


def test_pixels_are_ordered_as_the_peer_does() -> None:
    readout = SSReadout(data=np.tile(np.arange(64.0), (32, 1)))
    assert readout.asic_mapped_data[31, [0, 1, 7, 63]].tolist() == [29, 23, 0, 37]
    assert readout.colrow_mapped_data[0, [0, 1, 57, 63]].tolist() == [8, 1, 0, 60]
    for order in pixels.ORDERS.values():
        assert sorted(order) == list(range(64))


def test_an_order_is_a_name_or_a_list_of_pixels() -> None:
    assert pixels.pixel_order([5, 5, 0]).tolist() == [5, 5, 0]
    for wrong in ("asic", [64], [-1], [0.5], [[1]]):
        with pytest.raises(ConfigError, match="mapping"):
            pixels.pixel_order(wrong)


# -- amplitudes and counts ------------------------------------------------------------------------


def test_every_count_is_found_again() -> None:
    readouts = random_walk(32)
    readouts["counts"] = np.arange(1 << 16).reshape(32, 32, 64)
    for amplitudes in (millivolts(readouts), pixels.amplitudes(readouts)):
        counts, present, residues = pixels.count(amplitudes)
        assert (counts == readouts["counts"]).all()
        assert (present == readouts["present"]).all()
        assert residues is None


@pytest.mark.parametrize(
    "value", [0.01, -3.0, 5000.4, 1e7, float("inf"), float("-inf"), 1e-30, 0.0382]
)
def test_what_counts_cannot_tell_is_kept(value: float) -> None:
    amplitudes = np.full((2, 32, 64), 10 * MV_PER_COUNT)
    amplitudes[0, 3] = np.nan
    amplitudes[0, 5, 7] = value
    amplitudes[1, 0, 0] = np.nan  # a single pixel
    readouts = random_walk(2)
    readouts["counts"], readouts["present"], residues = pixels.count(amplitudes)
    assert readouts["present"].tolist() == [0xFFFFFFFF - 8, 0xFFFFFFFF]
    assert residues is not None
    again = pixels.amplitudes(readouts, residues)
    np.testing.assert_array_equal(again, amplitudes.astype(np.float32))
