"""What the tracker tells of what happens between publishers and subscribers."""

import re
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from socs.counters import TANGO, TANGO_CONSERVATION, TANGO_NOW, imbalances
from socs.errors import Malformed
from socs.tango.events import KINDS
from socs.tango.limits import MAX_EVENTS, MAX_LISTED, MOST_PATIENCE, PATIENCE
from socs.tango.names import parse_event
from socs.tango.server import Sample
from socs.tango.snapshot import NotConnected, Snapshot, Subscription
from socs.tango.states import OUTCOMES, STATES
from socs.tango.track import EventTracker
from tests.tango_truth import WIDE, World

PATH = "pub0/a/b/v0.change"
OTHER = "pub0/a/b/v1.change"
LINK = {"subscriber": "dserver/sub0/x", "publisher": "dserver/pub0/x"}


class Watch:
    """One publisher, some subscribers of `PATH`, and the tracker; polled twice already."""

    def __init__(self, subscribers: int = 1, at: int = 0) -> None:
        self.world = World(publishers=1, subscribers=subscribers)
        self.tracker = EventTracker()
        for sub in self.world.subscribers:
            self.world.subscribe(sub, PATH)
        if at:
            self.world.publishers["pub0"].following[PATH] = at + 1
            for sub in self.world.subscribers.values():
                sub.entries[PATH].number, sub.entries[PATH].received = at, 1
        assert self.poll() == self.poll() == []

    def poll(self, *, hung: str = "") -> list:
        """Subscribers, publisher, subscribers; what is told."""
        world, told = self.world, []
        world.now += 10
        for server in (*world.subscribers, "pub0", *world.subscribers):
            told += self.tracker.feed(world.sample(server, hung=server == hung))
        return told + self.tracker.reconcile(world.now)

    def push(self, count: int, delivered: int | None = None) -> None:
        self.world.push(PATH, count)
        self.world.deliver("sub0", "pub0", count if delivered is None else delivered)

    @property
    def row(self) -> dict:
        (row,) = [r for r in self.tracker.reconciliation(10) if r["subscriber"] == "dserver/sub0/x"]
        return row


def kinds(events) -> list[tuple[str, str]]:
    return [(event.kind, event.phase) for event in events]


def told(events) -> tuple:
    """What the only event is about."""
    (event,) = events
    return event.kind, event.phase, event.subscriber, event.publisher, event.count


# -- losses ---------------------------------------------------------------------------------------


def test_all_is_well() -> None:
    watch = Watch()
    watch.push(20)
    assert watch.poll() == []
    assert (watch.row["published"], watch.row["received"], watch.row["lost"]) == (20, 20, 0)
    assert watch.row["status"] == "level"
    assert watch.row["rate"] == pytest.approx(2, rel=0.01)


def test_loss_in_between_is_told_at_once() -> None:
    watch = Watch()
    watch.push(10, delivered=3)
    watch.poll()
    watch.world.drop("sub0", "pub0", 0, 5)
    watch.world.deliver("sub0", "pub0", 2)
    events = watch.poll()
    assert told(events) == ("lost", "once", *LINK.values(), 5)
    assert events[0].text == "subscriber dserver/sub0/x lost 5 of pub0/a/b's v0.change"
    assert events[0].stream == "tango://db:10000/pub0/a/b/v0.change"
    assert events[0].evidence["cause"] == "gap"
    assert (events[0].evidence["numbers"], events[0].evidence["gaps"]) == ([3, 10], 1)
    assert watch.poll() == []


def test_loss_at_the_end_is_told_after_two_polls_and_not_again_when_it_becomes_a_gap() -> None:
    watch = Watch()
    watch.push(10, delivered=6)
    watch.world.drop("sub0", "pub0", 0, 4)
    assert watch.poll() == []
    assert (watch.row["status"], watch.row["behind"]) == ("in_flight", 4)
    events = watch.poll()
    assert told(events) == ("lost", "once", *LINK.values(), 4)
    assert events[0].evidence["cause"] == "end"
    assert (watch.row["status"], watch.row["behind"], watch.row["lost_at_end"]) == ("level", 0, 4)
    watch.push(1)
    assert watch.poll() == watch.poll() == []
    assert (watch.row["lost"], watch.row["lost_at_end"], watch.row["missed"]) == (4, 0, 1)


