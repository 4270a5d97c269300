"""What one arrival or a few tell about lost, doubled and late messages, case by case."""

import json
import timeit
from typing import NamedTuple

import pytest

from socs.counters import PYSMURF
from socs.pysmurf.limits import (
    CONTINUES_WITHIN,
    FORGET_AFTER,
    LOOK_FOR_ROOM_EVERY,
    MAX_TOTAL,
    REMEMBERED,
)
from socs.pysmurf.sequence import PLACES
from socs.pysmurf.track import DUPLICATE, IN_ORDER, Arrival, SequenceTracker

NOW = 1_700_000_000.0
A, B, C = "10.0.0.1:40001", "10.0.0.1:40002", "10.0.0.1:40003"


class Sent(NamedTuple):
    """A message as far as the tracker looks at it."""

    seq_no: int
    time: float | None
    host: str = "smurf"
    id: str = "crate1slot2"
    script: str = "script"


class Line:
    """Feeds a tracker; message n of an object that began at ``start`` was sent at start + n."""

    def __init__(self, **limits):
        self.tracker = SequenceTracker(**limits)

    def send(self, *numbers, sender=A, start=1000.0, now=NOW, **key) -> Arrival:
        for number in numbers:
            message = Sent(number, start + number, **key)
            arrival = self.tracker.feed(message, sender=sender, now=now)
        return arrival

    def restart(self) -> None:
        """As when the monitor is restarted with the state it saved."""
        states = self.tracker.take_changes()
        self.tracker = SequenceTracker()
        self.tracker.restore(states)

    @property
    def counts(self) -> dict[str, int]:
        """Totals that are not 0."""
        totals = self.tracker.totals()
        assert totals.pop("streams") == len(self.tracker.report(10_000))
        return {name: count for name, count in totals.items() if count}


@pytest.fixture
def line():
    return Line()


def test_in_order(line):
    assert line.send(*range(100)) is IN_ORDER
    assert line.counts == {}


def test_loss_and_late_arrival(line):
    line.send(0, 1)
    assert line.send(5) == Arrival(lost=3)
    assert line.send(3) == Arrival(late=True, lost=-1)
    assert line.send(6) is IN_ORDER
    assert line.counts == {"sequence_lost": 2, "sequence_late": 1}


def test_copies(line):
    line.send(0, 1, 2, 4)
    assert [line.send(number) for number in (4, 2, 0)] == [DUPLICATE] * 3
    line.send(3)
    assert line.send(3) == DUPLICATE
    assert line.counts == {"message_duplicate": 4, "sequence_late": 1}


def test_joining_late(line):
    assert line.send(100) == Arrival(joined_late=100)
    assert line.send(98) == Arrival(late=True, joined_late=-1)
    assert line.send(101) is IN_ORDER
    assert line.counts == {"joined_late": 99, "sequence_late": 1}


def test_restart_at_the_same_address(line):
    line.send(0, 1, 2, 5)
    assert line.send(0, start=2000) == Arrival(restart=True)
    assert line.send(1, start=2000) is IN_ORDER
    assert line.counts == {"sequence_lost": 2, "publisher_restarts": 1}


@pytest.mark.parametrize("first", [1, 3, 4])  # accepted, in a gap, and the last of the old ones
def test_restart_at_the_same_address_with_the_first_messages_lost(line, first):
    line.send(0, 1, 2, 4)
    assert line.send(first, start=2000) == Arrival(restart=True, joined_late=first)
    assert line.send(first + 1, start=2000) is IN_ORDER


def test_restart_after_very_many_messages(line):
    line.send(*range(3 * REMEMBERED))
    assert line.send(0, start=1e6) == Arrival(restart=True)


def test_restart_although_the_clock_was_set_back(line):
    line.send(*range(3 * REMEMBERED))
    assert line.send(0, start=500) == Arrival(restart=True)
    assert line.send(1, start=500) is IN_ORDER


