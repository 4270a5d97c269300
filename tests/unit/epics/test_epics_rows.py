"""What is known as rows of plain values, which can be JSON whatever they are."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from socs.epics import rows
from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.accounts.sources import SourceClasses
from socs.epics.applications.host_processes import HostProcesses
from socs.epics.applications.interviews import Interview
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.track.applications import Applications
from socs.epics.track.beacons import Beacons, Server
from socs.epics.track.events import (
    CA,
    PVA,
    ApplicationEvent,
    Event,
    HostEvent,
    PvEvent,
    PvsEvent,
    ServerEvent,
)
from socs.epics.track.hosts import Expected, Hosts
from socs.epics.track.pvs import Answer, Pvs
from socs.epics.track.settings import TrackSettings
from tests.one_gateway import OneGateway

T = 1_700_000_000.0
IOC, READER = 0x0A000001, 0x0A000002
SETTINGS = TrackSettings(("10.0.0.0/8",))
UNMAPPED = {"command": None, "directory": None, "application": None}


def known() -> tuple[Pvs, Hosts]:
    inventory = Inventory(
        InventoryLimits(100, 10), classes=SourceClasses({"archiver": ["10.0.0.9"]}), secret=1
    )
    sight = OneGateway(T)
    beacons, applications = Beacons(SETTINGS, sight), Applications(SETTINGS, sight)
    return Pvs(inventory, SETTINGS, sight), Hosts(beacons, applications, sight, SETTINGS)


def asked(pvs: Pvs, name: bytes, times: int) -> int:
    number = pvs.inventory.names.add(name)
    inventory = pvs.inventory
    keys = np.array([READER << 16 | 4711], np.uint64)
    numbers = np.array([number], np.int64)
    inventory.requesters.add(numbers, keys, np.array([times]), T + 1)
    inventory.asked[number, 0] += np.uint64(times)
    inventory.first_asked[number] = inventory.last_asked[number] = T + 1
    return number


def test_a_name_that_nobody_serves_has_no_server_and_no_times() -> None:
    pvs, _ = known()
    row = rows.pv_row(pvs, asked(pvs, b"A:\xff\n", 3))
    assert row == {
        "name": "A:\\xff\n",
        "state": "INVALID",
        "protocol": None,
        "server": None,
        "requests": 3,
        "last_asked": T + 1,
        "last_seen": None,
        "changed": None,
    }


def test_who_asks_and_who_serves_since_when() -> None:
    pvs, _ = known()
    number = asked(pvs, b"A:CURRENT", 7)
    pvs.overheard(number, Answer(CA, IOC, 5064, IOC), T + 2)
    pvs.overheard(number, Answer(CA, IOC, 5064, IOC), T + 60)
    told = rows.pv_info(pvs, number)
    assert told["requesters"] == [{"source": "10.0.0.2:4711", "requests": 7, "last": T + 1}]
    assert told["servers"] == [
        {"protocol": "CA", "server": "10.0.0.1:5064", "first": T + 2, "last": T + 60, **UNMAPPED}
    ]
    assert told["requests_by_class"] == {"client": 7, "archiver": 0}
    assert (told["state"], told["first_seen"], told["last_seen"]) == ("ONLINE", T + 2, T + 60)
    assert (told["answers"], told["changed"], told["valid"]) == (2, T + 2, True)


def test_servers_and_applications_and_the_host_that_has_them() -> None:
    _, hosts = known()
    server = hosts.beacons.servers[CA, IOC, 5064] = Server(CA, IOC, 5064, T, "ALIVE", T + 5)
    heartbeat = Heartbeat(3, 5064, 60, int(T) + 5, 77, "2.0", "app", "st.cmd", "/ioc")
    hosts.applications.heartbeat(heartbeat, IOC, 9, T + 5)
    (application,) = hosts.applications.known.values()
    shown = rows.server_row(server)
    assert (shown["server"], shown["period"], shown["started"], shown["lost"]) == (
        *("10.0.0.1:5064", None, None, None),
    )
    assert (shown["state"], shown["heard"], shown["named"]) == ("ALIVE", T + 5, None)
    told = rows.application_row(application, T + 10)
    assert (told["host"], told["port"], told["run"], told["uptime"]) == ("10.0.0.1", 5064, 77, 65)
    sets = frozenset({"json:1"}), frozenset({(CA, 5064), (PVA, 5075)}), frozenset({"x"})
    hosts.expected[IOC] = Expected(*sets, maintenance=True)
    hosts.judge(T + 1000)
    row = rows.host_row(hosts, IOC)
    assert row == {
        "host": "10.0.0.1",
        "status": "MISSING",
        "missing": ["json:1", "PVA port 5075"],
        "unexpected": [],
        "maintenance": True,
        "servers": ["CA:5064"],
        "commands": {},
        "proc_servs": [],
        "processes_told": None,
        "processes_complete": None,
        "applications": [application.key],
        "expected_applications": ["json:1"],
        "expected_ports": ["CA:5064", "PVA:5075"],
        "ignored": ["x"],
    }
    assert rows.known_hosts(hosts) == [IOC]
    assert rows.host_row(hosts, READER)["status"] == "NO_DATA"


def test_what_applications_told_is_with_servers_names_and_hosts() -> None:
    pvs, hosts = known()
    server = hosts.beacons.servers[CA, IOC, 5064] = Server(CA, IOC, 5064, T, "ALIVE", T + 5)
    processes = HostProcesses(hosts.applications)
    lines = [
        "tcp: 0: 00000000:13C8 00000000:0000 0A 0 0 0 0 0 42 1",
        "pid: 7 socket:[42]",
        "pid: 7 cmdline: ./ioc st.cmd",
        "pid: 7 cwd: /ioc",
        "pid: 8 cmdline: procServ -n x 20000 ./ioc st.cmd",
    ]
    processes.take(IOC, "json:1", lines, T + 6, complete=False)
    mapped = {"command": "./ioc st.cmd", "directory": "/ioc", "application": None}
    ours = processes.of([(IOC, 5064)])[IOC, 5064]
    assert rows.server_row(server, ours).items() >= mapped.items()
    number = asked(pvs, b"A:CURRENT", 7)
    pvs.overheard(number, Answer(CA, IOC, 5064, IOC), T + 2)
    assert rows.pv_info(pvs, number, processes)["servers"][0].items() >= mapped.items()
    row = rows.host_row(hosts, IOC, processes)
    assert row["commands"] == {"CA:5064": "./ioc st.cmd"}
    assert row["proc_servs"] == [
        {"port": 20000, "command": "procServ -n x 20000 ./ioc st.cmd", "directory": ""}
    ]
    assert (row["processes_told"], row["processes_complete"]) == (T + 6, False)


def test_names_that_an_application_told_are_all_or_not() -> None:
    _, hosts = known()
    heartbeat = Heartbeat(3, 5064, 60, int(T) + 5, 77, "2.0", "app", "st.cmd", "/ioc")
    hosts.applications.heartbeat(heartbeat, IOC, 9, T + 5)
    (application,) = hosts.applications.known.values()

    def told(interview: Interview | None) -> tuple[object, ...]:
        row = rows.application_row(application, T + 10, interview)
        return tuple(row[f"names{each}"] for each in ("", "_total", "_told", "_ending"))

    assert told(None) == (None, None, None, None)
    assert told(Interview(ending="silent")) == (None, None, None, "silent")
    assert told(Interview(told=T, ending="complete")) == (0, 0, T, "complete")
    assert told(Interview(told=T, ending="cut", texts=20, total=25)) == (20, 25, T, "cut")


def test_clients_and_what_they_asked() -> None:
    pvs, _ = known()
    sources = pvs.inventory.sources
    (number,) = sources.numbers(np.array([0x0A000009 << 16 | 5], np.uint64), T)
    one = np.array([1])
    sources.add(np.array([number]), one * 2, one * 30, one * 4, T + 3)
    assert rows.client_row(sources, number) == {
        "source": "10.0.0.9:5",
        "class": "archiver",
        "first": T,
        "last": T + 3,
        "datagrams": 2,
        "requests": 30,
        "invalid": 4,
    }
    assert rows.client_row(sources, 0)["source"] is None


EVENTS = [
    (ServerEvent(T, "NEW", "c", {"id": 0}, CA, IOC, 5064), "server", "10.0.0.1", 5064, None),
    (PvEvent(T, "LOST", "c", {}, 1, b"A", PVA, IOC, 5075), "pv", "10.0.0.1", 5075, "A"),
    (PvsEvent(T, "LOST", "c", {}, 9, (b"A",), CA, IOC, 5064), "pvs", "10.0.0.1", 5064, None),
    (ApplicationEvent(T, "NEW", "c", {}, "json:1", IOC, 0), "application", "10.0.0.1", None,
     "json:1"),
    (HostEvent(T, "MISSING", "c", {"missing": "x"}, IOC), "host", "10.0.0.1", None, None),
    (Event(T, "NOTED", "c"), "other", None, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("event", "subject", "host", "port", "name"), EVENTS)
def test_events_tell_what_happened_to_whom(event, subject, host, port, name) -> None:
    row = rows.event_row(event)
    assert (row["subject"], row["host"], row["port"], row["name"]) == (subject, host, port, name)
    assert (row["time"], row["kind"], row["cause"]) == (T, event.kind, "c")
    if isinstance(event, PvsEvent):
        assert (row["count"], row["examples"]) == (9, ["A"])


def test_what_json_has_not_is_none() -> None:
    values = {"a": math.nan, "b": np.float64(2.0), "c": np.int64(3), "d": math.inf, "e": "x"}
    evidence = rows.event_row(Event(T, "K", "c", values))["evidence"]
    assert evidence == {"a": None, "b": 2.0, "c": 3, "d": None, "e": "x"}
    assert json.loads(json.dumps(evidence, allow_nan=False)) == evidence
