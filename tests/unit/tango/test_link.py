"""What an entry that changed means, and numbers that may be of an old count or a new one."""

import pytest

from socs.tango.moves import classify
from socs.tango.names import parse_event, parse_server
from socs.tango.server import Sample
from socs.tango.snapshot import Snapshot, Subscription
from socs.tango.track import EventTracker
from tests.tango_truth import WIDE, Entry
from tests.unit.tango.test_track import OTHER, PATH, Watch, kinds

HERE, THERE = parse_server("dserver/here/1"), parse_server("dserver/there/1")


def entry(number, received, gaps=0, discarded=0, confirmed=None, publisher=HERE) -> Subscription:
    stream = parse_event("tango://db:1/a/b/c/d.change")
    return Subscription(stream, publisher, 1, number, received, gaps, discarded, confirmed)


@pytest.mark.parametrize(
    ("before", "after", "move"),
    [
        (entry(10, 10), entry(10, 10), "still"),
        (entry(10, 10), entry(0, 10), "still"),  # connecting again
        (entry(0, 0), entry(0, 0), "still"),
        (entry(0, 0), entry(100, 3), "first"),
        (entry(10, 10), entry(15, 15), "advanced"),
        (entry(10, 10), entry(15, 13, 1), "advanced"),
        (entry(10, 10), entry(15, 13, 0, 0, 5.0), "advanced"),  # lost while it was away
        (entry(WIDE - 2, 10), entry(3, 15), "advanced"),
        (entry(10, 10), entry(2, 12), "renumbered"),
        (entry(10, 10), entry(10, 20), "renumbered"),
        (entry(10, 10), entry(15, 20), "renumbered"),
        (entry(10, 10), entry(15, 5), "new_entry"),
        (entry(10, 10, 2), entry(15, 12, 1), "new_entry"),
        (entry(10, 10, 0, 2), entry(15, 15, 0, 1), "new_entry"),
        (entry(10, 10, 0, 0, 5.0), entry(15, 15), "new_entry"),
        (entry(10, 10), entry(30, 20), "new_entry"),  # no gap, never confirmed
        (entry(10, 10), entry(15, 15, publisher=THERE), "moved"),
    ],
)
def test_moves(before, after, move) -> None:
    assert classify(before, after) == move


def test_publisher_that_was_restarted_before_the_monitor_began() -> None:
    watch = Watch(subscribers=2)
    watch.tracker.remove("sub0/x", watch.world.now)
    watch.tracker.remove("sub1/x", watch.world.now)
    watch.tracker.remove("pub0/x", watch.world.now)
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub1", "pub0")
    watch.world.subscribers["sub0"].entries[PATH] = Entry(50, 50, connected=False)
    watch.poll()
    watch.poll()
    watch.world.push(PATH, 3)
    watch.world.deliver("sub1", "pub0", 3)
    assert watch.poll() == []
    (event,) = watch.poll()
    assert (event.kind, event.subscriber, event.count) == ("lost", "dserver/sub0/x", 3)


def restarted_with_a_gap(watch: Watch) -> None:
    """It received 1 to 10 and 21 to 30 of 40 since the restart, 5 before."""
    watch.push(5)
    watch.poll()
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub0", "pub0")
    watch.push(40, delivered=10)
    watch.world.drop("sub0", "pub0", 0, 10)
    watch.world.deliver("sub0", "pub0", 10)
    assert kinds(watch.tracker.feed(watch.world.sample("pub0"))) == [("restarted", "once")]


def test_a_number_that_may_be_of_either_count_is_not_judged() -> None:
    watch = Watch()
    restarted_with_a_gap(watch)
    assert [watch.poll() for _ in range(4)] == [[], [], [], []]
    assert watch.row["lost"] == 0


def test_a_number_that_goes_on_is_of_the_new_count() -> None:
    watch = Watch()
    restarted_with_a_gap(watch)
    assert watch.poll() == []
    watch.world.deliver("sub0", "pub0", 4)
    assert watch.poll() == []
    watch.world.drop("sub0", "pub0", 0, 6)
    (event,) = watch.poll()
    assert (event.kind, event.count) == ("lost", 6)


def test_losses_before_a_publisher_is_gone_are_kept() -> None:
    watch = Watch()
    watch.push(10, delivered=6)
    watch.world.drop("sub0", "pub0", 0, 4)
    watch.poll()
    watch.poll()
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub0", "pub0")
    watch.push(2)
    assert kinds(watch.poll()) == [("restarted", "once")]
    assert (watch.row["lost"], watch.row["lost_at_end"]) == (4, 0)
    watch.world.unsubscribe("sub0", PATH)
    assert kinds(watch.poll()) == [("removed_subscription", "once")]
    assert (watch.row["lost"], watch.row["status"]) == (4, "gone")


