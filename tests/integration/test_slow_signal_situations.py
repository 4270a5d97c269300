"""Small things that go wrong on the way from a camera: over real UDP, to a real subscriber.

Of a camera with four modules a subscriber hears every readout there is, each once, in order, with
the right values and without what never came; every counter has the value it must have, and healthy
packets that follow come through.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from socs.counters import SLOW_SIGNAL, imbalances
from socs.slow_signal.readout import SSReadout
from socs.slow_signal.stream import EQUATIONS
from socs.testing import wait_until
from tests.integration.test_slow_signal_stream import send, streaming
from tests.slow_signal_packets import (
    FIRST_OCTET,
    Datagram,
    check_values,
    indices,
    modules_of,
    packet,
    sets,
)

ALL = [0, 1, 2, 3]
OF_EVERY_RUN = ("packets_decoded", "parts_decoded", "parts_placed", "parts_out", "readouts_out")
SECOND = 10**9  # ns; ten readouts
BUFFER_TIME = 4 * SECOND
HOUR = 3600 * SECOND


@dataclass(frozen=True)
class Situation:
    """What is sent, and what must come of it.

    Attributes:
        sent: datagrams; each group is sent when the one before has been taken.
        readouts: that come out, in this order.
        lacking: of each of these the modules that are not in it.
        counted: counters that are not 0, but for those of every run.
        flush_time: of the stream [s].
    """

    sent: Sequence[Sequence[Datagram]]
    readouts: Sequence[int]
    lacking: Mapping[int, list[int]] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)
    flush_time: float = 30.0


def without(numbers: range, number: int, module: int) -> list[Datagram]:
    """Sets ``numbers``, in one of which the packet of a module is missing."""
    return [p for s in numbers for m in ALL if (s, m) != (number, module) for p in [one(s, m)]]


def one(number: int, module: int, **how: int) -> Datagram:
    """The packet of one module in set ``number``."""
    return packet(module, 10 * number, **how)


def replaced(numbers: range, number: int, module: int, by: Sequence[Datagram]) -> list[Datagram]:
    """Sets ``numbers``, in one of which other datagrams come instead of a module's packet."""
    whole = sets(numbers)
    at = len(ALL) * (number - numbers.start) + module
    return [*whole[:at], *by, *whole[at + 1 :]]


def swapped(numbers: range) -> list[Datagram]:
    """The packet of the last module comes after the first one of the next set."""
    sent = sets(numbers)
    for at in range(3, len(sent) - 1, 4):
        sent[at], sent[at + 1] = sent[at + 1], sent[at]
    return sent


