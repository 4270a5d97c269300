"""EPICS in the demo: two IOCs, a client, the gateway that hears them, and the monitor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from socs.cli.demo.directory import DemoDirectory
from socs.cli.demo.part import Comparison, StartChild
from socs.cli.demo.watch import NO_ANSWER, RateMeter, Status, Verifier
from socs.sim.iocs import BROADCAST, EpicsSite, Kind
from socs.sim.site import AgentInstance, Site

GATEWAY, MONITOR = "pv-gateway", "pv-monitor"
FAULT = "epics-ioc"
STEADY, DOOMED = "ioc1", "ioc2"  # IOCs; the second is killed to show a fault
CLIENT = "client"
KINDS: tuple[Kind, ...] = ("float", "int", "string", "enum", "waveform")
EACH = 10  # process variables of each IOC
MISSING = "NOT:THERE"  # asked for, and served by nobody
POLL_PERIOD = 4.0  # s
LOOK_PERIOD = 1.0  # s between looks at all process variables
FAULT_AFTER = 4.0  # s from the start of the source
WHO_TIMEOUT = 60.0  # s
LOOPBACK = "127.0.0.0/8"
NEEDED = ("softioc", "epicscorelibs")

Row = Mapping[str, Any]


def missing() -> str | None:
    """Why there is no EPICS; None if there can be."""
    absent = [name for name in NEEDED if find_spec(name) is None]
    if absent:
        return f"no EPICS, as there is no {absent[0]}: pip install 'socs[demo]'"
    return None


@dataclass(frozen=True)
class EpicsNumbers:
    """What is known of EPICS at one moment.

    Attributes:
        served: process variables of IOCs that run.
        online: of these, told to be online at the address of their IOC.
        killed: process variables of the IOC that was killed.
        lost: of these, told to be lost.
        unserved: names that clients ask for and nobody serves.
        never_seen: of these, told so, with the host of a client.
        requests: searches that were heard.
        rate: of these per second, of late.
        servers: servers that the monitor knows by their beacons.
        files, archived: snapshots in the files table; those archived.
        wrong: snapshots with another md5 than their row.
        unaccounted: what the monitor cannot account for.
        troubles: what gateway and monitor say is wrong.
        answers: whether the monitor answers OCS clients.
        who: what ``socs epics who`` said; a line for each name.
        refused: why it did not.
    """

    served: int = 0
    online: int = 0
    killed: int = 0
    lost: int = 0
    unserved: int = 0
    never_seen: int = 0
    requests: int = 0
    rate: float = 0.0
    servers: int = 0
    files: int = 0
    archived: int = 0
    wrong: int = 0
    unaccounted: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()
    answers: bool = False
    who: tuple[str, ...] = ()
    refused: str = ""

    def line(self) -> list[str]:
        """Pieces of a line of text."""
        return [
            f"EPICS: PVs online {self.online}",
            f"lost {self.lost}",
            f"never seen {self.never_seen}",
            *self.troubles,
        ]

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of the live table: name, value, explanation."""
        return [
            ("EPICS", f"{self.rate:.1f}/s", "searches heard by the gateway"),
            ("PVs online", str(self.online), f"{self.servers} servers by their beacons"),
            ("PVs lost", str(self.lost), f"{self.never_seen} asked for, served by nobody"),
            *(("trouble", "", trouble) for trouble in self.troubles),
        ]

    def comparisons(self) -> list[Comparison]:
        """What must agree at the end."""
        return [
            Comparison("PVs served by IOCs", self.served, "told online, and where", self.online),
            Comparison("PVs of a killed IOC", self.killed, "told lost", self.lost),
            Comparison("PVs served by nobody", self.unserved, "told never seen", self.never_seen),
            Comparison("snapshots of PVs", self.files, "archived, md5 verified", self.archived),
        ]

    def problems(self) -> list[str]:
        """Why the demo failed, beyond comparisons."""
        found = []
        if not self.served:
            found.append("no IOC serves anything")
        if not self.files:
            found.append("no snapshot of PVs was registered")
        if self.wrong:
            found.append(f"{self.wrong} snapshots do not have the md5 of their row")
        if self.unaccounted:
            found.append(f"the PV monitor cannot account for: {', '.join(self.unaccounted)}")
        if not self.answers:
            found.append("the PV monitor does not answer OCS clients")
        if self.refused:
            found.append(f"socs epics who: {self.refused}")
        elif not self.who:
            found.append("socs epics who was not asked")
        return found

    def sentence(self) -> str:
        """What was achieved, if all is as it must be."""
        lost = f", {self.lost} lost with their IOC" if self.killed else ""
        said = "".join(f"\n  socs epics who: {text}" for text in self.who)
        return f"{self.online} PVs told online at the right server{lost}{said}"

    def as_json(self) -> dict[str, Any]:
        """Fit for JSON."""
        lists = {name: list(getattr(self, name)) for name in ("unaccounted", "troubles", "who")}
        return {**vars(self), "rate": round(self.rate, 1), **lists}