def test_new_events_after_a_loss_at_the_end_may_be_on_their_way() -> None:
    watch = Watch()
    watch.push(10, delivered=6)
    watch.world.drop("sub0", "pub0", 0, 4)
    watch.poll()
    watch.poll()
    watch.push(3, delivered=0)
    assert watch.poll() == []
    assert (watch.row["status"], watch.row["behind"]) == ("in_flight", 3)


def test_loss_of_the_very_first_events() -> None:
    watch = Watch()
    watch.push(7, delivered=0)
    watch.world.drop("sub0", "pub0", 0, 3)
    watch.world.deliver("sub0", "pub0", 4)
    events = watch.poll()
    assert told(events) == ("lost", "once", *LINK.values(), 3)
    assert events[0].evidence["cause"] == "before_first"


def test_only_the_subscriber_that_lost_is_told_of() -> None:
    watch = Watch(subscribers=3)
    watch.push(10)
    watch.world.drop("sub1", "pub0", 2, 3)
    watch.world.deliver("sub1", "pub0", 10)
    watch.world.deliver("sub2", "pub0", 10)
    assert told(watch.poll()) == ("lost", "once", "dserver/sub1/x", "dserver/pub0/x", 3)


def test_numbers_go_on_past_their_end() -> None:
    watch = Watch(at=WIDE - 4)
    watch.push(10, delivered=2)
    watch.world.drop("sub0", "pub0", 0, 3)
    watch.world.deliver("sub0", "pub0", 5)
    assert told(watch.poll()) == ("lost", "once", *LINK.values(), 3)
    assert (watch.row["published"], watch.row["number"]) == (10, 6)


def test_what_was_taken_for_lost_may_arrive() -> None:
    watch = Watch()
    watch.push(3, delivered=0)
    watch.poll()
    assert told(watch.poll())[0] == "lost"
    watch.world.deliver("sub0", "pub0", 3)
    assert told(watch.poll()) == ("arrived_late", "once", *LINK.values(), 3)
    assert watch.row["lost"] == 0
    assert watch.tracker.totals()["events_arrived_late"] == 3
    watch.push(3, delivered=0)
    assert [kinds(watch.poll()) for _ in range(5)] == [[], [], [], [("lost", "once")], []]


def test_patience_has_an_end() -> None:
    watch = Watch()
    for _ in range(12):
        watch.push(1, delivered=0)
        polls = 0
        while not watch.poll():
            polls += 1
            assert polls < MOST_PATIENCE
        watch.world.deliver("sub0", "pub0")
        watch.poll()
    assert polls == MOST_PATIENCE - 1


# -- what lasts -----------------------------------------------------------------------------------


def test_backlog_begins_and_ends() -> None:
    watch = Watch()
    watch.push(50, delivered=10)
    assert watch.poll() == []
    watch.world.deliver("sub0", "pub0", 10)
    assert told(watch.poll()) == ("backlog", "begin", *LINK.values(), 30)
    watch.world.deliver("sub0", "pub0", 10)
    assert watch.poll() == []
    watch.world.deliver("sub0", "pub0", 20)
    assert told(watch.poll())[:2] == ("backlog", "end")
    assert watch.row["lost"] == 0


def test_stalled_while_the_publisher_goes_on() -> None:
    watch = Watch()
    told_of = []
    for _ in range(4):
        watch.push(10, delivered=0)
        told_of.append(watch.poll())
    assert [kinds(events) for events in told_of] == [[], [("stalled", "begin")], [], []]
    assert told(told_of[1]) == ("stalled", "begin", *LINK.values(), 20)
    assert (watch.row["status"], watch.row["behind"]) == ("stalled", 40)
    watch.world.deliver("sub0", "pub0", 40)
    assert kinds(watch.poll()) == [("stalled", "end")]
    assert (watch.row["status"], watch.row["lost"]) == ("level", 0)


