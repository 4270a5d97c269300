"""Wishes become calls: one at a time, what matters first, what fails is told back."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from socs.counters import EPICS_MONITOR, Counters
from socs.epics.knowledge.wishes import Ask, Resync, Search, Wish
from socs.epics.monitor import gateway_calls
from socs.epics.monitor.gateway_calls import GatewayCalls
from socs.epics.search.searcher import Priority


class Gateways:
    """Notes calls, which end when a test says so."""

    def __init__(self) -> None:
        self.called: list[tuple[str, str, dict[str, Any]]] = []
        self.ends: list[Deferred[Any]] = []
        self.refused: list[Wish] = []
        self.lines: list[str] = []
        self.counters = Counters(EPICS_MONITOR)
        self.calls = GatewayCalls(self._call, self.counters, self.refused.append, self.lines.append)

    def _call(self, *call: Any) -> Deferred[Any]:
        self.called.append(call)
        self.ends.append(Deferred())
        return self.ends[-1]


def search(*names: str, priority: Priority = Priority.POLL, gateway: str = "a") -> Search:
    return Search(gateway, tuple(name.encode() for name in names), priority)


def test_one_call_of_a_task_at_a_time_and_what_somebody_looks_at_first() -> None:
    gateways = Gateways()
    gateways.calls.wish([search("1"), search("2"), search("3", priority=Priority.PAGE)])
    gateways.calls.wish([search("x", gateway="b"), Ask("a", "names", 0x0A000001, 9, 7, 5064)])
    assert gateways.called[:2] == [
        ("a", "search", {"names": ["1"], "priority": "poll"}),
        ("b", "search", {"names": ["x"], "priority": "poll"}),
    ]
    (*line, asked) = gateways.called[2]
    assert line == ["a", "ask"]
    wanted = {"what": "names", "host": "10.0.0.1", "port": 9, "sequence": 7, "server": 5064}
    assert asked == wanted
    gateways.ends[0].callback((True, ""))
    assert gateways.called[3] == ("a", "search", {"names": ["3"], "priority": "page"})
    gateways.ends[3].callback((True, ""))
    assert gateways.called[4][2]["names"] == ["2"]
    assert len(gateways.called) == 5
    assert gateways.counters["gateway_calls"] == 5
    assert gateways.refused == []


def test_one_resync_is_as_good_as_many() -> None:
    gateways = Gateways()
    gateways.calls.wish([Resync("a")] * 5)
    gateways.ends[0].callback((True, ""))
    gateways.ends[1].callback((True, ""))
    assert gateways.called == [("a", "resync", {})] * 2


def test_what_fails_is_told_back_and_said_once() -> None:
    gateways = Gateways()
    wishes = [search("1"), search("2")]
    gateways.calls.wish(wishes)
    gateways.ends[0].callback((False, "searching is off"))
    assert gateways.calls.troubles() == ["a: search: searching is off"]
    gateways.ends[1].errback(RuntimeError("searching is off"))
    assert gateways.refused == wishes
    assert gateways.counters["gateway_calls_failed"] == 2
    assert gateways.lines == ["a did not search: searching is off"]
    gateways.calls.wish([search("3")])
    gateways.ends[2].callback((True, ""))
    assert gateways.calls.troubles() == []


def test_beyond_its_room_names_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_calls, "MOST_WAITING", 3)
    gateways = Gateways()
    too_many = search("4", "5")
    gateways.calls.wish([search("1"), search("2", "3"), too_many, search("6")])
    assert gateways.counters["gateway_wishes_dropped"] == 2
    assert gateways.refused == [too_many]


def test_after_the_end_nobody_is_called() -> None:
    gateways = Gateways()
    gateways.calls.wish([search("1"), search("2")])
    gateways.calls.end()
    gateways.ends[0].callback((False, "gone"))
    gateways.calls.wish([search("3")])
    assert len(gateways.called) == 1
    assert gateways.refused == []
