"""Whatever is dropped, doubled and reordered on the way, the numbers reported are the true ones."""

from collections import Counter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from socs.pysmurf.limits import SAVED
from socs.pysmurf.track import SequenceTracker

NAMES = (
    "sequence_lost",
    "sequence_late",
    "message_duplicate",
    "joined_late",
    "publisher_restarts",
)


class Sent(NamedTuple):
    """Message ``seq_no`` of a publisher object; ``time`` is unique to the object and number."""

    host: str
    id: str
    script: str
    seq_no: int
    time: float
    sender: str
    object: int


def truth(arrived: list[Sent]) -> dict[str, int]:
    """What the tracker must say: missing numbers count from the first heard to the highest."""
    counts = Counter(dict.fromkeys(NAMES, 0))
    numbers: dict[int, list[int]] = {}
    streams: dict[tuple[str, str, str], set[int]] = {}
    for message in arrived:
        heard = numbers.setdefault(message.object, [])
        streams.setdefault(message[:3], set()).add(message.object)
        if message.seq_no in heard:
            counts["message_duplicate"] += 1
            continue
        counts["sequence_late"] += bool(heard) and message.seq_no < max(heard)
        heard.append(message.seq_no)
    for heard in numbers.values():
        missing = set(range(max(heard) + 1)) - set(heard)
        counts["joined_late"] += sum(number < heard[0] for number in missing)
        counts["sequence_lost"] += sum(number > heard[0] for number in missing)
    counts["publisher_restarts"] = sum(len(objects) - 1 for objects in streams.values())
    return dict(counts)


def feed(tracker: SequenceTracker, arrived: list[Sent]) -> None:
    """Feed all, and check that what is called a copy is one."""
    seen = set()
    for message in arrived:
        arrival = tracker.feed(message, sender=message.sender, now=1e9)
        assert arrival.duplicate == (message in seen)
        seen.add(message)


def reported(tracker: SequenceTracker) -> dict[str, int]:
    totals = tracker.totals()
    sums = {name: sum(row[name] for row in tracker.report(1000)) for name in NAMES}
    assert sums == {name: totals[name] for name in NAMES}
    return sums


@st.composite
def journeys(draw, first_arrives_first: bool = True) -> list[list[Sent]]:
    """For each publisher object, its messages in the order in which they arrive."""
    count = draw(st.integers(1, 4))
    objects = []
    for index in range(count):
        key = ("host", "id", draw(st.sampled_from("xyz")) if first_arrives_first else str(index))
        start = draw(st.sampled_from([0, 0.25, 0.5, 50, 1000])) + index / 1000
        arriving = draw(st.lists(st.integers(0, 25), min_size=1, max_size=40))
        if first_arrives_first:
            arriving.insert(0, 0)
        objects.append([Sent(*key, n, 1e6 + start + n, f"port{index}", index) for n in arriving])
    return objects


@st.composite
def interleaved(draw, objects: list[list[Sent]]) -> list[Sent]:
    """The objects' messages as they arrive at one socket."""
    left = [list(reversed(messages)) for messages in objects]
    arrived = []
    while left := [messages for messages in left if messages]:
        arrived.append(left[draw(st.integers(0, len(left) - 1))].pop())
    return arrived


@given(journeys().flatmap(interleaved))
def test_objects_at_addresses_of_their_own(arrived):
    tracker = SequenceTracker()
    feed(tracker, arrived)
    assert reported(tracker) == truth(arrived)


@given(journeys(first_arrives_first=False).flatmap(interleaved))
def test_publishers_that_began_before_the_monitor(arrived):
    tracker = SequenceTracker()
    feed(tracker, arrived)
    assert reported(tracker) == truth(arrived)