def test_other_streams_wait_behind_a_backlog() -> None:
    watch = Watch()
    watch.world.subscribe("sub0", OTHER)
    watch.poll()
    watch.poll()
    watch.world.push(PATH, 5)
    watch.world.push(OTHER, 1)
    for _ in range(5):
        watch.world.deliver("sub0", "pub0")
        assert not [event for event in watch.poll() if event.kind == "lost"]
    watch.world.deliver("sub0", "pub0")
    watch.poll()
    assert watch.tracker.totals()["events_lost"] == 0


def test_unserved_after_a_restart_until_it_subscribes_again() -> None:
    watch = Watch()
    watch.push(5)
    watch.poll()
    watch.world.stop("pub0")
    assert kinds(watch.poll()) == [("dead", "begin")]
    watch.world.start("pub0")
    assert kinds(watch.poll()) == [("dead", "end"), ("restarted", "once")]
    assert told(watch.poll())[:4] == ("unserved", "begin", *LINK.values())
    watch.world.reconnect("sub0", "pub0")
    watch.push(2)
    assert kinds(watch.poll()) == [("unserved", "end")]
    assert (watch.row["published"], watch.row["received"], watch.row["lost"]) == (7, 7, 0)
    assert watch.poll() == []


def test_losses_between_a_restart_and_the_subscription() -> None:
    watch = Watch(subscribers=2)
    watch.push(9)
    watch.world.deliver("sub1", "pub0", 9)
    watch.poll()
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub1", "pub0")
    watch.push(4)
    watch.world.reconnect("sub0", "pub0")
    watch.push(2)
    watch.world.deliver("sub1", "pub0", 10)
    events = watch.poll()
    assert kinds(events) == [("lost", "once"), ("restarted", "once")]
    assert told(events[:1]) == ("lost", "once", *LINK.values(), 4)
    assert (events[0].evidence["cause"], events[0].evidence["gaps"]) == ("restart", 0)


def test_a_dead_publisher_pushes_nothing_more() -> None:
    watch = Watch()
    watch.push(10, delivered=6)
    watch.world.drop("sub0", "pub0", 0, 4)
    watch.poll()
    watch.world.stop("pub0")
    events = watch.poll()
    assert kinds(events) == [("dead", "begin"), ("lost", "once")]
    assert events[1].evidence["publisher_state"] == "dead"


@pytest.mark.parametrize("server", ["sub0", "pub0"])
def test_while_one_hangs_nothing_is_judged(server) -> None:
    watch = Watch()
    watch.push(10, delivered=6)
    watch.poll()
    assert kinds(watch.poll(hung=server)) == [("hung", "begin")]
    assert kinds(watch.poll()) == [("hung", "end")]
    watch.world.deliver("sub0", "pub0", 4)
    assert watch.poll() == []
    assert (watch.row["lost"], watch.row["received"]) == (0, 10)


def test_not_connected_for_two_polls() -> None:
    tracker = EventTracker()
    lacking = (NotConnected(parse_event("tango://db:1/a/b/c/d.change"), 5.0),)
    told_of = []
    for now, names in enumerate([lacking, lacking, lacking, (), ()]):
        snapshot = Snapshot("1", {}, {}, names)
        events = tracker.feed(Sample("dserver/sub0/x", "ok", now, now + 0.5, snapshot))
        told_of.append(kinds([*events, *tracker.reconcile(now + 0.6)]))
    begin, end = ("not_connected", "begin"), ("not_connected", "end")
    assert told_of == [[], [begin], [], [end], []]
    assert tracker.totals()["names_followed"] == 0


def test_names_not_connected_to_are_listed_up_to_a_limit() -> None:
    tracker = EventTracker()
    names = [parse_event(f"tango://db:1/a/b/c/d{n}.change") for n in range(MAX_LISTED + 7)]
    snapshot = Snapshot("1", {}, {}, tuple(NotConnected(name, 5.0) for name in names))
    tracker.feed(Sample("dserver/sub0/x", "ok", 1.0, 1.5, snapshot))
    (row,) = tracker.servers()
    assert len(set(row["not_connected"])) == MAX_LISTED
    assert row["not_connected_left_out"] == 7