SITUATIONS = {
    "all is well": Situation([sets(range(6))], range(60)),
    "a packet is missing": Situation(
        [without(range(8), 2, 1)],
        range(80),
        {index: [1] for index in range(20, 30)},
        {"parts_missing": 10, "readouts_timed_out": 10},
    ),
    "a packet comes twice": Situation(
        [replaced(range(6), 2, 1, [one(2, 1)] * 2)], range(60), counted={"parts_duplicate": 10}
    ),
    "a packet comes twice, its readouts are out": Situation(
        [sets(range(6)), [one(2, 1)], sets([6])], range(70), counted={"parts_duplicate": 10}
    ),
    "late by a set": Situation(
        [without(range(4), 2, 1), [one(2, 1)], sets(range(4, 6))],
        range(60),
    ),
    "late by four sets, which is nearly too much": Situation(
        [without(range(5), 0, 1), [one(0, 1)], sets([5])],
        range(60),
        {index: [1] for index in range(9)},  # the tenth is not older than BUFFER_TIME
        {"parts_late": 9, "parts_missing": 9, "readouts_timed_out": 9},
    ),
    "packets of two sets interleave": Situation([swapped(range(6))], range(60)),
    "no multiple of a readout": Situation(
        [sets(range(3)), [(FIRST_OCTET + 1, b"x" * 100)], sets(range(3, 6))],
        range(60),
        counted={"packet_bad_size": 1},
    ),
    "no bytes at all": Situation(
        [sets(range(3)), [(FIRST_OCTET + 1, b"")], sets(range(3, 6))],
        range(60),
        counted={"packet_empty": 1},
    ),
    "a packet in a set is shorter": Situation(
        [replaced(range(8), 2, 1, [one(2, 1, count=5)])],
        range(80),
        {index: [1] for index in range(25, 30)},
        {"parts_missing": 5, "readouts_timed_out": 5},
    ),
    "the first packet of a set is shorter": Situation(
        [replaced(range(8), 2, 0, [one(2, 0, count=5)])],
        range(80),
        {index: [0] for index in range(25, 30)},
        {"parts_missing": 5, "readouts_timed_out": 5},
    ),
    "one readout in each packet": Situation(
        [[packet(module, index, 1) for index in range(60) for module in ALL]], range(60)
    ),
    "from an address of no module": Situation(
        [sets(range(3)), [(FIRST_OCTET + 32, one(3, 0)[1])], sets(range(3, 6))],
        range(60),
        counted={"module_out_of_range": 1},
    ),
    "TACKs begin anew": Situation(
        [sets(range(100, 104)), sets(range(6))],
        [*range(1000, 1040), *range(60)],
        counted={"tack_restarts": 1},
    ),
    "one wild TACK ahead": Situation(
        [sets(range(3)), [one(3, 1, shift=100 * HOUR)], sets(range(3, 8))],
        range(80),
        counted={"parts_implausible": 10},
    ),
    "one wild TACK behind": Situation(
        [sets(range(3)), [one(3, 1, shift=-HOUR // 6)], sets(range(3, 8))],
        range(80),
        counted={"parts_implausible": 10},
    ),
    "TACKs that do not go on within a packet": Situation(
        [sets(range(3)), [one(3, 1, step=0)], sets(range(3, 6))],
        range(60),
        counted={"tacks_inconsistent": 1},
    ),
    "clocks of modules differ by a microsecond": Situation(
        [[one(s, m, shift=1000 * (m - 2)) for s in range(6) for m in ALL]], range(60)
    ),
    "the last set is incomplete, and nothing follows": Situation(
        [without(range(3), 2, 1)],
        range(30),
        {index: [1] for index in range(20, 30)},
        {"parts_missing": 10, "readouts_flushed": 10},
        flush_time=0.3,
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_becomes_of(name: str, tmp_path: Path) -> None:
    situation = SITUATIONS[name]
    with streaming(
        tmp_path,
        writer=None,
        expected_modules=ALL,
        buffer_time=BUFFER_TIME,
        flush_time=situation.flush_time,
    ) as stream:
        taken = 0
        for group in situation.sent:
            send(stream, list(group))
            taken += len(group)
            wait_until(lambda: stream.numbers()["datagrams_received"] == taken)  # noqa: B023
        if situation.flush_time < 1:  # what is due goes out by itself, before the end
            wait_until(lambda: len(stream.ear.readouts()) == len(situation.readouts), 10)
        assert stream.status()["unaccounted"] == {}
    heard = [SSReadout.from_bytes(each.tobytes()) for each in stream.ear.readouts()]
    rows = np.concatenate([readout.to_rows()[0] for readout in heard])
    assert rows["number"].tolist() == list(range(1, len(rows) + 1))
    assert indices(rows) == list(situation.readouts)
    lacking = [situation.lacking.get(index, []) for index in situation.readouts]
    assert modules_of(rows) == [[m for m in ALL if m not in absent] for absent in lacking]
    check_values(rows)
    numbers = stream.numbers()
    counted = {c.name: numbers[c.name] for c in SLOW_SIGNAL if c.name not in OF_EVERY_RUN}
    complete = sum(not absent for absent in lacking)
    assert {name: count for name, count in counted.items() if count} == {
        "readouts_complete": complete,
        **situation.counted,
    }
    assert numbers["readouts_published"] == len(rows)
    assert numbers["datagrams_received"] == taken
    assert imbalances(numbers, EQUATIONS) == {}
