"""What capture files tell of EPICS: rows of plain values, made of what is known at their end."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from socs import counters as c
from socs.cli.epics_capture import Capture
from socs.counters import imbalances
from socs.epics import rows
from socs.epics.accounts.inventory import Inventory
from socs.epics.accounts.servers import server_of_key
from socs.epics.knowledge.knowledge import Knowledge
from socs.epics.rows import Row
from socs.epics.track.events import PvEvent, subject_of
from socs.epics.track.pvs import STATES

SOURCES_SHOWN = 3  # of those that ask for a name
CONSERVATION = (
    *c.PCAP_CONSERVATION,
    *c.EPICS_GATHERING_CONSERVATION,
    *c.EPICS_KNOWLEDGE_CONSERVATION,
)


def report_of(capture: Capture, top: int) -> Row:
    """All that is told, fit for JSON.

    Args:
        capture: read to its end.
        top: rows of each list that is ranked.
    """
    known = capture.knowledge
    assert known is not None
    seconds = max(capture.ended - capture.began, 0.0)
    counters = capture.counters.snapshot() | known.numbers()
    return {
        "files": [str(path) for path in capture.paths],
        "began": capture.began,
        "ended": capture.ended,
        "totals": _totals(known, counters, seconds),
        "servers": servers(known),
        "applications": [
            rows.application_row(each, capture.ended) for each in known.applications.known.values()
        ],
        "answers_heard": counters["answers_heard"],
        "never_answered": never_answered(known.inventory, seconds, top),
        "duplicates": duplicates(capture, known),
        "clients": clients(known.inventory, seconds, top),
        "events": [rows.event_row(event) for event in capture.events],
        "events_left_out": capture.events_left_out,
        "kinds": [
            {"subject": subject_of(each), "kind": kind, "count": count}
            for (each, kind), count in sorted(
                capture.kinds.items(), key=lambda item: (item[0][0].__name__, item[0][1])
            )
        ],
        "counters": counters,
        "unaccounted": imbalances(counters, CONSERVATION),
        "faults": dict(sorted(capture.faults.items())),
        "cut_off": capture.cut_off,
        "damaged": capture.damaged,
    }


def _totals(known: Knowledge, counters: dict[str, int], seconds: float) -> Row:
    states = known.pvs.totals()
    requests = counters["ca_requests"] + counters["pva_requests"]
    return {
        "seconds": seconds,
        "packets": counters["pcap_packets"],
        "datagrams": counters["pcap_datagrams"],
        "requests": requests,
        "requests_per_s": requests / seconds if seconds else None,
        "names": len(known.inventory),
        "never_answered": len(unanswered(known.inventory)),
        **{state.lower(): count for state, count in states.items()},
        "clients": len(known.inventory.sources),
        "servers": len(servers(known)),
        "applications": len(known.applications.known),
        "beacons": counters["beacons_taken"],
        "heartbeats": counters["heartbeats_taken"],
    }


def servers(known: Knowledge) -> list[Row]:
    """Servers that sent beacons or answered, with how many names they answered for."""
    inventory = known.inventory
    keys = inventory.servers.keys[: inventory.end]
    answered, amounts = np.unique(keys[keys != 0], return_counts=True)
    pvs = dict(zip(map(server_of_key, answered.tolist()), amounts.tolist(), strict=True))
    found = []
    for key in sorted(known.beacons.servers.keys() | pvs.keys()):
        protocol, host, port = key
        server = known.beacons.servers.get(key)
        row = {
            "protocol": rows.protocol_text(protocol),
            "server": rows.place_text(host, port),
            "state": "no beacons",
        }
        row |= rows.server_row(server) if server is not None else {}
        found.append({**row, "pvs": pvs.get(key, 0)})
    return found


def unanswered(inventory: Inventory) -> NDArray[np.int64]:
    """Numbers of the names that were asked for and that no server answered for."""
    end = inventory.end
    never = inventory.names.known[:end] & (inventory.answers[:end] == 0)
    return np.flatnonzero(never & (inventory.first_asked[:end] != 0))


def never_answered(inventory: Inventory, seconds: float, top: int) -> list[Row]:
    """Names that were asked for and that no server answered for; most clients first.

    ``more_clients``: there were more than are remembered for a name.
    """
    numbers = unanswered(inventory)
    asked = inventory.asked[: inventory.end].sum(axis=1)
    clients = np.count_nonzero(inventory.requesters.keys[numbers], axis=1)
    order = np.lexsort((-asked[numbers].astype(np.int64), -clients))[:top]
    return [
        {
            "name": rows.name_text(inventory.names.name(number)),
            "valid": bool(inventory.names.valid[number]),
            "clients": count,
            "more_clients": bool(inventory.requesters.displaced[number]),
            "requests": int(asked[number]),
            "per_s": int(asked[number]) / seconds if seconds else None,
            "sources": [
                rows.place_text(each.host, each.port)
                for each in inventory.requesters.of(number)[:SOURCES_SHOWN]
            ],
            "first_asked": float(inventory.first_asked[number]),
            "last_asked": float(inventory.last_asked[number]),
        }
        for number, count in zip(numbers[order].tolist(), clients[order].tolist(), strict=True)
    ]


def duplicates(capture: Capture, known: Knowledge) -> list[Row]:
    """Names for which several servers answered at the same time, now or earlier."""
    inventory = known.inventory
    state = inventory.state[: inventory.end] == STATES.index("DUPLICATE")
    numbers = set(np.flatnonzero(state).tolist())
    numbers |= {
        event.number
        for event in capture.events
        if isinstance(event, PvEvent) and event.kind == "DUPLICATE"
    }
    found = [rows.pv_info(known.pvs, number) for number in numbers]
    kept = ("name", "state", "servers", "requests", "changed")
    return sorted(({name: row[name] for name in kept} for row in found), key=lambda r: r["name"])


def clients(inventory: Inventory, seconds: float, top: int) -> list[Row]:
    """Who asked, the busiest first."""
    sources = inventory.sources
    numbers = np.arange(1, sources.end)
    order = np.argsort(-sources.requests[numbers].astype(np.int64), kind="stable")[:top]
    found = [rows.client_row(sources, number) for number in numbers[order].tolist()]
    return [{**row, "per_s": row["requests"] / seconds if seconds else None} for row in found]