# -- differences ----------------------------------------------------------------------------------


def test_subscriptions_come_and_go() -> None:
    watch = Watch()
    watch.world.subscribe("sub0", OTHER)
    assert kinds(watch.poll()) == [("new_subscription", "once"), ("new_publisher", "once")]
    watch.world.unsubscribe("sub0", OTHER)
    (event,) = watch.poll()
    assert event.text == "dserver/sub0/x no longer subscribes to pub0/a/b's v1.change"
    watch.world.subscribe("sub0", OTHER)
    assert kinds(watch.poll()) == [("new_subscription", "once")]


def test_subscribing_anew_is_no_loss() -> None:
    watch = Watch()
    watch.push(20)
    watch.poll()
    watch.world.unsubscribe("sub0", PATH)
    watch.world.push(PATH, 100)
    watch.world.subscribe("sub0", PATH)
    watch.push(30)
    assert told(watch.poll()) == ("resubscribed", "once", "dserver/sub0/x", "", 1)
    assert (watch.row["received"], watch.row["lost"]) == (50, 0)


def test_many_names_are_told_at_once() -> None:
    watch = Watch()
    for n in range(20):
        watch.world.subscribe("sub0", f"pub0/a/b/w{n}.change")
    new, streams = watch.poll()
    assert (new.count, streams.count) == (20, 20)
    assert new.text.endswith("pub0/a/b's w4.change and 15 more")


def test_a_restarted_subscriber_is_told_of_and_nothing_else() -> None:
    watch = Watch()
    watch.push(5)
    watch.poll()
    watch.world.restart_subscriber("sub0")
    watch.push(3)
    assert kinds(watch.poll()) == [("restarted", "once")]
    assert (watch.row["received"], watch.row["lost"]) == (8, 0)


def test_a_publisher_elsewhere_is_not_judged() -> None:
    watch = Watch()
    watch.tracker.remove("pub0/x", watch.world.now)
    watch.world.push(PATH, 3)
    for _ in range(3):
        watch.world.now += 10
        assert watch.tracker.feed(watch.world.sample("sub0")) == []
        assert watch.tracker.reconcile(watch.world.now) == []
    assert (watch.row["status"], watch.row["publisher"]) == (
        "unwatched",
        "tango://db:10000/dserver/pub0/x",
    )
    watch.world.drop("sub0", "pub0", 0, 2)
    watch.world.push(PATH, 2)
    watch.world.deliver("sub0", "pub0", 3)
    watch.world.now += 10
    watch.tracker.feed(watch.world.sample("sub0"))
    assert watch.row["received"] == 3
    watch.poll()
    assert watch.row["publisher"] == "dserver/pub0/x"
    watch.poll()
    assert watch.row["status"] == "level"


# -- rates ----------------------------------------------------------------------------------------


def rates(watch: Watch) -> tuple[float, float]:
    """Of the stream, and of its subscriber."""
    return watch.tracker.streams(1)[0]["rate"], watch.row["rate"]


def test_a_new_stream_begins_with_no_rate_and_has_its_own_after_that() -> None:
    watch = Watch()
    watch.world.subscribe("sub0", OTHER)
    for expected in (0, 2, 2):
        watch.world.push(OTHER, 20)
        watch.world.deliver("sub0", "pub0", 20)
        watch.poll()
        found = {row["stream"][-9:]: row["rate"] for row in watch.tracker.streams(9)}
        assert found["v1.change"] == pytest.approx(expected, rel=0.01)
        links = {row["stream"][-9:]: row["rate"] for row in watch.tracker.reconciliation(9)}
        assert links["v1.change"] == pytest.approx(expected, rel=0.01)


def test_who_is_gone_has_no_rate() -> None:
    watch = Watch()
    watch.push(20)
    watch.poll()
    assert rates(watch) == pytest.approx((2, 2), rel=0.01)
    watch.world.publishers["pub0"].runs = watch.world.subscribers["sub0"].runs = False
    watch.poll()
    assert rates(watch) == (0, 0)


