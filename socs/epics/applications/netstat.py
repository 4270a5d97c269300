"""Which process of a host listens at which TCP port, from the lines that an application tells.

::

    build: 7
    tcp: 0: 00000000:13C8 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1
    pid: 77 socket:[4242]
    pid: 77 cmdline: ./bin/linux-x86_64/demo st.cmd
    pid: 77 cwd: /iocs/demo

So a server of which only the beacons are known, by its port, gets a command and a directory. An
application that is not run by root sees the processes of its own user only. Lines that say nothing
to us, or that cannot be read, are counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from socs.epics.decode.heartbeat import identity

MOST_LINES = 100_000
LONGEST_LINE = 2_048  # characters; of longer ones the beginning is read
LISTENING = "0A"  # state of a socket in the kernel's table
PROCSERV = "procserv"
NEW_EACH_TIME = re.compile(r"iocsh.startup")  # within names of temporary start-up files
SAME_EACH_TIME = "startup.iocsh"
DELETED = " (deleted)"

_PID = re.compile(
    r"pid: ([0-9]{1,10}) (?:(cmdline|cwd):?(?: (.*))?|socket:\[([0-9]{1,19})\])", re.ASCII
)
_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)
_PORT = re.compile(r"[0-9A-Fa-f]{8}:([0-9A-Fa-f]{4})", re.ASCII)
_INODE = re.compile(r"[0-9]{1,19}", re.ASCII)


@dataclass(frozen=True)
class Process:
    """One process.

    Attributes:
        pid: its number.
        command: its command line, words by blanks. A start-up file with a name that is another one
            after each start is called ``startup.iocsh``, as the peer does.
        directory: its working directory.
        ports: TCP ports at which it listens, in order.
    """

    pid: int
    command: str
    directory: str
    ports: tuple[int, ...]

    def identity(self, host: int) -> int:
        """As that of a heartbeat whose program and start-up file are this command."""
        return identity(self.command, self.directory, host)


@dataclass(frozen=True)
class ProcServ:
    """A procServ process, which keeps an application running.

    Attributes:
        process: itself.
        port: at which its console is reached by telnet; 0 if the command does not tell.
    """

    process: Process
    port: int


@dataclass(frozen=True)
class Netstat:
    """What runs on a host.

    Attributes:
        processes: of which anything is known, by number.
        build: how many times the application has read this, as it says; empty if it does not.
        lines: that were taken.
        unread: of these, lines that we do not know.
        beyond: further lines, which were not looked at.
    """

    processes: dict[int, Process]
    build: str
    lines: int
    unread: int
    beyond: int

    def applications(self) -> dict[int, Process]:
        """What serves at each TCP port; none where several different ones do.

        Processes with the same command and directory are one application; the first one is told.
        """
        by_port: dict[int, list[Process]] = {}
        for process in self.processes.values():
            for port in process.ports:
                by_port.setdefault(port, []).append(process)
        ones = ((port, _one_of(found)) for port, found in by_port.items())
        return {port: one for port, one in ones if one is not None}

    def proc_servs(self) -> list[ProcServ]:
        """The procServ processes, by the ports of their consoles."""
        found = [
            ProcServ(each, _console(each)) for each in self.processes.values() if _is_procserv(each)
        ]
        return sorted(found, key=lambda each: (each.port or 0x10000, each.process.pid))


@dataclass
class _Reading:
    """What the lines have told so far."""

    ports: dict[int, int] = field(default_factory=dict)  # by the inode of the socket
    sockets: dict[int, list[int]] = field(default_factory=dict)  # inodes by process
    commands: dict[int, str] = field(default_factory=dict)
    directories: dict[int, str] = field(default_factory=dict)
    build: str = ""

    def take(self, line: str) -> bool:
        """Take one line; is it one that we know."""
        kind, _, rest = line.partition(": ")
        if kind == "pid":
            return self._process(line)
        if kind == "tcp":
            return self._socket(rest)
        if kind == "build":
            self.build = rest
        return kind in {"build", "udp"}

    def _process(self, line: str) -> bool:
        matched = _PID.fullmatch(line)
        if matched is None:
            return False
        number, kind, text, inode = matched.groups(default="")
        pid = int(number)
        if inode:
            self.sockets.setdefault(pid, []).append(int(inode))
        elif kind == "cmdline":
            self.commands.setdefault(pid, same_each_time(text.strip()))
        else:
            self.directories.setdefault(pid, text.strip().removesuffix(DELETED))
        return True

    def _socket(self, rest: str) -> bool:
        columns = rest.split()
        if columns[:1] == ["sl"]:
            return True  # the head of the table
        if len(columns) < 10:
            return False
        port, inode = _PORT.fullmatch(columns[1]), _INODE.fullmatch(columns[9])
        if port is None or inode is None:
            return False
        if columns[3].upper() == LISTENING:
            self.ports[int(inode[0])] = int(port[1], 16)
        return True

    def processes(self) -> dict[int, Process]:
        """All of which anything is known, in the order of their numbers."""
        pids = sorted(self.commands.keys() | self.directories.keys() | self.sockets.keys())
        return {pid: self._of(pid) for pid in pids}

    def _of(self, pid: int) -> Process:
        inodes = self.sockets.get(pid, [])
        ports = sorted({self.ports[inode] for inode in inodes if inode in self.ports})
        command, directory = self.commands.get(pid, ""), self.directories.get(pid, "")
        return Process(pid, command, directory, tuple(ports))


def read(lines: Iterable[str]) -> Netstat:
    """What ``lines`` tell; any text is taken or counted."""
    reading = _Reading()
    taken = unread = beyond = 0
    for line in lines:
        if taken >= MOST_LINES:
            beyond += 1
            continue
        taken += 1
        unread += not reading.take(line[:LONGEST_LINE].strip())
    return Netstat(reading.processes(), reading.build, taken, unread, beyond)


def _one_of(found: Sequence[Process]) -> Process | None:
    """The first of some that are one application; None if they are several, or nameless."""
    kinds = {(each.command, each.directory) for each in found}
    return found[0] if len(kinds) == 1 and found[0].command else None


def same_each_time(command: str) -> str:
    """``command`` without the part of a start-up file's name that is drawn at each start."""
    words = command.split(" ")
    for at, word in enumerate(words):
        before, slash, path = word.partition("/")
        if slash and NEW_EACH_TIME.search(path):
            words[at] = before + SAME_EACH_TIME
    return " ".join(words)


def _is_procserv(process: Process) -> bool:
    words = process.command.split()
    return any(word.rpartition("/")[2].lower() == PROCSERV for word in words)


def _console(process: Process) -> int:
    """The last number that is a port of this process; else the last one that can be a port."""
    numbers = [int(word) for word in process.command.split() if _NUMBER.fullmatch(word)]
    numbers = [number for number in numbers if 0 < number <= 0xFFFF]
    own = [number for number in numbers if number in process.ports]
    return (own or numbers or [0])[-1]