@st.composite
def lives_at_one_address(draw) -> list[Sent]:
    """Objects one after the other, as behind a relay; some of the old come after the new begins."""
    arrived: list[Sent] = []
    stragglers: list[Sent] = []
    for index in range(draw(st.integers(1, 4))):
        numbers = [0, *draw(st.lists(st.integers(0, 15), min_size=3, max_size=25))]
        life = [Sent("h", "i", "s", n, 1000 * index + n, "relay", index) for n in numbers]
        stay = draw(st.integers(1, len(life)))
        before, late = life[:stay], life[stay:]
        for straggler in stragglers:
            before.insert(draw(st.integers(1, len(before))), straggler)
        arrived += before
        stragglers = late
    return arrived + stragglers


@given(lives_at_one_address())
def test_restarts_at_one_address(arrived):
    tracker = SequenceTracker()
    feed(tracker, arrived)
    assert reported(tracker) == truth(arrived)


@given(journeys().flatmap(interleaved), st.data())
def test_over_restarts_of_the_monitor(arrived, data):
    """Copies that come within the saved numbers are known, too."""
    states: dict[str, bytes] = {}
    tracker = SequenceTracker()
    newest: dict[int, int] = {}
    taken = []
    for message in arrived:
        newest[message.object] = max(newest.get(message.object, 0), message.seq_no)
        if message.seq_no <= newest[message.object] - SAVED:
            continue
        taken.append(message)
        tracker.feed(message, sender=message.sender, now=1e9)
        if data.draw(st.booleans()):
            states |= tracker.take_changes()
            tracker = SequenceTracker()
            tracker.restore(states)
    assert reported(tracker) == truth(taken)


@given(
    st.lists(
        st.builds(
            Sent,
            st.just("h"),
            st.just("i"),
            st.sampled_from("xy"),
            st.integers(0, 12) | st.integers(0, 2**63 - 1),
            st.integers(0, 30).map(float) | st.floats(0, 1e11),
            st.sampled_from("abcd"),
            st.just(0),
        ),
        max_size=60,
    ),
    st.data(),
)
def test_whatever_is_sent(arrived, data):
    """No message is dropped that is not a copy, no count is below 0, and limits hold."""
    tracker = SequenceTracker(limit_streams=1, limit_publishers=2, limit_gaps=2)
    seen = set()
    for message in arrived:
        arrival = tracker.feed(message, sender=message.sender, now=1e9)
        assert not arrival.duplicate or message[:5] in seen
        seen.add(message[:5])
        assert min(tracker.totals().values()) >= 0
        assert len(tracker.report(9)) <= 1
        assert all(row["publishers"] <= 2 for row in tracker.report(9))
        if data.draw(st.integers(0, 9)) == 0:
            states = tracker.take_changes()
            assert sum(map(len, states.values())) < 2000
            tracker = SequenceTracker(limit_streams=1, limit_publishers=2, limit_gaps=2)
            tracker.restore(states)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=40),
    st.integers(0, 50),
)
def test_one_object_whose_address_changes(sent, first):
    numbers = sorted({first + number for number, _ in sent})
    senders = [sender for _, sender in sent]
    arrived = [
        Sent("h", "i", "s", number, 1000.0 + number, sender, 0)
        for number, sender in zip(numbers, senders, strict=False)
    ]
    tracker = SequenceTracker()
    feed(tracker, arrived)
    assert reported(tracker) == truth(arrived)


@given(st.data())
def test_objects_that_began_before_the_monitor_and_go_on(data):
    """Two of them may look like one that changed its address, until the first goes on."""
    arrived, clock = [], 1000.0
    following = data.draw(st.lists(st.integers(0, 30), min_size=2, max_size=4))
    turns = data.draw(st.lists(st.integers(0, len(following) - 1), max_size=30))
    for turn in [*turns, *range(len(following)), *range(len(following))]:
        number = following[turn]
        following[turn] += 1
        clock += 1
        arrived.append(Sent("h", "i", "s", number, clock, f"port{turn}", turn))
    tracker = SequenceTracker()
    feed(tracker, arrived)
    assert reported(tracker) == truth(arrived)