def test_who_unsubscribed_has_no_rate() -> None:
    watch = Watch()
    watch.push(20)
    watch.poll()
    watch.world.unsubscribe("sub0", PATH)
    watch.poll()
    assert rates(watch) == (0, 0)


# -- servers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [outcome for outcome in OUTCOMES if outcome != "ok"])
def test_every_state_begins_and_ends(outcome) -> None:
    watch = Watch()
    now = watch.world.now
    state = OUTCOMES[outcome]
    bad = Sample("dserver/pub0/x", outcome, now + 1, now + 2, reason="because")
    (begin,) = watch.tracker.feed(bad)
    assert (begin.kind, begin.phase, begin.server) == (state, "begin", "dserver/pub0/x")
    assert begin.severity == STATES[state].severity
    assert begin.evidence["reason"] == "because"
    assert watch.tracker.feed(replace(bad, begun=now + 11, ended=now + 12)) == []
    assert watch.tracker.servers()[0]["state"] == state
    watch.world.now += 20
    (end,) = watch.tracker.feed(watch.world.sample("pub0"))
    assert (end.kind, end.phase, end.severity) == (state, "end", "info")
    assert end.evidence["seconds"] > 10


def test_restart_within_a_poll_without_identity() -> None:
    watch = Watch()
    watch.world.identify = False
    watch.push(20)
    watch.poll()
    watch.poll()
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub0", "pub0")
    watch.push(4)
    assert kinds(watch.poll()) == [("restarted", "once")]
    assert (watch.row["published"], watch.row["received"], watch.row["lost"]) == (24, 24, 0)
    assert all(row["rate"] >= 0 for row in watch.tracker.streams(10))


def test_restart_to_higher_numbers_with_identity() -> None:
    watch = Watch()
    watch.push(5)
    watch.poll()
    watch.world.stop("pub0")
    watch.world.start("pub0")
    watch.world.reconnect("sub0", "pub0")
    watch.push(30)
    assert kinds(watch.poll()) == [("restarted", "once")]
    assert watch.poll() == []
    assert (watch.row["published"], watch.row["received"], watch.row["lost"]) == (35, 35, 0)


def test_refused_for_a_moment_by_the_same_process_is_no_restart() -> None:
    watch = Watch()
    now = watch.world.now
    watch.tracker.feed(Sample("dserver/pub0/x", "refused", now + 1, now + 2))
    assert kinds(watch.poll()) == [("dead", "end")]


def test_a_name_that_is_no_server() -> None:
    with pytest.raises(Malformed):
        EventTracker().feed(Sample("lab/pub/1", "ok", 0, 1))


# -- limits ---------------------------------------------------------------------------------------


def test_names_beyond_the_limit() -> None:
    tracker = EventTracker(max_names=1000)
    names = {parse_event(f"tango://db:1/a/b/c{n}/d.change"): 5 for n in range(10_000)}
    tracker.feed(Sample("dserver/pub0/x", "ok", 1, 2, Snapshot("1", names, {})))
    (event,) = tracker.reconcile(2)
    assert (event.kind, event.phase, event.count) == ("too_many_names", "begin", 9000)
    totals = tracker.totals()
    assert (totals["names_followed"], totals["names_refused"]) == (1000, 9000)
    assert len(tracker.streams(100_000)) == 1000
    few = dict(list(names.items())[:900])
    tracker.feed(Sample("dserver/pub0/x", "ok", 3, 4, Snapshot("1", few, {})))
    assert kinds(tracker.reconcile(4)) == [("too_many_names", "end")]
    tracker.remove("pub0/x", 5)
    assert tracker.totals()["names_followed"] == 0


def test_who_gets_room_later_is_not_new() -> None:
    tracker = EventTracker(max_names=1)
    names = [parse_event(f"tango://db:1/a/b/c/{n}.change") for n in range(2)]
    entries = {name: Subscription(name, None, 1, 1_000_000, 1_000_000, 0) for name in names}
    snapshot = Snapshot("1", {}, entries)
    tracker.feed(Sample("dserver/sub0/x", "ok", 1, 2, snapshot))
    tracker.reconcile(2)
    tracker._room.limit = 2
    assert tracker.feed(Sample("dserver/sub0/x", "ok", 3, 4, snapshot)) == []
    assert [row["received"] for row in tracker.reconciliation(2)] == [0, 0]


