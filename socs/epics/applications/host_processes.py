"""What serves at the TCP ports of hosts, as applications tell it: in heartbeats, and when asked.

An application that is run by root knows the processes of its whole host, another one those of its
user. So what each told is kept beside what others did, and of a port the last one is believed. A
server that started anew may be another program: nothing is said of its port until it is told again.

An application tells a key of its own, and its host's processes tell one that is made of a command
line. These differ where a start-up file is called otherwise each time, or a directory is a link. So
a process is taken for an application by its number, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from socs.epics.applications import netstat
from socs.epics.applications.netstat import Process, ProcServ, same_each_time
from socs.epics.decode.alive import Alive
from socs.epics.decode.heartbeat import Heartbeat, identity
from socs.epics.track.applications import Application, Applications

MOST_KEPT = 50_000  # ports and procServ processes, of all hosts

Place = tuple[int, int]  # host, TCP port


@dataclass(frozen=True)
class Mapped:
    """What serves at a port.

    Attributes:
        command, directory: of its process.
        key: see `.netstat.Process.identity`; that of its heartbeats, if it sends any.
        application: what it is known by in the list of applications; empty if it is not there.
    """

    command: str
    directory: str
    key: int
    application: str = ""


@dataclass(frozen=True)
class Reading:
    """What one application told of its host.

    Attributes:
        time: when, UNIX [s].
        complete: it told all that it knows.
        ports: which process serves where.
        proc_servs: see :class:`socs.epics.applications.netstat.ProcServ`.
        unread: lines that are not known to us.
    """

    time: float
    complete: bool
    ports: dict[int, Process]
    proc_servs: tuple[ProcServ, ...]
    unread: int

    @property
    def size(self) -> int:
        """How much of it is kept."""
        return len(self.ports) + len(self.proc_servs)


class HostProcesses:
    """What serves where.

    Args:
        applications: those that send heartbeats.

    Attributes:
        readings: by host and key of the application that told it, the oldest first.
    """

    def __init__(self, applications: Applications) -> None:
        self.readings: dict[int, dict[str, Reading]] = {}
        self._applications = applications
        self._kept = 0

    def take(
        self, host: int, teller: str, lines: Iterable[str], time: float, *, complete: bool
    ) -> Reading:
        """An application told lines of its host; what was read in them.

        If these are not all, what it told before and does not tell now is kept.
        """
        told = netstat.read(lines)
        ports = told.applications()
        proc_servs = {(each.port, each.process.pid): each for each in told.proc_servs()}
        before = self._drop(host, teller)
        if before is not None and not complete:
            ports = before.ports | ports
            proc_servs = {(e.port, e.process.pid): e for e in before.proc_servs} | proc_servs
        reading = Reading(time, complete, ports, tuple(proc_servs.values()), told.unread)
        self.readings[host] = {**self.readings.pop(host, {}), teller: reading}
        self._kept += reading.size
        while self._kept > MOST_KEPT and len(self.readings) > 1:
            first = next(iter(self.readings))
            for other in list(self.readings[first]):
                self._drop(first, other)
        return reading

    def started(self, host: int, port: int) -> None:
        """A server started there, which may be another program than before."""
        for reading in self.readings.get(host, {}).values():
            if reading.ports.pop(port, None) is not None:
                self._kept -= 1

    def last(self, host: int) -> Reading | None:
        """What was told of a host last."""
        readings = self.readings.get(host)
        return max(readings.values(), key=lambda each: each.time) if readings else None

    def proc_servs(self, host: int) -> list[ProcServ]:
        """The procServ processes of a host, by the ports of their consoles."""
        found: dict[tuple[int, int], ProcServ] = {}
        for reading in self.readings.get(host, {}).values():
            found |= {(each.port, each.process.pid): each for each in reading.proc_servs}
        return [found[key] for key in sorted(found)]

    def of(self, places: Iterable[Place]) -> dict[Place, Mapped]:
        """What serves at these, as far as it is known."""
        wanted = set(places)
        running = self._running({host for host, _ in wanted})
        found = ((place, self._of(place, running.get(place[0], ()))) for place in wanted)
        return {place: mapped for place, mapped in found if mapped is not None}

    def _drop(self, host: int, teller: str) -> Reading | None:
        readings = self.readings.get(host, {})
        reading = readings.pop(teller, None)
        if reading is not None:
            self._kept -= reading.size
        if not readings:
            self.readings.pop(host, None)
        return reading

    def _running(self, hosts: set[int]) -> Mapping[int, Sequence[Application]]:
        """Applications that send heartbeats as JSON, by host; who was heard last is first."""
        found: dict[int, list[Application]] = {}
        for app in self._applications.known.values():
            if app.state == "ALIVE" and app.beat.host in hosts and isinstance(app.told, Heartbeat):
                found.setdefault(app.beat.host, []).append(app)
        for apps in found.values():
            apps.sort(key=lambda each: each.heard, reverse=True)
        return found

    def _of(self, place: Place, running: Sequence[Application]) -> Mapped | None:
        host, port = place
        process = self._process(host, port)
        if process is None:
            app = next((each for each in running if each.beat.port == port), None)
        else:
            app = _same(process, port, running)
        told = app.told if app is not None else None
        if isinstance(told, Heartbeat) and app is not None:
            command = f"{told.image} {told.command}".strip()
            command, directory = (command, told.directory) if process is None else _words(process)
            return Mapped(command, directory, told.identity(host), app.key)
        return None if process is None else Mapped(*_words(process), process.identity(host))

    def _process(self, host: int, port: int) -> Process | None:
        readings = self.readings.get(host, {}).values()
        those = [each for each in readings if port in each.ports]
        return max(those, key=lambda each: each.time).ports[port] if those else None


def _words(process: Process) -> tuple[str, str]:
    return process.command, process.directory


def _same(process: Process, port: int, running: Sequence[Application]) -> Application | None:
    """The application that a process is."""
    by_rank = [(rank, app) for app in running if (rank := _rank(process, port, app.told))]
    return max(by_rank, key=lambda each: each[0])[1] if by_rank else None


def _rank(process: Process, port: int, told: Heartbeat | Alive) -> int:
    """How sure it is that a heartbeat is of this process, which listens at ``port``; 0: it is not.

    A number alone says nothing: an application in a container has one of its own.
    """
    if not isinstance(told, Heartbeat):
        return 0
    command = same_each_time(f"{told.image} {told.command}")
    alike = identity(command, told.directory, 0) == process.identity(0)
    if told.pid != process.pid:
        return int(alike)
    return 2 * (alike or told.port == port or told.directory == process.directory)
