"""A PV monitor without OCS, and a gateway that tells it what a test wants.

Run as a program it is a monitor that is told many things, to be killed: see `main`.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from socs.db.engine import Database
from socs.db.registrar import RowConstants
from socs.epics.knowledge.knowledge import KnowledgeSettings
from socs.epics.monitor.monitor import PvMonitor, PvMonitorSettings
from socs.epics.monitor.store import StoreSettings
from socs.epics.store.history import Place, select_events
from socs.epics.summary import ANSWERS, CA_BEACONS, REQUESTS, SOURCES, Found, Summary, encode
from socs.epics.track.events import CA, Event
from socs.epics.track.settings import TrackSettings

GATEWAY = "pv-gateway"
IOC, OTHER, READER = 0x0A000001, 0x0A000002, 0x0A000009


class Talker:
    """A gateway of a boot of its own; its clock is the true one."""

    def __init__(self, name: str = GATEWAY, boot: str = "boot") -> None:
        self.name, self.boot = name, boot
        self._numbers = itertools.count()
        self._names: dict[bytes, int] = {}
        self._ended = time.time()
        self._totals = {"requests": 0, "datagrams": 0}

    def message(
        self,
        *,
        requests: Mapping[bytes, int] | None = None,
        answers: Sequence[tuple[bytes, int, int]] = (),
        beacons: Sequence[tuple[int, int, int]] = (),
        found: Sequence[Found] = (),
        last: bool = False,
    ) -> dict[str, Any]:
        """The next message: names and how often `READER` asks for each, ``(name, host, port)`` of
        answers, ``(host, port, id)`` of beacons.
        """
        requests = requests or {}
        began, self._ended = self._ended, max(time.time(), self._ended)
        first = len(self._names)
        for name in (*requests, *(name for name, _, _ in answers)):
            self._names.setdefault(name, len(self._names))
        asked = [(self._names[name], 0, count) for name, count in requests.items()]
        total = sum(requests.values())
        self._totals = {
            "requests": self._totals["requests"] + total,
            "datagrams": self._totals["datagrams"] + bool(asked),
        }
        at = self._ended
        told = [(self._names[name], CA, h, p, h, b"\0" * 12, at) for name, h, p in answers]
        return encode(
            Summary(
                *(self.name, self.boot, next(self._numbers), 1, began, self._ended),
                networks=("10.0.0.0/8",),
                last=last,
                first_name=first,
                names=tuple(self._names)[first:],
                requests=np.array(asked, REQUESTS),
                sources=np.array([(READER, 4711, 1, total)] if asked else [], SOURCES),
                answers=np.array(told, ANSWERS),
                ca_beacons=np.array([(at, h, n, 0, p, 13) for h, p, n in beacons], CA_BEACONS),
                found=tuple(found),
                totals=self._totals,
            )
        )


def settings(directory: Path, **changed: Any) -> PvMonitorSettings:
    """All in ``directory``; ``changed`` are settings of the store."""
    knowledge = KnowledgeSettings(TrackSettings(("10.0.0.0/8",)), gateways=(GATEWAY,))
    return PvMonitorSettings(
        gateways=(GATEWAY,),
        knowledge=knowledge,
        store=StoreSettings(
            directory / "state",
            changed.pop("folder", directory / "snapshots"),
            RowConstants("site", "pv-monitor", settle=0.0),
            **changed,
        ),
    )


@contextmanager
def running(directory: Path, environ: Mapping[str, str], **changed: Any) -> Iterator[PvMonitor]:
    """A monitor that has taken up what was known; ``told`` has its events, ``lines`` its log."""
    database = Database(environ, statement_timeout=5)
    told: list[Event] = []
    wishes: list[Any] = []
    lines: list[str] = []
    monitor = PvMonitor(
        settings(directory, **changed),
        database,
        on_events=told.extend,
        on_wishes=wishes.extend,
        report=lines.append,
    )
    monitor.told, monitor.wished, monitor.lines = told, wishes, lines  # type: ignore[attr-defined]
    monitor.start()
    try:
        assert monitor.wait_ready(30), lines
        yield monitor
    finally:
        monitor.close()
        database.close()


def stored(environ: Mapping[str, str]) -> list[Event]:
    """All events in the database, in the order in which they came into it."""
    database = Database(environ)
    found = []
    try:
        place: Place | None = None
        while True:
            page = select_events(database, most=1000, after=place)
            found += page.events
            place = page.next
            if place is None:
                return [each.event for each in sorted(found)]
    finally:
        database.close()


def main(directory: str) -> None:
    """A monitor to be killed: each line on stdin is a name that a server answers for.

    It prints each event as ``KIND name`` when it was told.
    """
    import os  # noqa: PLC0415

    database = Database(os.environ)
    monitor = PvMonitor(
        settings(Path(directory)),
        database,
        on_events=lambda events: print(
            *(f"{each.kind} {getattr(each, 'name', b'').decode()}" for each in events),
            sep="\n",
            flush=True,
        ),
    )
    monitor.start()
    monitor.wait_ready(30)
    print("ready", flush=True)
    talker = Talker(boot=f"boot-{os.getpid()}")
    for line in sys.stdin:
        word, _, name = line.strip().partition(" ")
        if word == "snapshot":
            monitor.snapshot_now()
            print("snapshot", flush=True)
        else:
            message = talker.message(answers=[(name.encode(), IOC, 5064)], beacons=[(IOC, 5064, 9)])
            monitor.put(GATEWAY, message, time.time())


if __name__ == "__main__":
    main(sys.argv[1])