def test_what_is_not_seen_for_long_is_forgotten() -> None:
    watch = Watch()
    watch.tracker._forget_after = 35.0
    watch.world.subscribe("sub0", OTHER)
    watch.poll()
    watch.world.unsubscribe("sub0", OTHER)
    watch.world.publishers["pub0"].following.pop(OTHER)
    for _ in range(5):
        watch.poll()
    assert [row["stream"] for row in watch.tracker.streams(10)] == ["tango://db:10000/" + PATH]
    assert len(watch.tracker.reconciliation(10)) == 1
    totals = watch.tracker.totals()
    assert (totals["names_followed"], totals["names_forgotten"]) == (2, 2)
    watch.tracker.reconcile(watch.world.now + 100)
    assert watch.tracker.totals()["servers_followed"] == 0
    assert watch.tracker.totals()["names_followed"] == 0


def test_what_lasts_ends_with_the_one_who_is_no_longer_monitored() -> None:
    watch = Watch(subscribers=2)
    lacking = (NotConnected(parse_event("tango://db:10000/x/y/z/v.change")),)
    reply = watch.world.sample
    watch.world.sample = lambda name, **words: (
        replace(each, snapshot=replace_lacking(each.snapshot, lacking))
        if (each := reply(name, **words)).server == "dserver/sub0/x" and each.snapshot
        else each
    )
    begun = []
    for _ in range(3):
        watch.world.push(PATH, 3)
        watch.world.deliver("sub1", "pub0", 3)
        begun += watch.poll()
    assert sorted(kinds(begun)) == [("not_connected", "begin"), ("stalled", "begin")]
    ends = watch.tracker.remove("sub0/x", watch.world.now)
    assert sorted(kinds(ends)) == [("not_connected", "end"), ("stalled", "end")]
    assert {each.text for each in ends} == {"subscriber dserver/sub0/x is no longer monitored"}
    assert {(each.kind, each.stream) for each in ends} == {(e.kind, e.stream) for e in begun}
    assert kinds(watch.poll(hung="sub1")) == [("hung", "begin")]
    (end,) = watch.tracker.remove("sub1/x", watch.world.now)
    assert (end.kind, end.phase, end.severity) == ("hung", "end", "info")
    assert watch.tracker.remove("sub1/x", watch.world.now) == []


def replace_lacking(snapshot: Snapshot, lacking: tuple[NotConnected, ...]) -> Snapshot:
    return msgspec.structs.replace(snapshot, not_connected=lacking)


def test_of_a_server_that_nobody_asks_any_more_nothing_is_known() -> None:
    watch = Watch()
    watch.push(20)
    watch.poll()
    told = []
    for _ in range(4):
        watch.world.now += 10
        told += watch.tracker.feed(watch.world.sample("sub0"))
        told += watch.tracker.reconcile(watch.world.now)
    assert [(each.kind, each.phase, each.server) for each in told] == [
        ("unknown", "begin", "dserver/pub0/x")
    ]
    (row,) = [each for each in watch.tracker.servers() if each["server"] == "dserver/pub0/x"]
    assert (row["state"], row["reason"]) == ("unknown", "nobody asks it any more")
    assert kinds(watch.poll()) == [("unknown", "end")]
    watch.tracker.reconcile(watch.world.now + 10)
    watch.tracker.reconcile(watch.world.now + 4000)
    assert watch.tracker.servers() == []


def test_the_state_of_a_server_that_nobody_asks_any_more_ends() -> None:
    watch = Watch()
    watch.world.publishers["pub0"].runs = False
    assert kinds(watch.poll()) == [("dead", "begin")]
    ends = watch.tracker.reconcile(watch.world.now + 4000)
    assert ("dead", "end") in kinds(ends)


