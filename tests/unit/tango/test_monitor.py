"""The Tango event monitor without servers: names that change while it polls, and large tables."""

from __future__ import annotations

import argparse
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from socs.db.engine import Database
from socs.db.registrar import RowConstants
from socs.errors import ConfigError
from socs.tango import monitor as wired
from socs.tango.monitor import MAX_ROWS, EventMonitor, MonitorSettings
from socs.tango.names import parse_event
from socs.tango.options import add_options, monitor_settings
from socs.tango.polling.settings import PollSettings
from socs.tango.server import Sample
from socs.tango.snapshot import Snapshot

PUBLISHER, OTHER = "tango://h:1/dserver/pub/1", "tango://h:1/dserver/pub/2"


class Poller:
    """Polls when told to; gives out what the test wants."""

    def __init__(self, settings: PollSettings, on_sample: Any, on_round_end: Any, report: Any):
        self.on_sample, self.on_round_end = on_sample, on_round_end
        self.asked = threading.Event()
        self.begun = {"polls": 0}
        self.counters = _Counts(self.begun)

    def set_names(self, names: Any) -> None: ...

    def stop(self, timeout: float) -> None: ...

    def poll_now(self) -> None:
        self.asked.set()

    def poll(self, *samples: Sample) -> None:
        self.begun["polls"] += 1
        self.end(*samples)

    def end(self, *samples: Sample) -> None:
        for sample in samples:
            self.on_sample(sample)
        self.on_round_end(self.begun["polls"])


class _Counts(dict[str, int]):
    def __init__(self, begun: dict[str, int]) -> None:
        self.begun = begun

    def __getitem__(self, name: str) -> int:
        return self.begun[name]

    def snapshot(self) -> dict[str, int]:
        return dict(self.begun)


@pytest.fixture
def poller(monkeypatch: pytest.MonkeyPatch) -> list[Poller]:
    made: list[Poller] = []

    def make(*args: Any) -> Poller:
        made.append(Poller(*args))
        return made[0]

    monkeypatch.setattr(wired, "Poller", make)
    return made


def event_monitor(
    tmp_path: Path, on_poll: Any = lambda view, numbers: None, **settings: Any
) -> EventMonitor:
    poll = PollSettings(names=("dserver/pub/1", "dserver/pub/2"), state_dir=tmp_path)
    constants = RowConstants(site="s", instance_id="i", settle=0.0)
    wanted = MonitorSettings(poll, constants, tmp_path, **settings)
    return EventMonitor(wanted, Database(), on_poll=on_poll)


def sample(server: str, begun: float, streams: int = 1) -> Sample:
    host = server.rpartition("/dserver/")[0]
    names = {parse_event(f"{host}/lab/pub/{n}/val.change"): 5 for n in range(streams)}
    begun += time.monotonic() - 100.0
    told = Snapshot("1", names, {}, (), {}, None, None, 0, 0, 0, {})
    return Sample(server, "ok", begun, begun + 0.1, told, "1@2")


def servers(events: EventMonitor) -> list[str]:
    return [row["server"] for row in events.view()["servers"]]


def test_a_server_that_a_poll_under_way_still_asked_is_left_out_by_the_next(
    tmp_path: Path, poller: list[Poller]
) -> None:
    events = event_monitor(tmp_path)
    poller[0].poll(sample(PUBLISHER, 1.0), sample(OTHER, 1.0))
    events.remove_names(["dserver/pub/2"])
    poller[0].poll(sample(PUBLISHER, 2.0), sample(OTHER, 2.0))  # had begun before
    assert servers(events) == [PUBLISHER, OTHER]
    poller[0].poll(sample(PUBLISHER, 3.0))
    assert servers(events) == [PUBLISHER]


def test_what_was_told_of_a_server_ends_when_it_is_left_out(
    tmp_path: Path, poller: list[Poller]
) -> None:
    events, told = event_monitor(tmp_path), []
    events._on_told = lambda some, offset: told.extend(some)
    begun = time.monotonic()
    poller[0].poll(sample(PUBLISHER, 1.0), Sample(OTHER, "hung", begun, begun + 1))
    events.remove_names(["dserver/pub/2"])
    poller[0].poll(sample(PUBLISHER, 2.0))
    assert [(each.kind, each.phase) for each in told] == [("hung", "begin"), ("hung", "end")]
    assert told[1].text == f"server {OTHER} is no longer monitored"


def test_a_server_that_is_not_asked_stays_unless_names_changed(
    tmp_path: Path, poller: list[Poller]
) -> None:
    events = event_monitor(tmp_path)
    poller[0].poll(sample(PUBLISHER, 1.0), sample(OTHER, 1.0))
    poller[0].poll(sample(PUBLISHER, 2.0))
    assert servers(events) == [PUBLISHER, OTHER]


def test_a_poll_on_demand_is_not_the_one_that_was_under_way(
    tmp_path: Path, poller: list[Poller]
) -> None:
    events = event_monitor(tmp_path)
    poller[0].begun["polls"] = 1
    views: list[Any] = []
    asking = threading.Thread(target=lambda: views.append(events.poll_now(20.0)))
    asking.start()
    assert poller[0].asked.wait(20.0)
    poller[0].end()
    asking.join(0.3)  # if it is content with that one
    poller[0].poll(sample(PUBLISHER, 2.0))
    asking.join(60)
    assert [row["server"] for row in views[0]["servers"]] == [PUBLISHER]


def test_who_waits_for_a_poll_does_not_hold_up_the_end(
    tmp_path: Path, poller: list[Poller]
) -> None:
    events = event_monitor(tmp_path)
    views: list[Any] = []
    asking = threading.Thread(target=lambda: views.append(events.poll_now(1e300)), daemon=True)
    asking.start()
    assert poller[0].asked.wait(20.0)
    events.stop()
    asking.join(60)
    assert views == [None]


def test_rows_beyond_the_limit_are_counted_and_feeds_get_theirs(
    tmp_path: Path, poller: list[Poller]
) -> None:
    given: list[Any] = []
    events = event_monitor(
        tmp_path, on_poll=lambda view, numbers: given.append(view), feed_rows=MAX_ROWS + 50
    )
    poller[0].poll(sample(PUBLISHER, 1.0, MAX_ROWS + 80))
    shown = events.view()
    assert len(shown["streams"]) == MAX_ROWS
    assert shown["rows_left_out"] == {"streams": 80, "reconciliation": 0, "performance": 0}
    assert len(given[0]["streams"]) == MAX_ROWS + 50
    assert given[0]["rows_left_out"]["streams"] == 30


@pytest.mark.parametrize(
    "words",
    [
        ["--poll-period", "0.5"],
        ["--device", "a//b"],
        ["--tango-host", "db"],
        ["--tango-host", ""],
        ["--max-servers", "1001"],
        ["--file-prefix", "../up", "--folder", "lines"],
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(words: list[str], tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    args = parser.parse_args([*words, "--data-dir", str(tmp_path), "--site-name", "s"])
    args.instance_id = "tango-event-monitor"
    with pytest.raises(ConfigError, match=f"^{words[0]}: "):
        monitor_settings(args)


@pytest.mark.parametrize("option", ["--rotate-size", "--spool-quota"])
@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1", "x", "1e-9"])
def test_sizes_that_make_no_sense_are_refused_by_name(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    with pytest.raises(SystemExit):
        parser.parse_args([option, value])
    assert f"argument {option}: '{value}' is not a positive number" in capsys.readouterr().err
