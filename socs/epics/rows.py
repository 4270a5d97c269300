"""What is known, as rows of plain values that can be JSON: for people and for programs.

Times are UNIX times [s]; None stands for never, and for what is not known. A server or a source is
``10.1.2.3:5064``. Names are text; a byte that is no UTF-8 is written as ``\\xff``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from socs.epics.accounts.inventory import Inventory
from socs.epics.accounts.sources import Sources
from socs.epics.applications.host_processes import HostProcesses, Mapped, Place
from socs.epics.applications.interviews import Interview
from socs.epics.knowledge.joining import Join
from socs.epics.knowledge.polling import Polling
from socs.epics.networks import host_text
from socs.epics.track.applications import Application
from socs.epics.track.beacons import Server
from socs.epics.track.events import (
    PROTOCOLS,
    ApplicationEvent,
    Event,
    PvEvent,
    PvsEvent,
    subject_of,
)
from socs.epics.track.hosts import Expected, Hosts, Port, Standing
from socs.epics.track.pvs import Pvs

Row = dict[str, Any]


def name_text(name: bytes) -> str:
    """A name for people."""
    return name.decode("utf-8", "backslashreplace")


def place_text(host: int, port: int) -> str | None:
    """``10.1.2.3:5064``; None for no host."""
    return f"{host_text(host)}:{port}" if host else None


def protocol_text(protocol: int) -> str | None:
    """``CA`` or ``PVA``; None for none."""
    return PROTOCOLS.get(protocol)


def port_text(port: Port) -> str:
    """``CA:5064``."""
    return f"{PROTOCOLS[port[0]]}:{port[1]}"


def pv_row(pvs: Pvs, number: int) -> Row:
    """A process variable in a list."""
    known = pvs.inventory
    return {
        "name": name_text(known.names.name(number)),
        "state": pvs.state(number),
        "protocol": protocol_text(int(known.protocol[number])),
        "server": place_text(int(known.host[number]), int(known.port[number])),
        "requests": int(known.asked[number].sum()),
        "last_asked": _time(known.last_asked[number]),
        "last_seen": _time(known.last_seen[number]),
        "changed": _time(known.changed[number]),
    }


def pv_info(pvs: Pvs, number: int, processes: HostProcesses | None = None) -> Row:
    """All that is known of a process variable: who asks for it, and who serves it since when.

    ``processes`` tells which application that is.
    """
    known = pvs.inventory
    seen_at = known.servers.of(number)
    mapped = mapped_at(processes, [(seen.host, seen.port) for seen in seen_at])
    classes = known.sources.classes.names
    return {
        **pv_row(pvs, number),
        "valid": bool(known.names.valid[number]),
        "first_asked": _time(known.first_asked[number]),
        "first_seen": _time(known.first_seen[number]),
        "searched": _time(known.searched[number]),
        "answers": int(known.answers[number]),
        "misses": int(known.misses[number]),
        "requests_by_class": dict(zip(classes, known.asked[number].tolist(), strict=True)),
        "requesters": _requesters(known, number),
        "requesters_left_out": int(known.requesters.displaced[number]),
        "servers": [
            {
                "protocol": protocol_text(seen.protocol),
                "server": place_text(seen.host, seen.port),
                "first": seen.first,
                "last": seen.last,
                **_mapped_row(mapped.get((seen.host, seen.port))),
            }
            for seen in seen_at
        ],
    }


def _requesters(known: Inventory, number: int) -> list[Row]:
    return [
        {"source": place_text(each.host, each.port), "requests": each.requests, "last": each.last}
        for each in known.requesters.of(number)
    ]


def mapped_at(processes: HostProcesses | None, places: Iterable[Place]) -> Mapping[Place, Mapped]:
    """What serves at these places, as far as anybody told."""
    return {} if processes is None else processes.of(places)


def _mapped_row(mapped: Mapped | None) -> Row:
    if mapped is None:
        return {"command": None, "directory": None, "application": None}
    return {
        "command": mapped.command,
        "directory": mapped.directory,
        "application": mapped.application or None,
    }


def server_row(server: Server, mapped: Mapped | None = None) -> Row:
    """A server that sends beacons; ``mapped`` is what serves there."""
    return {
        "protocol": protocol_text(server.protocol),
        "server": place_text(server.host, server.port),
        "host": host_text(server.host),
        "port": server.port,
        "state": server.state,
        "first": _time(server.first),
        "heard": _time(server.heard),
        "started": _time(server.started),
        "period": _number(server.period),
        "beacons": server.beacons,
        "restarts": server.restarts,
        "lost": _time(server.lost),
        "interval_wrong": server.interval_wrong,
        "guid": server.guid.hex(),
        "named": host_text(server.named) if server.named else None,
        **_mapped_row(mapped),
    }


def application_row(
    application: Application, now: float, interview: Interview | None = None
) -> Row:
    """An application that sends heartbeats; ``interview`` is how it was asked for its names.

    ``names`` is how many it told, None if it told none yet; ``names_ending`` is one of
    `socs.epics.applications.conversations.ENDINGS`: unless it is ``complete``, these are not all.
    """
    beat, asked = application.beat, interview or Interview()
    return {
        "key": beat.key,
        "title": beat.title,
        "host": host_text(beat.host),
        "port": beat.port,
        "state": application.state,
        "first": _time(application.first),
        "heard": _time(application.heard),
        "uptime": _number(application.uptime(now)),
        "begun": _number(beat.begun),
        "run": beat.run,
        "sequence": beat.sequence,
        "missing": application.missing,
        "restarts": application.restarts,
        "lost": _time(application.lost),
        "clock_offset": _number(beat.offset),
        "names": None if math.isnan(asked.told) else asked.texts,
        "names_total": None if math.isnan(asked.told) else asked.total,
        "names_told": _time(asked.told),
        "names_ending": asked.ending or None,
    }


def host_row(hosts: Hosts, host: int, processes: HostProcesses | None = None) -> Row:
    """A host: how it stands, what runs on it, and what should.

    ``processes`` tells what serves at its ports, and which procServ processes it has.
    """
    standing = standing_of(hosts, host)
    alive = sorted((server.protocol, server.port) for server in hosts.beacons.alive(host))
    mapped = mapped_at(processes, [(host, port) for _, port in alive])
    told = processes.last(host) if processes is not None else None
    expected = hosts.expected.get(host, Expected())
    return {
        "host": host_text(host),
        "status": standing.status,
        "missing": list(standing.missing),
        "unexpected": list(standing.unexpected),
        "maintenance": expected.maintenance,
        "servers": sorted(map(port_text, alive)),
        "commands": {
            port_text(port): mapped[host, port[1]].command
            for port in alive
            if (host, port[1]) in mapped
        },
        "proc_servs": [
            {
                "port": each.port or None,
                "command": each.process.command,
                "directory": each.process.directory,
            }
            for each in (processes.proc_servs(host) if processes is not None else ())
        ],
        "processes_told": _time(told.time) if told is not None else None,
        "processes_complete": told.complete if told is not None else None,
        "applications": sorted(each.key for each in hosts.applications.running(host)),
        "expected_applications": sorted(expected.applications),
        "expected_ports": sorted(map(port_text, expected.ports)),
        "ignored": sorted(
            item if isinstance(item, str) else port_text(item) for item in expected.ignored
        ),
    }


def standing_of(hosts: Hosts, host: int) -> Standing:
    """How a host stands, as it was judged last."""
    return hosts.standing.get(host) or hosts.told.get(host) or Standing("NO_DATA")


def known_hosts(hosts: Hosts) -> list[int]:
    """All hosts of which anything is known or expected, in their order."""
    found = {application.beat.host for application in hosts.applications.known.values()}
    found |= {server.host for server in hosts.beacons.servers.values()}
    return sorted(found | hosts.expected.keys())


def client_row(sources: Sources, number: int) -> Row:
    """A source of searches; number 0 stands for all for which there was no room."""
    key = int(sources.keys[number])
    return {
        "source": place_text(key >> 16, key & 0xFFFF),
        "class": sources.classes.names[sources.classed[number]],
        "first": _time(sources.first[number]),
        "last": _time(sources.last[number]),
        "datagrams": int(sources.datagrams[number]),
        "requests": int(sources.requests[number]),
        "invalid": int(sources.invalid[number]),
    }


def gateway_row(name: str, join: Join) -> Row:
    """A gateway: does it report, what has been missed, and how wrong its clock is."""
    return {
        "gateway": name,
        "state": "LIVE" if join.live else "ENDED" if join.finished else "BLIND",
        "networks": list(join.networks),
        "left_out": list(join.left_out),
        "boot": join.boot,
        "number": join.number,
        "ended": _time(join.ended),
        "listening_since": _time(join.listening) if join.live else None,
        "blind_since": None if join.live else _time(join.ended),
        "summaries_missed": join.missed,
        "clock_offset": _number(-join.clock.measured),
        "clock_corrected": _number(join.clock.behind),
        "counters": dict(join.counters),
    }


def polling_row(polling: Polling) -> Row:
    """How polling stands."""
    progress = polling.progress
    return {
        "enabled": polling.enabled,
        "running": polling.running,
        "rounds": polling.rounds,
        "outstanding": polling.outstanding,
        "round": progress and vars(progress),
    }


def event_row(event: Event) -> Row:
    """An event: what happened, why we say so, and what we saw."""
    row: Row = {
        "time": event.time,
        "subject": subject_of(type(event)),
        "kind": event.kind,
        "cause": event.cause,
        "protocol": protocol_text(getattr(event, "protocol", 0)),
        "host": host_text(host) if (host := getattr(event, "host", 0)) else None,
        "port": getattr(event, "port", 0) or None,
        "name": None,
        "evidence": {key: _plain(value) for key, value in event.evidence.items()},
    }
    if isinstance(event, PvEvent):
        row["name"] = name_text(event.name)
    elif isinstance(event, PvsEvent):
        row |= {"count": event.count, "examples": [name_text(each) for each in event.examples]}
    elif isinstance(event, ApplicationEvent):
        row["name"] = event.key
    return row


def _time(value: float) -> float | None:
    """A time of which 0 and NaN mean none."""
    return _number(value) or None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(value: object) -> int | float | str | None:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return _number(value)
    return value if isinstance(value, int | str) else str(value)
