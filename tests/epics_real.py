"""A gateway and what a monitor knows, beside real servers and clients.

The gateway is in this process, or, to be killed, in one of its own: ``python -m tests.epics_real``
with its settings, which writes its messages to its output.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from socs.closing import Closing
from socs.epics.gateway.gateway import Gateway
from socs.epics.gateway.listening import Wanted
from socs.epics.gateway.settings import GatewaySettings
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.knowledge.own_searches import OwnSearchSettings
from socs.epics.knowledge.wishes import Resync, Search
from socs.epics.ports import EpicsPorts
from socs.epics.search.searcher import Priority, SearchSettings
from socs.epics.summary import Summary, decode, encode
from socs.epics.track.events import Event
from socs.epics.track.settings import TrackSettings
from socs.sim.lan import Lan

INTERVAL = 0.2  # s, of summaries
TICK = 0.1
CLONE_NEWNET = 0x40000000

# Servers are started with beacons each 2 s, those of PV Access cannot be had more often than 15 s.
CA_PERIOD, PVA_PERIOD = 2.0, 15.0
TRACK = TrackSettings(
    ("127.0.0.0/8", "10.77.0.0/24"),
    ca_period=CA_PERIOD,
    ca_lost_after=9.0,
    ca_lost_periods=3.0,
    pva_lost_after=22.0,
    pva_start_lost_after=22.0,
    interval_tolerance=3.0,  # of a busy machine
    answers_within=1.5,
    duplicate_ends_after=4.0,
)
SEARCH = SearchSettings(True, datagrams_per_second=20, burst=5, timeout=1.5, attempts=2)
OWN_SEARCHES = OwnSearchSettings(True, timeout=30.0, again_after=0.5)


def gateway_settings(
    ports: EpicsPorts,
    *,
    listen: Wanted,
    search_addresses: Sequence[str] = (),
    networks: Sequence[str] = TRACK.subnets,
    interface: str = "lo",
) -> GatewaySettings:
    """Of a gateway that searches if there are addresses to search."""
    return GatewaySettings(
        "gateway",
        listen=listen,
        interfaces=(interface,),
        receive_buffer=1 << 20,
        ports=ports,
        networks=networks,
        interval=INTERVAL,
        search=replace(SEARCH, enabled=bool(search_addresses)),
        search_addresses=search_addresses,
    )


def knowledge_settings(
    track: TrackSettings, *, patience: float, searches: bool
) -> KnowledgeSettings:
    """Of a monitor; ``patience`` is with its gateways [s]."""
    own = replace(OWN_SEARCHES, enabled=searches)
    return KnowledgeSettings(track, gateway_patience=patience, search=own)


class Monitoring(Closing):
    """Takes summaries as a monitor does, and remembers what it told.

    Args:
        settings: see there.

    Attributes:
        events: all that were told, in order.
        cut: messages are lost on their way while this is set.
        obey: called with each wish.
    """

    def __init__(self, settings: KnowledgeSettings) -> None:
        self.knowledge = Knowledge(settings, secret=1)
        self.events: list[Event] = []
        self.cut = False
        self.obey: Callable[[Resync | Search], None] = lambda wish: None
        self.faults: list[BaseException] = []
        self.lock = threading.RLock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pv-monitor-test", daemon=True)
        self._thread.start()

    def take(self, summary: Summary) -> None:
        """A summary goes over the feed."""
        self.hear(encode(summary))

    def hear(self, message: Any) -> None:
        """A message comes."""
        if not self.cut:
            self._do(lambda now: self.knowledge.take(decode(message), now))

    def _run(self) -> None:
        while not self._closing.wait(TICK):
            self._do(self.knowledge.tick)

    def _do(self, what: Callable[[float], Iterable[Event]]) -> None:
        with self.lock:
            try:
                self.events += what(time.time())
                wishes = self.knowledge.wants()
            except BaseException as error:
                self.faults.append(error)
                raise
        for wish in wishes:
            assert isinstance(wish, Resync | Search)
            self.obey(wish)

    def search(self, names: Iterable[str]) -> None:
        """As an operator who looks at these."""
        with self.lock:
            self.knowledge.search([name.encode() for name in names], Priority.PAGE)

    def kinds(self, since: int = 0) -> list[str]:
        """Of all events from this one on."""
        return [event.kind for event in self.events[since:]]

    def state(self, name: str) -> str:
        """Of a process variable; empty if it is not known."""
        with self.lock:
            number = self.knowledge.inventory.names.number(name.encode())
            return self.knowledge.pvs.state(number) if number >= 0 else ""

    def searching(self) -> bool:
        """Is anything searched for, now or in a moment."""
        own = self.knowledge.searches
        with self.lock:
            return bool(len(own) or own._again or own._changed)

    def requesters(self, name: str) -> set[tuple[int, int]]:
        """Addresses and ports of those who asked for a name."""
        with self.lock:
            inventory = self.knowledge.inventory
            number = inventory.names.number(name.encode())
            found = inventory.requesters.of(number) if number >= 0 else []
        return {(each.host, each.port) for each in found}

    def close(self) -> None:
        """End."""
        self._closing.set()
        if self._thread is not threading.current_thread():
            self._thread.join()


class Watch(Monitoring):
    """The same with a gateway that hears a real network.

    Args:
        ports: of the site.
        listen: ``capture`` or ``sockets``.
        search_addresses: where to search; no searches if there are none.
        lan, host: on which host the gateway is; else it is here.
    """

    def __init__(
        self,
        ports: EpicsPorts,
        *,
        listen: Wanted,
        search_addresses: Sequence[str] = (),
        networks: Sequence[str] = TRACK.subnets,
        track: TrackSettings = TRACK,
        patience: float = 10.0,
        lan: Lan | None = None,
        host: str = "",
    ) -> None:
        self.gateway_settings = gateway_settings(
            ports,
            listen=listen,
            search_addresses=search_addresses,
            networks=networks,
            interface="lo" if lan is None else "eth0",
        )
        self.said: list[str] = []
        self._lan, self._host = lan, host
        super().__init__(
            knowledge_settings(track, patience=patience, searches=bool(search_addresses))
        )
        try:
            self.start_gateway()
        except BaseException:
            super().close()
            raise

    def start_gateway(self) -> None:
        """Start a gateway, another one if there was one."""
        gateway = Gateway(self.gateway_settings, self.take, self.said.append)
        on_host(self._lan, self._host, gateway.start)
        self.gateway = gateway
        self.obey = self._obey

    def _obey(self, wish: Resync | Search) -> None:
        if isinstance(wish, Resync):
            self.gateway.resync()
        else:
            self.gateway.search([name.decode() for name in wish.names], wish.priority)

    def close(self) -> None:
        """End the gateway, then the rest."""
        self.gateway.close()
        super().close()


def on_host(lan: Lan | None, host: str, do: Callable[[], None]) -> None:
    """Have sockets that ``do`` opens, and those of threads that it starts, on a host of ``lan``."""
    if lan is None:
        do()
        return
    faults: list[BaseException] = []

    def there() -> None:
        try:
            namespace = os.open(lan.namespace(host), os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(namespace)
            do()
        except BaseException as error:  # raised below, by who called
            faults.append(error)

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]


# -- a process of its own -------------------------------------------------------------------------

_SIZE = struct.Struct("!I")


class GatewayProcess(Closing):
    """A gateway in a process of its own.

    Args:
        monitoring: hears it, and tells it what to search for.
        given: for `gateway_settings`; ``ports`` among them.
    """

    def __init__(self, monitoring: Monitoring, **given: Any) -> None:
        self._monitoring = monitoring
        arguments = msgspec.json.encode(given).decode()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.epics_real", arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        monitoring.obey = self._obey
        self._thread = threading.Thread(target=self._run, name="pv-monitor-feed", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._process.stdout is not None
        while len(head := self._process.stdout.read(_SIZE.size)) == _SIZE.size:
            (size,) = _SIZE.unpack(head)
            message = self._process.stdout.read(size)
            if len(message) == size:
                self._monitoring.hear(msgspec.msgpack.decode(message))

    def _obey(self, wish: Resync | Search) -> None:
        assert self._process.stdin is not None
        words = [name.decode() for name in wish.names] if isinstance(wish, Search) else []
        with suppress(BrokenPipeError, ValueError):  # nobody is there to obey
            self._process.stdin.write(" ".join(words).encode() + b"\n")
            self._process.stdin.flush()

    def end(self, number: int) -> None:
        """End it by a signal; all that it has told is heard."""
        self._monitoring.obey = lambda wish: None
        self._process.send_signal(number)
        self._process.wait(60)
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):  # of a wish that it did not hear
                stream.close()

    def close(self) -> None:
        """Kill it, if it runs."""
        if self._process.poll() is None:
            self.end(signal.SIGKILL)


def _serve(arguments: str) -> None:
    """Be a gateway until SIGTERM: messages on the output, an empty line asks for a resync."""
    given = msgspec.json.decode(arguments)
    ports = msgspec.convert(given.pop("ports"), EpicsPorts)
    writing = threading.Lock()

    def tell(summary: Summary) -> None:
        message = msgspec.msgpack.encode(encode(summary))
        with writing:
            sys.stdout.buffer.write(_SIZE.pack(len(message)) + message)
            sys.stdout.buffer.flush()

    gateway = Gateway(gateway_settings(ports, **given), tell, lambda text: None)
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    with gateway:
        gateway.start()

        def obey() -> None:
            for line in sys.stdin:
                if line.strip():
                    gateway.search(line.split(), Priority.PAGE)
                else:
                    gateway.resync()

        threading.Thread(target=obey, daemon=True).start()
        ending.wait()


if __name__ == "__main__":
    _serve(sys.argv[1])