def test_messages_of_the_old_object_after_the_restart(line):
    line.send(0, 1, 3)
    line.send(0, 1, start=2000)
    assert line.send(3) == DUPLICATE
    assert line.send(2) == Arrival(late=True, lost=-1)
    assert line.send(5) == Arrival(lost=1)
    assert line.send(2, start=2000) is IN_ORDER
    assert line.counts == {
        "sequence_lost": 1,
        "sequence_late": 1,
        "message_duplicate": 1,
        "publisher_restarts": 1,
    }


def test_a_message_that_fits_neither_the_old_object_nor_the_new(line):
    line.send(0, 1, 2, 3)
    line.send(0, 1, start=2000)
    assert line.send(2, start=1000.5) is IN_ORDER
    assert line.send(2, start=2000) is IN_ORDER
    assert line.counts == {"publisher_restarts": 1}


def test_clock_of_a_running_publisher_set_back(line):
    line.send(0, 1, 2)
    assert line.send(3, 4, start=-500) == IN_ORDER
    assert line.counts == {}


def test_objects_alive_at_once_are_apart(line):
    for number in range(5):
        line.send(number, sender=A)
        line.send(number, sender=B, start=1000.5)
    assert line.send(7, sender=A) == Arrival(lost=2)
    assert line.send(5, sender=B, start=1000.5) is IN_ORDER
    assert line.counts == {"publisher_restarts": 1, "sequence_lost": 2}


def test_streams_are_apart(line):
    for key in ({"host": "x"}, {"id": "x"}, {"script": "x"}, {}):
        assert line.send(0, **key) == IN_ORDER
        assert line.send(2, **key) == Arrival(lost=1)
    assert line.tracker.totals()["streams"] == 4
    assert line.counts == {"sequence_lost": 4}


# -- the sender's address changes -----------------------------------------------------------------


@pytest.mark.parametrize("lost", [0, 1, CONTINUES_WITHIN])
def test_port_change(line, lost):
    line.send(*range(5), sender=A)
    assert line.send(5 + lost, sender=B) == Arrival(lost=lost)
    assert line.send(6 + lost, sender=B) is IN_ORDER
    assert line.send(4, sender=A) == DUPLICATE
    assert line.counts == ({"sequence_lost": lost} if lost else {}) | {"message_duplicate": 1}


def test_messages_on_the_way_while_the_port_changes(line):
    line.send(0, 1, 3, sender=A)
    line.send(6, sender=B)
    assert line.send(5, sender=A) == Arrival(late=True, lost=-1)
    assert line.send(4, sender=B) == Arrival(late=True, lost=-1)
    assert line.send(2, sender=B) == Arrival(late=True, lost=-1)
    assert line.send(6, sender=A) == DUPLICATE
    assert line.counts == {"sequence_late": 3, "message_duplicate": 1}


def test_two_port_changes(line):
    line.send(0, 1, sender=A)
    line.send(2, 3, sender=B)
    assert line.send(4, sender=C) == IN_ORDER
    assert line.counts == {}


def test_too_far_ahead_for_a_port_change(line):
    line.send(0, sender=A)
    number = CONTINUES_WITHIN + 2
    assert line.send(number, sender=B) == Arrival(restart=True, joined_late=number)


def test_too_old_for_a_port_change(line):
    line.send(0, 1, sender=A)
    assert line.send(2, sender=B, start=500) == Arrival(restart=True, joined_late=2)


def test_no_port_change_after_all_when_the_old_address_speaks_again(line):
    line.send(100, sender=A)
    assert line.send(150, sender=B, start=1001) == Arrival(lost=49)
    assert line.send(102, sender=A, start=1100) == Arrival(
        restart=True, lost=1 - 49, joined_late=150
    )
    assert line.send(103, sender=A, start=1100) is IN_ORDER
    assert line.send(151, sender=B, start=1001) is IN_ORDER
    assert line.counts == {"joined_late": 250, "publisher_restarts": 1, "sequence_lost": 1}


