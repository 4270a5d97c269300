"""From an application's heartbeat to its names in the inventory: real sockets, nothing in between.

A real application that sends heartbeats, a gateway that listens and asks, and what a monitor knows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from socs.epics import rows
from socs.epics.applications.asking import AskingSettings
from socs.epics.applications.interviews import InterviewSettings
from socs.epics.gateway.gateway import Gateway
from socs.epics.gateway.settings import GatewaySettings
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.knowledge.wishes import Ask
from socs.epics.summary import Summary, decode, encode
from socs.epics.track.settings import TrackSettings
from socs.sim.heartbeat_app import Truth, command_line, truth_of
from socs.sim.iocs import free_ports
from socs.sim.leash import Child, Leash
from socs.testing import wait_until
from tests.epics_packets import address

HERE = address("127.0.0.1")
LOOPBACK = ("127.0.0.0/8",)
SOON = InterviewSettings(True, lines_apart=0.1, again=0.5)


class Way:
    """An application, a gateway and what is known; ``loses`` says which messages do not arrive."""

    def __init__(self, directory: Path, asking: AskingSettings) -> None:
        self.directory, self.leash, self.ports = directory, Leash(), free_ports()
        track = KnowledgeSettings(TrackSettings(LOOPBACK), ask=SOON)
        self.known = Knowledge(track, since=time.time() - 1, secret=1)
        self.loses: Callable[[Summary], bool] = lambda summary: False
        self.lost = 0
        self.gateway = Gateway(
            GatewaySettings(
                "gw",
                listen="sockets",
                address="127.0.0.1",
                ports=self.ports,
                networks=LOOPBACK,
                interval=0.1,
                ask=asking,
            ),
            self.take,
            lambda text: None,
        )
        self.gateway.start()

    def take(self, summary: Summary) -> None:
        if self.loses(summary):
            self.lost += 1
            return
        self.known.take(decode(encode(summary)), time.time())
        for wish in self.known.wants():
            if isinstance(wish, Ask):
                asked = wish.what, wish.host, wish.port, wish.sequence, wish.server
                self.gateway.ask(*asked)

    def start(self, **options: Any) -> tuple[Child, Truth]:
        to = ("127.0.0.1", self.ports.heartbeats)
        command = command_line(to, period=0.2, **options)
        child = self.leash.start(command, log=self.directory / "app.log", env=dict(os.environ))
        return child, wait_until(lambda: truth_of(child.output()), 20, "the application")

    def row(self, truth: Truth) -> dict[str, Any]:
        """What is known of the application."""
        for app in [*self.known.applications.known.values()]:
            if app.sender == truth.port:
                interview = self.known.interviews.names.get(app.key)
                return rows.application_row(app, time.time(), interview)
        return {}

    def served(self, truth: Truth) -> list[str]:
        """Its names that are known to be served there."""
        known = self.known.inventory
        numbers = ((name, known.names.number(name.encode())) for name in truth.names)
        place = HERE, truth.server
        return [
            name
            for name, number in numbers
            if number >= 0 and (known.host[number], known.port[number]) == place
        ]

    def close(self) -> None:
        self.gateway.stop()
        self.leash.close()


@pytest.fixture
def way(tmp_path: Path) -> Iterator[Way]:
    asking = AskingSettings(True, 100.0, 50, timeout=0.2, attempts=2, lines_every=0.0)
    with closing(Way(tmp_path, asking)) as made:
        yield made


@pytest.mark.timeout(60)
def test_names_and_what_serves_at_the_port_are_known(way: Way) -> None:
    _, truth = way.start(names=35)
    wait_until(lambda: way.row(truth).get("names_ending"), 20, "its names")
    wait_until(lambda: way.known.interviews.processes.last(HERE), 20, "its lines")
    row = way.row(truth)
    assert (row["names"], row["names_total"], row["names_ending"]) == (35, 35, "complete")
    assert way.served(truth) == truth.names
    reading = way.known.interviews.processes.last(HERE)
    assert reading is not None
    assert reading.complete
    process = reading.ports[truth.server]
    command = f"{truth.image} {truth.command}"
    assert (process.pid, process.command, process.directory) == (
        *(truth.pid, command, truth.directory),
    )
    mapped = way.known.interviews.processes.of([(HERE, truth.server)])[HERE, truth.server]
    assert (mapped.command, mapped.application) == (command, row["key"])


@pytest.mark.timeout(60)
def test_what_is_lost_on_the_way_to_the_monitor_is_asked_for_again(way: Way) -> None:
    way.loses = lambda summary: bool(summary.told) and way.lost < 2
    _, truth = way.start(names=15)
    wait_until(lambda: way.served(truth) == truth.names, 30, "its names")
    assert way.lost == 2
    assert way.row(truth)["names_ending"] == "complete"
    assert way.known.numbers()["asks_wished"] > 2


@pytest.mark.timeout(60)
def test_an_application_that_ends_meanwhile_told_a_part_and_that_is_said(way: Way) -> None:
    child, truth = way.start(names=2_000, version="1.1")
    wait_until(lambda: way.gateway.status()["counters"]["asking_answers"] > 4, 20, "some answers")
    child.kill()
    wait_until(lambda: way.row(truth).get("names_ending"), 20, "an ending")
    row = way.row(truth)
    assert (row["names_ending"], row["names_total"]) == ("cut", 2_000)
    assert 0 < row["names"] < 2_000
    assert way.served(truth) == truth.names[: row["names"]]
    assert way.known.numbers()["told_partial"] >= 1


@pytest.mark.timeout(60)
def test_no_names_and_no_answer_are_told_apart(tmp_path: Path) -> None:
    asking = AskingSettings(True, 100.0, 50, timeout=0.2, attempts=2)
    with closing(Way(tmp_path, asking)) as way:
        _, truth = way.start(names=0, version="1.1")
        wait_until(lambda: way.row(truth).get("names_ending"), 20, "an ending")
        row = way.row(truth)
        assert (row["names"], row["names_total"], row["names_ending"]) == (0, 0, "complete")
    with closing(Way(tmp_path, asking)) as way:
        child, truth = way.start(names=5, version="1.1")
        ask = way.gateway.ask
        way.gateway.ask = lambda *asked: (child.kill(), ask(*asked))[1]  # type: ignore[method-assign]
        wait_until(lambda: way.row(truth).get("names_ending"), 20, "an ending")
        assert (way.row(truth)["names"], way.row(truth)["names_ending"]) == (None, "silent")
