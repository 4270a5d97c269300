"""What a Tango database knows: which servers the names mean, and what tells their processes apart.

Only commands are called; all other calls of ``tango.Database`` hold Python's global lock. They are
made by the connection that Tango itself uses, which goes to the first host of ``TANGO_HOST`` that
can be reached. A database that hangs holds up the two threads here, nothing else.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import tango

from socs.errors import Malformed
from socs.tango.installed import VARIABLE, database_hosts
from socs.tango.polling.calls.caller import Caller, causes
from socs.tango.polling.failures import failure_of
from socs.tango.polling.patterns import ADMIN, Pattern, server_name

DEVICE = "sys/database/2"
REMEMBERED = 60.0  # s for which it is taken for granted which server a device is of


@dataclass(frozen=True)
class Looked:
    """What one look told, or the reason why it told nothing.

    Attributes:
        host: of the database.
        servers: full names of the servers that are meant.
        unresolved: names that nothing is found for.
        begun: when [s].
        directory: who looked.
    """

    host: str
    servers: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    reason: str = ""
    begun: float = 0.0
    directory: Directory | None = None


class Directory:
    """Looks into one database, again and again.

    Args:
        host: its ``host:port``, the first of several; "" for what Tango's own files say.
        patterns: what to find the servers of.
        period: between two looks [s].
        tell: gets a `Looked` after each look.
        found: servers that were found for some wildcards before.

    Attributes:
        title: what to call it for people: all its hosts.
        found: servers that were found for each wildcard, and are still in the database.
        looking_since: when the look under way began [s]; None between two looks.
        answered: when it last answered [s], or None.
    """

    def __init__(
        self,
        host: str,
        patterns: Iterable[Pattern],
        period: float,
        tell: Callable[[Any], None],
        found: Mapping[Pattern, frozenset[str]] | None = None,
    ) -> None:
        self.host = host
        self.looking_since: float | None = None
        self.answered: float | None = None
        # A name without a host reaches all hosts of TANGO_HOST, where there are several.
        self._prefix = "" if host == default_authority() else f"tango://{host}/"
        self.title = host if self._prefix else ",".join(default_hosts())
        self._patterns = tuple(patterns)
        self._period, self._tell = period, tell
        self._wake = threading.Event()
        self._ended = False
        self._servers_of: dict[str, tuple[str, float]] = {}
        before = found or {}
        self.found = {each: before[each] for each in self._patterns if each in before}
        self._database: Any = None
        self._identifier = Caller(f"identify {self.host}")
        self._looker = Caller(f"directory {self.host}")
        self._looker.post(self._go_on)

    # -- called by other threads ------------------------------------------------------------------

    def device(self, path: str) -> str:
        """What Tango calls the device ``path`` of this database."""
        return f"{self._prefix}{path}"

    def look(self) -> None:
        """Look now, if it does not already."""
        self._wake.set()

    def identify(self, path: str) -> Future[str]:
        """Ask for process id and start time of the server with the admin device ``path``."""
        return self._identifier.submit(lambda: self._identity(path))

    def end(self) -> None:
        """End the threads when they are free."""
        self._ended = True
        self._wake.set()
        self._identifier.end()
        self._looker.end()

    # -- what its threads do ----------------------------------------------------------------------

    def _identity(self, path: str) -> str:
        numbers, texts = self._ask("DbGetDeviceInfo", path)
        return f"{numbers[1]}@{texts[4]}, {texts[5]}" if numbers[0] else ""

    def _go_on(self) -> None:
        while not self._ended:
            self._wake.clear()
            self.looking_since = begun = time.monotonic()
            try:
                servers, unresolved = self._look()
                looked = Looked(self.host, servers, unresolved, "", begun, self)
                self.answered = time.monotonic()
            except tango.DevFailed as error:
                reason = failure_of(causes(error))[1]
                looked = Looked(self.host, (), (), reason, begun, self)
            except Exception as error:  # noqa: BLE001  it is told, and the next look comes
                looked = Looked(self.host, (), (), repr(error), begun, self)
            self.looking_since = None
            self._tell(looked)
            self._wake.wait(self._period)

    def _ask(self, command: str, argument: str) -> Any:
        if self._database is None:
            self._database = tango.DeviceProxy(self.device(DEVICE)).get_device_db()
        return self._database.command_inout(command, argument)

    def _look(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Servers, and names without any. Raises ``DevFailed``."""
        self._ask("DbGetDeviceExportedList", DEVICE)  # names of servers alone do not ask it
        named: set[str] = set()
        unresolved: list[str] = []
        found: dict[Pattern, frozenset[str]] = dict(self.found)
        for pattern in self._patterns:
            servers = self._servers(pattern)
            if pattern.kind in ("servers", "devices"):
                found[pattern] = found.get(pattern, frozenset()) | servers
            named |= servers
            if not servers:
                unresolved.append(str(pattern))
        if any(found.values()):
            defined = self._ask("DbGetDeviceWideList", ADMIN)
            known = {server_name(self.host, name) for name in defined}
            found = {pattern: frozenset(servers & known) for pattern, servers in found.items()}
        self.found = found
        return tuple(sorted(named.union(*found.values()))), tuple(unresolved)

    def _servers(self, pattern: Pattern) -> set[str]:
        """Full names of the servers meant: for wildcards, of those that run or were killed."""
        if pattern.kind == "server":
            return {server_name(self.host, pattern.path)}
        names = [pattern.path]
        if pattern.kind != "device":
            names = self._ask("DbGetDeviceExportedList", pattern.path)
        if pattern.kind == "servers":
            return {server_name(self.host, name) for name in names}
        return {server for name in names if (server := self._server_of(name.lower()))}

    def _server_of(self, device: str) -> str:
        """The server of a device, or ""."""
        server, asked = self._servers_of.get(device, ("", 0.0))
        if server and time.monotonic() - asked < REMEMBERED:
            return server
        try:
            _, texts = self._ask("DbGetDeviceInfo", device)
            server = server_name(self.host, texts[3])
        except Malformed:
            return ""
        except tango.DevFailed as error:
            if failure_of(causes(error))[0] != "not_exported":
                raise
            self._servers_of.pop(device, None)
            return ""
        self._servers_of[device] = server, time.monotonic()
        return server


def default_hosts() -> tuple[str, ...]:
    """Each ``host:port`` of ``TANGO_HOST``, one "" without any."""
    text = os.environ.get(VARIABLE, "")
    return database_hosts(text) if text else ("",)


def default_authority(authority: str = "") -> str:
    """``authority``, or the first of ``TANGO_HOST`` if it is one of these, or ""."""
    hosts = default_hosts()
    return hosts[0] if not authority or authority in hosts else authority
