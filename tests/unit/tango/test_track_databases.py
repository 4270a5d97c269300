"""Databases that are called differently, and servers of the same name in several of them."""

import pytest

from socs.tango.names import ServerName, parse_event
from socs.tango.server import Sample
from socs.tango.snapshot import Snapshot, Subscription
from socs.tango.track import EventTracker

PUB, SUB = "dserver/pub/1", "dserver/sub/1"
ADDRESS = "10.0.0.1:10000"  # one by which a monitor may call a database
PATH = "lab/pub/1/val.change"


class Watch:
    """A tracker, and the events that it told."""

    def __init__(self) -> None:
        self.tracker, self.told, self.now = EventTracker(), [], 0.0

    def publishes(self, server: str, host: str, number: int, path: str = PATH) -> None:
        """``server`` tells the next number of its stream."""
        self._feed(server, Snapshot("1", {parse_event(f"tango://{host}/{path}"): number}, {}))

    def receives(self, server: str, host: str, number: int) -> None:
        """``server`` has received so many of the stream that is called so."""
        name = parse_event(f"tango://{host}/{PATH}")
        entry = Subscription(name, ServerName(host, PUB), 1, number, number, 0, 0)
        self._feed(server, Snapshot("1", {}, {name: entry}))

    def silent(self, server: str) -> None:
        """``server`` publishes nothing."""
        self._feed(server, Snapshot("1", {}, {}))

    def _feed(self, server: str, snapshot: Snapshot) -> None:
        self.now += 1
        self.told += self.tracker.feed(Sample(server, "ok", self.now, self.now + 0.1, snapshot))

    def over(self) -> None:
        self.told += self.tracker.reconcile(self.now + 0.1)

    @property
    def links(self) -> dict[str, tuple[str, str]]:
        """Of each subscriber: who is taken for the publisher, and the status."""
        rows = self.tracker.reconciliation(10)
        return {row["subscriber"]: (row["publisher"], row["status"]) for row in rows}

    @property
    def bad(self) -> list[str]:
        return [event.text for event in self.told if event.severity != "info"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_server_of_the_same_name_in_another_database_is_not_accused(order) -> None:
    watch = Watch()
    for number in range(1, 6):  # ours pushes, and the other one, which is not monitored, does not
        asked = [
            lambda number=number: watch.publishes(PUB, "ours:1", 10 * number),
            lambda: watch.receives(SUB, "other:1", 3),
        ]
        for index in order:
            asked[index]()
        watch.over()
    assert watch.bad == []
    assert watch.links == {SUB: (f"tango://other:1/{PUB}", "unwatched")}


def test_a_silent_server_of_the_same_name_is_not_accused_either() -> None:
    watch = Watch()
    for number in range(1, 6):
        watch.silent(PUB)
        watch.receives(SUB, "other:1", 3)
        watch.publishes("dserver/neighbour/1", "ours:1", number)
        watch.over()
    assert watch.bad == []
    assert watch.links[SUB][1] == "unwatched"


def test_servers_of_one_name_in_two_databases_are_told_apart_by_what_they_call_them() -> None:
    watch = Watch()
    for number in range(1, 5):
        for letter, count in (("a", 3), ("b", 7)):
            ours = f"tango://short-{letter}:1/"
            watch.publishes(f"{ours}{PUB}", f"{letter}.example.org:1", count * number + 1)
            watch.receives(f"{ours}{SUB}", f"{letter}.example.org:1", count * number)
        watch.over()
    assert watch.bad == []
    assert watch.links == {
        f"tango://short-{each}:1/{SUB}": (f"tango://short-{each}:1/{PUB}", "level") for each in "ab"
    }


def test_a_monitor_may_call_the_database_otherwise() -> None:
    watch = Watch()
    for number in range(1, 5):
        watch.receives(f"tango://{ADDRESS}/{SUB}", "db.example.org:1", number)
        watch.publishes(f"tango://{ADDRESS}/{PUB}", "db.example.org:1", number + 1)
        watch.over()
    assert watch.links == {f"tango://{ADDRESS}/{SUB}": (f"tango://{ADDRESS}/{PUB}", "level")}


@pytest.mark.parametrize("neighbour", [False, True])
def test_a_publisher_that_does_not_serve_anything_is_known_by_its_neighbours(neighbour) -> None:
    watch = Watch()
    for number in range(1, 5):
        watch.silent(PUB)
        watch.receives(SUB, "db.example.org:1", 3)
        if neighbour:
            watch.publishes("dserver/neighbour/1", "db.example.org:1", number)
        watch.over()
    assert watch.links == {SUB: (PUB, "unserved")}


def test_any_number_of_hosts_takes_no_memory() -> None:
    watch = Watch()
    for number in range(50):
        watch.publishes(PUB, f"host{number}:1", number + 1)
    (hosts,) = watch.tracker._links._hosts.values()
    assert len(hosts) <= 10