class EpicsPart:
    """EPICS, from searches and answers to what is told of each process variable.

    Args:
        directory: of the demo.
        environment: of its agents.
        fault: kill an IOC.
    """

    name = "epics"

    def __init__(
        self, directory: DemoDirectory, environment: Mapping[str, str], *, fault: bool = False
    ) -> None:
        self._directory, self._fault_due = directory, fault
        self.registering: Mapping[str, str] = {MONITOR: str(directory.epics)}
        self._epics = EpicsSite(directory.site / "log")
        self._names = {ioc: self._named(ioc) for ioc in (STEADY, DOOMED)}
        self._missing = self._epics.prefix + MISSING
        self._site_file = ""
        self._gateway = self._monitor = Status(lambda: None)
        self._search: Callable[[], list[Row]] = list
        self._snapshot: Callable[[], Any] = lambda: None
        self._looked = 0.0
        self._rows: dict[str, Row] = {}
        self._verifier = Verifier(environment, directory.archive, MONITOR)
        self._meter = RateMeter()
        self._started: float | None = None
        self._who: tuple[str, ...] = ()
        self._refused = ""
        self._kept = False

    def _named(self, ioc: str) -> dict[str, Kind]:
        names = [f"{self._epics.prefix}{ioc.upper()}:{number}" for number in range(EACH)]
        return {name: KINDS[number % len(KINDS)] for number, name in enumerate(names)}

    def instances(self) -> Sequence[AgentInstance]:
        """The gateway and the monitor."""
        ports = [[f"--port-{use}", port] for use, port in self._epics.ports.by_use().items()]
        # Searches here are sent to all, so sockets take nothing from the IOCs.
        gateway = [*ports, ["--listen", "sockets"], ["--networks", LOOPBACK]]
        gateway += [["--search", "true"], ["--search-address", BROADCAST]]
        monitor = [
            ["--gateway", GATEWAY],
            ["--subnet", LOOPBACK],
            ["--search", "true"],
            ["--poll", "true"],
            ["--poll-period", POLL_PERIOD],
            ["--folder", str(self._directory.epics)],
        ]
        return [
            AgentInstance("PVGateway", GATEWAY, gateway),
            AgentInstance("PVMonitor", MONITOR, monitor),
        ]

    def prepare(self) -> None:
        """Start the IOCs.

        Raises:
            OurError: one did not start.
        """
        for ioc, names in self._names.items():
            self._epics.add(ioc, names)
        self._epics.start(*self._names)

    def looks(self, site: Site) -> Mapping[str, Callable[[], None]]:
        """The status of both agents, all process variables, and the monitor's rows."""
        self._site_file = str(site.site_file)
        client = site.client(MONITOR)
        self._gateway = Status(site.client(GATEWAY).listen.status)
        self._monitor = Status(client.monitor.status)

        def search() -> list[Row]:
            client.search.start(most=1000)
            rows: list[Row] = client.search.wait(timeout=10).session["data"]["rows"]
            return rows

        def snapshot() -> None:
            client.snapshot_now.start()
            client.snapshot_now.wait(timeout=10)

        self._search, self._snapshot = search, snapshot
        return {
            "epics-gateway": self._gateway.look,
            "epics": self._look,
            "epics-files": self._verifier.look,
        }

    def _look(self) -> None:
        self._monitor.look()
        if time.monotonic() < self._looked + LOOK_PERIOD:
            return
        self._looked = time.monotonic()
        try:
            self._rows = {row["name"]: row for row in self._search()}
        except (*NO_ANSWER, KeyError, TypeError):  # an answer without rows: not ready
            return

    def start(self, child: StartChild) -> None:
        """Have a client ask for everything, and for what is not there.

        Raises:
            OurError: it did not start.
        """
        names = [name for names in self._names.values() for name in names]
        self._epics.search(CLIENT, [*names, self._missing])
        self._started = time.monotonic()

    def watch(self) -> None:
        """Do what is due: the fault."""
        started = self._started
        if not self._fault_due or started is None or time.monotonic() < started + FAULT_AFTER:
            return
        if self._told(self._names[DOOMED], "ONLINE"):
            self._fault_due = False
            self._epics.kill(DOOMED)

    def stop(self) -> None:
        """Nothing: IOCs and clients go on until all is told."""

    def settled(self) -> bool:
        """Whether all is told and archived; has it written down when all is told."""
        numbers = self.numbers()
        if not self._kept:
            told = (numbers.online, numbers.lost, numbers.never_seen)
            if told != (numbers.served, numbers.killed, numbers.unserved):
                return False
            self._ask_who()
            if self._refused:
                return False
            try:
                self._snapshot()
            except NO_ANSWER:
                return False
            self._kept = True
        return 0 < numbers.files <= numbers.archived + numbers.wrong

    def _ask_who(self) -> None:
        """Ask as a user would: who serves a name of each IOC, and who asks for the missing one."""
        names = [next(iter(names)) for names in self._names.values()] + [self._missing]
        command = [sys.executable, "-m", "socs.cli.main", "epics", "who", "--json", *names]
        command += ["--site-file", self._site_file, "--monitor", MONITOR]
        self._refused = ""
        try:
            done = subprocess.run(  # noqa: S603  a program of ours
                command, capture_output=True, text=True, timeout=WHO_TIMEOUT, check=True
            )
            self._who = tuple(_sentence(json.loads(line)) for line in done.stdout.splitlines())
        except subprocess.CalledProcessError as error:
            self._refused = error.stderr.strip()[-500:] or f"status {error.returncode}"
        except (subprocess.TimeoutExpired, OSError, ValueError) as error:
            self._refused = str(error)

    def compare(self) -> None:
        """Ask, if that was not done because all was not told, or had no answer."""
        if not self._who:
            self._ask_who()

    def _told(self, names: Mapping[str, Kind], state: str) -> bool:
        return all(self._rows.get(name, {}).get("state") == state for name in names)

    def numbers(self) -> EpicsNumbers:
        """What is known now."""
        serving = self._epics.serving()
        at = {name: {f"{s.host}:{s.port}" for s in servers} for name, servers in serving.items()}
        killed = [name for names in self._names.values() for name in names if name not in at]
        rows, data = self._rows, self._monitor.data
        missing = rows.get(self._missing, {})
        measures = data.get("measures", {})
        requests = sum(row["requests"] for row in rows.values())
        online = [
            name
            for name, places in at.items()
            if (row := rows.get(name, {})).get("state") == "ONLINE" and row["server"] in places
        ]
        troubles = [*self._gateway.data.get("troubles", ()), *data.get("troubles", ())]
        return EpicsNumbers(
            served=len(at),
            online=len(online),
            killed=len(killed),
            lost=sum(rows.get(name, {}).get("state") == "LOST" for name in killed),
            unserved=1,
            never_seen=int(missing.get("state") == "NEVER_SEEN" and missing["requests"] > 0),
            requests=requests,
            rate=self._meter.rate(requests, time.monotonic()),
            servers=measures.get("servers_alive", 0),
            files=self._verifier.registered,
            archived=self._verifier.archived,
            wrong=self._verifier.wrong,
            unaccounted=tuple(data.get("unaccounted", ())),
            troubles=tuple(troubles),
            answers=self._monitor.fresh,
            who=self._who,
            refused=self._refused,
        )

    def close(self) -> None:
        """End IOCs and clients."""
        self._epics.close()
        self._verifier.close()


def _sentence(known: Row) -> str:
    """``X is ONLINE, served by CA 127.0.0.1:5064, asked for by 127.0.0.1:4711``."""
    last = "last " if known["state"] == "LOST" else ""
    served = f", {last}served by {known['protocol']} {known['server']}" if known["server"] else ""
    asking = ", ".join(row["source"] for row in known["requesters"]) or "nobody"
    return f"{known['name']} is {known['state']}{served}, asked for by {asking}"
