"""What an entry that changed means, and numbers that may be of an old count or a new one."""

import pytest

from socs.tango.link import classify
from socs.tango.names import parse_event, parse_server
from socs.tango.snapshot import Subscription
from tests.tango_truth import WIDE, Entry
from tests.unit.tango.test_track import PATH, Watch, kinds

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
    watch.tracker.remove("sub0/x")
    watch.tracker.remove("sub1/x")
    watch.tracker.remove("pub0/x")
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
