"""Who is polled: the servers that the names mean, each with its worker. Used by the main thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tango

from socs.tango.polling.calls.directory import Directory, Looked, default_authority
from socs.tango.polling.calls.lane import Lane
from socs.tango.polling.calls.worker import Ready, ServerWorker
from socs.tango.polling.messages import Configure, DatabaseState, FromChild, Known, encode
from socs.tango.polling.patterns import Pattern, parse_pattern, server_name

SETTLE_TIME = 3.0  # s after which polling begins, whatever cannot be looked up or connected to


class Members:
    """The servers that are polled.

    Args:
        threads_tell: gets what threads find; called by them.
        send: sends a message to the parent.

    Attributes:
        settings: the last ones.
        workers: of the servers that are polled.
        lane: asks those that answer at once.
        monitored: servers whose new workers are to switch performance monitoring on.
    """

    def __init__(
        self, threads_tell: Callable[[Any], None], send: Callable[[FromChild], None]
    ) -> None:
        self.settings = Configure([], 1.0, 1.0, 1.0, 0)
        self.workers: dict[str, ServerWorker] = {}
        self.lane = Lane(threads_tell, tango.EnsureOmniThread)
        self.monitored: frozenset[str] = frozenset()
        self._threads_tell, self._send = threads_tell, send
        self._directories: dict[str, Directory] = {}  # by what their servers are called by
        self._looked: dict[str, Looked] = {}
        self._asked: set[str] = set()  # directories that have looked, whatever came of it
        self._silent: dict[str, tuple[float, str]] = {}  # since when, and why
        self._found = 0
        self._began = time.monotonic()
        self._told = b""

    def configure(self, settings: Configure) -> None:
        """Take other settings.

        Until the database has been asked, workers stay of servers that may be meant.
        """
        self.settings = settings
        for directory in self._directories.values():
            directory.end()
        before = {host: directory.found for host, directory in self._directories.items()}
        self._directories, self._silent = {}, {}
        self._looked, self._asked = {}, set()
        self._began = time.monotonic()
        patterns: dict[str, list[Pattern]] = {}
        for pattern in map(parse_pattern, settings.names):
            patterns.setdefault(default_authority(pattern.authority), []).append(pattern)
        for authority, some in patterns.items():
            found = before.get(authority, {})
            self._directories[authority] = self._new_directory(authority, some, found)
            named = [server_name(authority, p.path) for p in some if p.kind == "server"]
            stay = [name for name in self.workers if _may_be_meant(name, authority, some)]
            servers = dict.fromkeys([*named, *stay])
            self._looked[authority] = Looked(authority, tuple(servers))
        self._populate()

    def _new_directory(
        self,
        authority: str,
        patterns: list[Pattern],
        found: Mapping[Pattern, frozenset[str]] | None = None,
    ) -> Directory:
        period = self.settings.directory_period
        return Directory(authority, patterns, period, self._threads_tell, found)

    def directory(self, server: str) -> Directory:
        """The directory of the database that a server is in."""
        authority = authority_of(server)
        if authority not in self._directories:
            self._directories[authority] = self._new_directory(authority, [])
        return self._directories[authority]

    def take_looked(self, looked: Looked) -> None:
        """A database was looked into, or did not answer."""
        host = looked.host
        if self._directories.get(host) is not looked.directory:
            return  # of settings before
        self._asked.add(host)
        if looked.reason:
            since = self._silent.get(host, (looked.begun, ""))[0]
            self._silent[host] = since, looked.reason
        else:
            self._silent.pop(host, None)
            self._looked[host] = looked
        self._populate()

    def take_ready(self, ready: Ready) -> None:
        """A worker has tried to connect."""
        if ready.server in self.workers:
            self.workers[ready.server].ready = True
            self.tell()

    def _populate(self) -> None:
        """Have a worker for each server that is meant, as far as there is room."""
        found = dict.fromkeys(name for each in self._looked.values() for name in each.servers)
        known = [name for name in self.workers if name in found]
        fresh = [name for name in found if name not in self.workers]
        keep = (known + fresh)[: self.settings.max_servers]
        self._found = len(found)
        for name in self.workers.keys() - set(keep):
            self.workers.pop(name).end()
        for name in keep:
            if name not in self.workers:
                self.workers[name] = worker = self.new_worker(name)
                worker.monitors = name in self.monitored
        self.tell()

    def new_worker(self, server: str) -> ServerWorker:
        """A worker; it is not polled by that."""
        directory = self.directory(server)
        path = server.removeprefix(f"tango://{directory.host}/")
        return ServerWorker(
            server,
            directory.device(path),
            lambda: directory.identify(path),
            self._threads_tell,
            timeout=self.settings.timeout,
            ping_timeout=self.settings.ping_timeout,
        )

    def tell(self) -> None:
        """Tell the parent who is polled, if that is not what was told last."""
        if not self.settings.max_servers:
            return  # not configured yet
        now = time.monotonic()
        settled = self._looked.keys() <= self._asked
        settled &= all(worker.ready for worker in self.workers.values())
        known = Known(
            list(self.workers),
            settled or now > self._began + SETTLE_TIME,
            self._found - len(self.workers),
            [name for each in self._looked.values() for name in each.unresolved],
            [self._database(directory, now) for directory in self._directories.values()],
        )
        frame = encode(known)
        if frame != self._told:
            self._told = frame
            self._send(known)

    def _database(self, directory: Directory, now: float) -> DatabaseState:
        """A database that takes longer than the time-out is silent already."""
        if directory.host in self._silent:
            return DatabaseState(directory.title, *self._silent[directory.host])
        since = directory.looking_since
        if since is not None and now - since > self.settings.timeout:
            return DatabaseState(directory.title, since, "no answer")
        return DatabaseState(directory.title)


def _may_be_meant(server: str, authority: str, patterns: Iterable[Pattern]) -> bool:
    path = server.removeprefix(f"tango://{authority}/")
    same = authority_of(server) == authority
    return same and any(pattern.may_mean(path) for pattern in patterns)


def authority_of(server: str) -> str:
    """The database that the full name of a server tells; "" if it tells none."""
    return server.removeprefix("tango://").partition("/")[0] if "://" in server else ""