def test_what_is_pushed_before_a_subscriber_comes_back_is_counted_from_the_first() -> None:
    watch = Watch(subscribers=2)
    watch.push(2)
    watch.world.deliver("sub1", "pub0", 2)
    watch.poll()
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub1", "pub0")
    watch.world.push(PATH, 10)
    watch.world.deliver("sub1", "pub0", 10)
    assert kinds(watch.poll()) == [("restarted", "once")]
    (event,) = watch.poll()
    assert (event.kind, event.subscriber, event.count) == ("lost", "dserver/sub0/x", 10)


def test_a_number_of_the_new_count_that_is_told_before_the_restart() -> None:
    watch = Watch()
    watch.push(5)
    watch.poll()
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub0", "pub0")
    watch.push(40, delivered=10)
    watch.world.drop("sub0", "pub0", 0, 10)
    watch.world.deliver("sub0", "pub0", 10)
    assert kinds(watch.poll()) == [("lost", "once"), ("restarted", "once")]
    assert [watch.poll() for _ in range(4)] == [[], [], [], []]
    assert watch.row["lost"] == 5  # of 10: a lower bound


def test_a_stall_that_ends_while_nobody_looks() -> None:
    watch = Watch()
    for _ in range(3):
        watch.push(10, delivered=0)
        watch.poll()
    assert watch.row["status"] == "stalled"
    watch.world.deliver("sub0", "pub0", 30)
    watch.poll(hung="sub0")
    assert kinds(watch.poll()) == [("hung", "end"), ("stalled", "end")]
    watch.poll()
    assert watch.row["status"] == "level"


def test_events_may_wait_behind_those_of_a_subscription_that_is_gone() -> None:
    watch = Watch()
    watch.world.subscribe("sub0", OTHER)
    watch.poll()
    watch.poll()
    watch.world.push(PATH, 5)
    watch.world.push(OTHER, 1)
    assert watch.poll() == []
    watch.world.deliver("sub0", "pub0", 5)
    watch.world.unsubscribe("sub0", PATH)
    assert kinds(watch.poll()) == [("removed_subscription", "once")]
    watch.world.deliver("sub0", "pub0", 1)
    assert watch.poll() == []


def test_a_loss_is_told_while_another_stream_goes_on() -> None:
    watch = Watch()
    watch.world.subscribe("sub0", OTHER)
    watch.poll()
    watch.poll()
    watch.world.push(OTHER, 3)
    watch.world.drop("sub0", "pub0", 0, 3)
    told = []
    for _ in range(4):
        watch.push(2)
        told += watch.poll()
    (event,) = told
    assert (event.kind, event.stream.split("/", 3)[3], event.count) == ("lost", OTHER, 3)


def test_asking_twice_in_a_poll_is_not_two_polls() -> None:
    watch = Watch()
    watch.push(3, delivered=0)
    watch.poll()
    told = []
    for _ in range(5):
        for server in ("sub0", "sub0"):
            told += watch.tracker.feed(watch.world.sample(server))
        told += watch.tracker.reconcile(watch.world.now)
    assert [(event.kind, event.server) for event in told] == [("unknown", "dserver/pub0/x")]
    assert watch.row["behind"] == 3


def test_a_loss_is_told_while_others_are_worked_off_if_newer_events_arrive() -> None:
    watch = Watch()
    third = "pub0/a/b/v2.change"
    for path in (OTHER, third):
        watch.world.subscribe("sub0", path)
    watch.poll()
    watch.poll()
    watch.world.push(OTHER, 3)
    watch.world.drop("sub0", "pub0", 0, 3)
    told = []
    for _ in range(4):
        watch.world.deliver("sub0", "pub0", 2)
        watch.world.push(third)
        watch.world.deliver("sub0", "pub0", 1)
        watch.world.push(PATH, 2)
        told += watch.poll()
    (event,) = told
    assert (event.kind, event.stream.split("/", 3)[3], event.count) == ("lost", OTHER, 3)