def test_no_port_change_after_all_when_the_new_address_sends_old_numbers(line):
    line.send(0, 1, sender=A)
    assert line.send(3, sender=B, start=1001) == Arrival(lost=1)
    assert line.send(0, sender=B, start=1001) == Arrival(True, True, True, -1, 2)._replace(
        duplicate=False
    )
    assert line.send(1, 2, sender=B, start=1001) == Arrival(late=True, joined_late=-1)
    assert line.send(2, sender=A) is IN_ORDER
    assert line.counts == {"publisher_restarts": 1, "sequence_late": 3}


def test_a_new_object_at_an_address_given_up(line):
    line.send(0, 1, sender=A)
    line.send(2, sender=B)
    assert line.send(0, sender=A, start=2000) == Arrival(restart=True)
    assert line.send(1, sender=A, start=2000) is IN_ORDER
    assert line.send(3, sender=B) is IN_ORDER


# -- over a restart of the monitor ----------------------------------------------------------------


def test_what_was_sent_while_the_monitor_was_down_is_lost(line):
    line.send(*range(50))
    line.restart()
    assert line.send(60) == Arrival(lost=10)
    line.restart()
    assert line.send(61) is IN_ORDER
    assert line.counts == {"sequence_lost": 10}


def test_gaps_and_copies_are_known_after_a_restart(line):
    line.send(7, 8, 10, 11)
    line.restart()
    assert line.send(9) == Arrival(late=True, lost=-1)
    assert line.send(11) == DUPLICATE
    assert line.send(3) == Arrival(late=True, joined_late=-1)
    assert line.send(0, start=2000) == Arrival(restart=True)
    assert line.counts["joined_late"] == 6


def test_a_number_too_old_to_be_known_is_handled_and_changes_nothing(line):
    line.send(*range(2 * REMEMBERED))
    assert line.send(REMEMBERED - 1) is IN_ORDER
    line.restart()
    assert line.send(2 * REMEMBERED - 100) is IN_ORDER
    assert line.send(2 * REMEMBERED) is IN_ORDER
    assert line.counts == {}


def test_a_number_as_far_from_the_first_as_is_remembered(line):
    line.send(*range(REMEMBERED + 50))
    line.restart()
    assert line.send(REMEMBERED) is IN_ORDER
    assert line.send(REMEMBERED + 50) is IN_ORDER


def test_only_changed_streams_are_saved_again(line):
    line.send(0, id="one")
    line.send(0, id="two")
    assert len(line.tracker.take_changes()) == 2
    assert line.tracker.take_changes() == {}
    line.send(1, id="two")
    assert [json.loads(name) for name in line.tracker.take_changes()] == [
        ["smurf", "two", "script"]
    ]


@pytest.mark.parametrize("state", [b"\xc1", b"{}", b"\x95\x01\x02\x03\x04\x05", b"\xff" * 100])
def test_unreadable_state_is_counted(state):
    tracker = SequenceTracker()
    tracker.restore({"key": state})
    assert tracker.totals()["states_unreadable"] == 1
    assert tracker.totals()["streams"] == 0


# -- limits ---------------------------------------------------------------------------------------


def test_streams_beyond_the_limit_are_counted():
    line = Line(limit_streams=2)
    for id in ("one", "two", "three", "three"):
        assert line.send(0, id=id) == IN_ORDER
    assert line.send(2, id="two") == Arrival(lost=1)
    assert line.counts == {"streams_refused": 2, "sequence_lost": 1}


def test_silent_streams_make_room():
    line = Line(limit_streams=1)
    line.send(0, id="old")
    line.tracker.take_changes()
    line.send(0, id="new", now=NOW + FORGET_AFTER)
    line.send(1, id="new", now=NOW + FORGET_AFTER + LOOK_FOR_ROOM_EVERY - 1)
    assert line.counts == {"streams_refused": 2}
    line.send(2, id="new", now=NOW + FORGET_AFTER + LOOK_FOR_ROOM_EVERY)
    assert line.counts == {"streams_refused": 2, "streams_forgotten": 1, "joined_late": 2}
    changes = line.tracker.take_changes()
    assert changes.pop('["smurf","old","script"]') == b""
    restored = SequenceTracker()
    restored.restore(changes | {'["smurf","old","script"]': b""})
    assert [row["id"] for row in restored.report(9)] == ["new"]


