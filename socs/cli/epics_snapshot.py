"""What a PV monitor knew when it wrote a snapshot, asked as a monitor is. Needs no router."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from socs.cli.epics_monitor import PAGE
from socs.epics import rows
from socs.epics.accounts.inventory import Inventory, InventoryLimits
from socs.epics.accounts.snapshot import Columns
from socs.epics.accounts.sources import CLIENT, SourceClasses
from socs.epics.monitor.asked_values import Paging, one_of
from socs.epics.monitor.pv_search import PvFilters, PvSearch
from socs.epics.monitor.turns import Turns
from socs.epics.rows import Row
from socs.epics.store import snapshot_file
from socs.epics.store.snapshots import Snapshots, SnapshotSettings, take_up
from socs.epics.store.trackers import Trackers
from socs.epics.track.applications import Applications
from socs.epics.track.beacons import Beacons
from socs.epics.track.coverage import Coverage
from socs.epics.track.hosts import Hosts
from socs.epics.track.pvs import Pvs
from socs.epics.track.settings import TrackSettings
from socs.errors import ConfigError, Malformed, PeerError

ANY = ("0.0.0.0/0",)
NOBODY = ("255.255.255.255",)  # which no search comes from


class SnapshotAsked:
    """Answers as :class:`~socs.cli.epics_monitor.Monitor` does, for the moment of a snapshot.

    Events are not in it, nor is what people expect, and of sources it does not tell the class.

    Args:
        path: of the file; or a folder with snapshots, of which the newest one is taken.

    Attributes:
        moment: when it was written, UNIX time [s].

    Raises:
        ConfigError: there is none, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        try:
            found = self._newest(path) if path.is_dir() else self._take(snapshot_file.read(path))
        except (PeerError, KeyError) as error:
            raise ConfigError(f"--snapshot: {error}") from error
        if found is None:
            raise ConfigError(f"--snapshot: no snapshot that is whole is in {path}")
        self._inventory, self._trackers, self.moment = found
        settings = TrackSettings(ANY)
        self._pvs = Pvs(self._inventory, settings, Coverage(-math.inf))
        self._search = PvSearch(self._pvs, Turns(), self._inventory.forget)
        self._lists: dict[str, Callable[[], Iterator[Row]]] = {
            "servers": self._servers,
            "applications": self._applications,
            "hosts": self._hosts,
            "clients": self._clients,
        }

    @staticmethod
    def _newest(folder: Path) -> tuple[Inventory, Trackers, float] | None:
        snapshots = Snapshots(SnapshotSettings(folder), report=lambda text: None)
        return snapshots.restore(SnapshotAsked._take, time.time())

    @staticmethod
    def _take(columns: Columns) -> tuple[Inventory, Trackers, float]:
        try:
            limits = InventoryLimits(
                names=max(len(columns["name_lengths"]), 1),
                requesters=columns["requesters_keys"].shape[1],
                servers=columns["servers_keys"].shape[1],
            )
            classes = [str(name) for name in columns["classes"].tolist() if name != CLIENT]
        except (KeyError, IndexError, TypeError) as error:
            raise Malformed(f"this is no snapshot: {error}", "snapshot_malformed") from error
        inventory = Inventory(
            limits,
            classes=SourceClasses(dict.fromkeys(classes, NOBODY)),
            secret=secrets.randbits(64),
        )
        sight, settings = Coverage(-math.inf), TrackSettings(ANY)
        beacons, applications = Beacons(settings, sight), Applications(settings, sight)
        hosts = Hosts(beacons, applications, sight, settings)
        trackers = Trackers(beacons, applications, hosts, inventory.sources)
        return inventory, trackers, take_up(columns, inventory, trackers)

    def ask(self, task: str, **params: Any) -> Row:
        """What the Task of this name would have told; of lists other than ``search``, all rows.

        Raises:
            NotAllowed: the name is not known.
            Malformed: a value cannot be meant.
            ConfigError: a snapshot does not have that.
        """
        if task == "pv_info":
            return self._search.pv_info(params["name"])
        if task == "search":
            return self._found(**params)
        make = self._lists[one_of(task, self._lists, "what")]
        wanted = {name: value for name, value in params.items() if value is not None}
        listed = [row for row in make() if wanted.items() <= row.items()]
        return {"total": len(listed), "start": 0, "rows": listed}

    def _found(
        self,
        pattern: str = "*",
        start: int = 0,
        most: int = PAGE,
        group: str | None = None,
        **filters: Any,
    ) -> Row:
        if group is not None:
            raise ConfigError("--group: groups are not in a snapshot")
        paging = Paging(start, most)
        return self._search.search(pattern, PvFilters(**filters), paging, self.moment)

    def pages(self, task: str, **params: Any) -> Iterator[Row]:
        """Page after page of a list."""
        start = 0
        while True:
            paging = {"start": start, "most": PAGE} if task == "search" else {}
            page = self.ask(task, **paging, **params)
            yield page
            start += len(page["rows"])
            if not page["rows"] or start >= page["total"]:
                return

    def _servers(self) -> Iterator[Row]:
        yield from (
            rows.server_row(each) for _, each in sorted(self._trackers.beacons.servers.items())
        )

    def _applications(self) -> Iterator[Row]:
        for application in self._trackers.applications.known.values():
            yield rows.application_row(application, self.moment)

    def _hosts(self) -> Iterator[Row]:
        hosts = self._trackers.hosts
        yield from (rows.host_row(hosts, host) for host in rows.known_hosts(hosts))

    def _clients(self) -> Iterator[Row]:
        sources = self._trackers.sources
        for number in range(1, sources.end):
            row = rows.client_row(sources, number)
            yield row | {"host": str(row["source"]).rpartition(":")[0], "class": None}