def test_a_publisher_asked_before_the_subscription_was_there_is_no_measure_of_it() -> None:
    tracker = EventTracker()
    stream = parse_event("tango://db:1/a/b/c/d.change")

    def feed(server, begun, ended, published, *entries) -> list:
        snapshot = Snapshot("1", published, {each.stream: each for each in entries})
        return tracker.feed(Sample(server, "ok", begun, ended, snapshot))

    feed("there/1", 0, 1, {})
    feed("here/1", 0, 1, {stream: 1})
    feed("there/1", 10, 11, {}, entry(0, 0))
    feed("here/1", 10.1, 10.2, {stream: 1})
    assert tracker.reconcile(12) == []
    assert feed("there/1", 20, 21, {}, entry(101, 1)) == []
    assert tracker.reconciliation(1)[0]["lost"] == 0


def test_the_first_events_may_be_of_before_a_restart() -> None:
    watch = Watch(subscribers=2)
    watch.world.push(PATH, 6)
    watch.world.unsubscribe("sub0", PATH)
    watch.poll()
    watch.world.subscribe("sub0", PATH)
    watch.poll()
    watch.poll()
    watch.world.push(PATH, 6)
    watch.world.stop("pub0")
    watch.world.start("pub0")
    assert kinds(watch.poll()) == [("restarted", "once")]
    watch.world.deliver("sub0", "pub0", 6)
    told = watch.poll()
    assert not [event for event in told if event.kind == "lost"]
    assert (watch.row["number"], watch.row["received"], watch.row["lost"]) == (12, 6, 0)


# -- replies that were made while an event was being taken in -------------------------------------


def poll(watch: Watch, *, torn: bool = False) -> list:
    """A poll that asks each side once; what is told."""
    watch.world.now += 10
    watch.world.subscribers["sub0"].entries[PATH].torn = torn
    told = []
    for server in ("pub0", "sub0"):
        told += watch.tracker.feed(watch.world.sample(server))
    return told + watch.tracker.reconcile(watch.world.now)


def test_an_event_that_is_being_taken_in_is_neither_lost_nor_is_anything_counted_anew() -> None:
    watch = Watch(at=15_000)
    told = []
    for torn in (True, False, True, True, False, False):
        watch.push(220)
        told += poll(watch, torn=torn)
    assert told == []
    assert (watch.row["received"], watch.row["lost"], watch.row["missed"]) == (6 * 220, 0, 0)


def test_of_the_very_first_event_the_number_is_told_later() -> None:
    watch = Watch()
    watch.push(1)
    told = poll(watch, torn=True)
    watch.push(20)
    told += poll(watch) + poll(watch)
    assert told == []
    assert (watch.row["received"], watch.row["lost"], watch.row["status"]) == (21, 0, "level")


def test_the_first_reply_may_be_torn() -> None:
    watch = Watch()
    watch.push(30)
    for name in ("sub0/x", "pub0/x"):
        watch.tracker.remove(name, watch.world.now)
    told = poll(watch, torn=True)
    watch.push(20)
    told += poll(watch) + poll(watch)
    assert told == []
    assert (watch.row["received"], watch.row["lost"], watch.row["status"]) == (20, 0, "level")


def test_a_gap_before_an_event_that_is_being_taken_in_is_told_by_the_next_reply() -> None:
    watch = Watch(at=100)
    watch.world.push(PATH, 10)
    watch.world.drop("sub0", "pub0", 4, 5)
    watch.world.deliver("sub0", "pub0", 5)
    told = poll(watch, torn=True)
    watch.push(3)
    told += poll(watch) + poll(watch)
    assert [(event.kind, event.count) for event in told] == [("lost", 5)]
    assert (watch.row["received"], watch.row["lost"], watch.row["missed"]) == (8, 5, 1)


def test_a_second_gap_in_front_of_it_is_one_event_short_until_the_next_reply() -> None:
    watch = Watch(at=100)
    watch.world.push(PATH, 10)
    watch.world.drop("sub0", "pub0", 1, 3)  # and the event that is being taken in comes after it
    watch.world.deliver("sub0", "pub0", 7)
    told = poll(watch, torn=True)
    watch.push(3)
    told += poll(watch) + poll(watch)
    assert sum(event.count for event in told if event.kind == "lost") == 3
    assert {event.kind for event in told} == {"lost"}
    assert (watch.row["received"], watch.row["lost"]) == (10, 3)


def test_who_counts_anew_and_looks_as_if_torn_is_found_out() -> None:
    watch = Watch()
    watch.push(1)
    watch.poll()
    watch.world.identify = False
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub0", "pub0")
    for _ in range(5):
        watch.push(2)
        poll(watch)
    assert (watch.row["received"], watch.row["lost"], watch.row["status"]) == (11, 0, "level")
