"""A gateway and what a monitor knows, in this process, beside real servers and clients."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from socs.closing import Closing
from socs.epics.gateway import Gateway
from socs.epics.gateway_settings import GatewaySettings
from socs.epics.knowledge import Knowledge, KnowledgeSettings, Resync, Search
from socs.epics.listening import Wanted
from socs.epics.own_searches import OwnSearchSettings
from socs.epics.ports import EpicsPorts
from socs.epics.search import Priority, SearchSettings
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
        """A message goes over the feed."""
        message = encode(summary)
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
        searches = bool(search_addresses)
        settings = KnowledgeSettings(
            track,
            gateway_patience=patience,
            search=replace(OWN_SEARCHES, enabled=searches),
        )
        self.said: list[str] = []
        self.gateway_settings = GatewaySettings(
            "gateway",
            listen=listen,
            interfaces=("lo",) if lan is None else ("eth0",),
            receive_buffer=1 << 20,
            ports=ports,
            networks=networks,
            interval=INTERVAL,
            search=replace(SEARCH, enabled=searches),
            search_addresses=search_addresses,
        )
        self._lan, self._host = lan, host
        super().__init__(settings)
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

    def search(self, names: Iterable[str]) -> None:
        """As an operator who looks at these."""
        with self.lock:
            self.knowledge.search([name.encode() for name in names], Priority.PAGE)

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