def test_objects_beyond_the_limit_of_a_stream():
    line = Line(limit_publishers=2)
    line.send(0, sender=A, now=NOW + 1)
    line.send(0, sender=B, now=NOW)
    line.send(0, sender=C, now=NOW + 2)
    assert line.send(1, sender=A) is IN_ORDER
    assert line.send(1, sender=C) is IN_ORDER
    assert line.counts == {"publishers_forgotten": 1, "publisher_restarts": 2}


def test_old_gaps_are_joined_and_losses_never_overstated():
    line = Line(limit_gaps=2)
    line.send(0, 2, 4, 6, 8)  # gaps 1, 3, 5, 7; the first three are joined
    assert [line.send(number) for number in (7, 3, 1)] == [Arrival(late=True, lost=-1)] * 3
    assert line.send(2) == DUPLICATE
    assert line.send(5) == Arrival(late=True, lost=-1)
    assert line.counts == {"sequence_late": 4, "message_duplicate": 1}


def test_the_state_does_not_grow_with_the_gaps():
    sizes = []
    for count in (100, 1000):
        line = Line(limit_gaps=5)
        line.send(*range(0, 3 * count, 3))
        assert line.counts == {"sequence_lost": 2 * (count - 1)}
        sizes += [len(state) for state in line.tracker.take_changes().values()]
    assert sizes[1] < 1.2 * sizes[0]


def test_counts_end_somewhere(line):
    line.send(0)
    line.send(2**63 - 1)
    line.send(2**63 - 1, start=1e30)
    line.restart()
    assert line.counts["sequence_lost"] == MAX_TOTAL
    assert line.counts["joined_late"] == MAX_TOTAL


def test_messages_without_number_or_time(line):
    assert line.tracker.feed(Sent(-1, 1.0), sender=A, now=NOW) is IN_ORDER
    assert line.tracker.feed(Sent(0, None), sender=A, now=NOW) is IN_ORDER
    assert line.counts == {"messages_unnumbered": 2}


# -- what is shown --------------------------------------------------------------------------------


def test_report(line):
    line.send(0, 1, id="good")
    line.send(0, 5, id="bad")
    line.send(0, sender=B, id="bad", start=2000, now=NOW + 9)
    rows = line.tracker.report(10)
    assert rows == json.loads(json.dumps(rows))
    assert [row["id"] for row in rows] == ["bad", "good"]
    assert rows[0] == {
        "host": "smurf",
        "id": "bad",
        "script": "script",
        "sequence_lost": 4,
        "sequence_late": 0,
        "message_duplicate": 0,
        "publisher_restarts": 1,
        "joined_late": 0,
        "received": 3,
        "publishers": 2,
        "heard": NOW + 9,
    }
    assert line.tracker.report(1) == rows[:1]


def test_counters_are_defined():
    names = set(SequenceTracker().totals())
    defined = {counter.name for counter in PYSMURF}
    assert names - defined <= {
        "streams",
        "streams_forgotten",
        "publishers_forgotten",
        "states_unreadable",
        "messages_unnumbered",
    }
    named = {word.rstrip(",") for what, _ in PLACES.values() for word in what.split()}
    assert {word for word in named if "_" in word} <= defined


def test_an_arrival_in_order_costs_microseconds(line):
    messages = iter([Sent(number, 1000.0 + number) for number in range(20_000)])

    def arrive():
        line.tracker.feed(next(messages), sender=A, now=NOW)

    # The least of several, because other programs disturb; 10 times what is measured.
    assert min(timeit.repeat(arrive, number=1000, repeat=20)) / 1000 < 5e-6