def test_a_server_that_hangs_for_long_is_not_forgotten() -> None:
    watch = Watch()
    watch.tracker._forget_after = 35.0
    for _ in range(10):
        watch.poll(hung="sub0")
    assert watch.row["stream"].endswith(PATH)


def test_servers_beyond_the_limit() -> None:
    tracker = EventTracker(max_servers=2)
    for n in range(5):
        tracker.feed(Sample(f"dserver/s{n}/x", "hung", 0, 1))
    totals = tracker.totals()
    assert (totals["servers_followed"], totals["samples_unfollowed"]) == (2, 3)


def test_not_more_events_at_once_than_the_limit() -> None:
    watch = Watch()
    count = MAX_EVENTS + 50
    for n in range(count):
        watch.world.subscribe("sub0", f"pub0/a/b/w{n}.change")
    watch.poll()
    watch.poll()
    for n in range(count):
        watch.world.push(f"pub0/a/b/w{n}.change")
    watch.world.drop("sub0", "pub0", 0, count)
    watch.poll()
    assert len(watch.poll()) == MAX_EVENTS
    assert watch.tracker.totals()["tells_suppressed"] == 50
    assert watch.tracker.totals()["events_lost"] == count


# -- numbers --------------------------------------------------------------------------------------


def test_totals_are_the_counters() -> None:
    names = {counter.name for counter in (*TANGO, *TANGO_NOW)}
    assert EventTracker().totals().keys() == names


def test_conservation() -> None:
    watch = Watch()
    watch.push(10, delivered=6)
    watch.world.drop("sub0", "pub0", 0, 2)
    watch.world.deliver("sub0", "pub0", 2)
    watch.poll(hung="pub0")
    same = watch.world.sample("sub0")
    watch.tracker.feed(same)
    assert watch.tracker.feed(same) == []
    watch.tracker.feed(Sample("p/i", "bad_reply", 1, 2, cause="version_unknown"))
    watch.tracker.feed(Sample("p/i", "bad_reply", 3, 4, cause="?"))
    totals = watch.tracker.totals()
    assert imbalances(totals, TANGO_CONSERVATION) == {}
    assert (totals["samples_stale"], totals["version_unknown"], totals["reply_malformed"]) == (
        1,
        1,
        1,
    )
    assert (totals["events_lost"], totals["events_received"]) == (2, 8)


def test_everything_is_fit_for_json() -> None:
    watch = Watch()
    watch.push(9, delivered=2)
    watch.world.drop("sub0", "pub0", 0, 3)
    watch.world.deliver("sub0", "pub0", 4)
    events = watch.poll()
    tracker = watch.tracker
    tables = [
        tracker.servers(),
        tracker.streams(9),
        tracker.reconciliation(9),
        tracker.performance(9),
    ]
    msgspec.json.encode([*tables, tracker.totals(), [event.row() for event in events]])


def test_the_worst_come_first() -> None:
    watch = Watch(subscribers=3)
    watch.push(10)
    watch.world.drop("sub1", "pub0", 2, 3)
    watch.world.deliver("sub1", "pub0", 10)
    watch.world.deliver("sub2", "pub0", 10)
    watch.poll()
    assert watch.tracker.reconciliation(1)[0]["subscriber"] == "dserver/sub1/x"


# -- the page -------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "tango_reconciliation.rst"


def test_page_lists_all_states_and_statuses() -> None:
    text = PAGE.read_text()
    listed = set(re.findall(r"(?m)^   \* - ``(\w+)``$", text))
    statuses = {"level", "in_flight", "backlog", "stalled", "unserved", "new", "unwatched", "gone"}
    causes = {"gap", "end", "before_first", "restart"}
    assert listed == statuses | causes | STATES.keys()
    assert f"as many polls from then on, up to {MOST_PATIENCE}" in " ".join(text.split())
    assert PATIENCE == 2  # "two polls", all over the page


def test_every_kind_of_event_has_a_sentence() -> None:
    for begin, end in [(begin, end) for _, begin, end in KINDS.values()]:
        names = dict.fromkeys(("server", "subscriber", "publisher", "shown", "count"), "x")
        assert "{" not in (begin + end).format(**names)
