"""Random scenarios of real servers and clients, each on ports of its own, against what is true.

A scenario is a sequence of steps drawn by its seed. After each step all that follows from it soon
is waited for, and states are compared; at the end all events are.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from socs.epics.track.events import CA, PVA, Event, ServerEvent
from socs.sim.iocs import BROADCAST, EpicsSite, Kind, Library, Server
from socs.sim.lan import Lan
from socs.testing import LOOPBACK, wait_until
from tests.epics_packets import address
from tests.epics_real import CA_PERIOD, PVA_PERIOD, TRACK, Watch
from tests.epics_truth import Key, Place, Truth

Way = Literal["sockets", "capture", "overhear"]

PROTOCOL = {"ca": CA, "pva": PVA}
LIBRARIES: dict[Library, int] = {"libca": CA, "caproto": CA, "p4p": PVA}
SERVERS: tuple[Server, ...] = ("softioc", "caproto", "p4p")
KINDS: tuple[Kind, ...] = ("float", "int", "string", "enum", "waveform")
PATIENCE = 150.0  # s; a client of PV Access may wait half a minute between two searches
QUIET = 1.0  # s at the end in which nothing else may come
_starting = threading.Semaphore(3)  # more at once would be too slow for their clients


@dataclass
class _Ioc:
    host: str
    server: Server
    pvs: set[str]
    state: Literal["down", "up", "frozen"] = "down"


@dataclass
class Story:
    """What was done, for people, and what was wrong."""

    seed: int
    way: Way
    steps: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    events: int = 0

    def __str__(self) -> str:
        lines = [f"scenario {self.seed} by {self.way}:", *self.steps, *self.wrong]
        return "\n  ".join(lines)


class Scenario:
    """One scenario.

    Args:
        way: how the gateway knows: by sockets and its own searches, by capturing and these, or by
            capturing alone (``overhear``).
        lan: servers are on its hosts, and the gateway on ``watch``.
    """

    def __init__(
        self, seed: int, directory: Path, way: Way, *, steps: int = 4, lan: Lan | None = None
    ) -> None:
        self.story = Story(seed, way)
        self._random = random.Random(seed)
        self._directory, self._way, self._steps, self._lan = directory, way, steps, lan
        self._stack = ExitStack()
        self._asked: dict[str, set[Place]] = {}  # sockets that asked for each name
        self._clients = 0

    def run(self) -> Story:
        """Do it, and compare."""
        with self._stack:
            self._prepare()
            for _ in range(self._steps):
                self._step()
            self._end()
        return self.story

    # -- the stage --------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.site = EpicsSite(self._directory, hosts=self._lan, beacon_period=CA_PERIOD)
        self._stack.callback(self.site.close)
        broadcast = BROADCAST if self._lan is None else self._lan.broadcast
        self.watch = Watch(
            self.site.ports,
            listen="sockets" if self._way == "sockets" else "capture",
            search_addresses=() if self._way == "overhear" else (broadcast,),
            lan=self._lan,
            host="watch",
        )
        self._stack.callback(self.watch.close)
        periods = {CA: CA_PERIOD, PVA: PVA_PERIOD}
        overhears = self._way == "capture"
        self.truth = Truth(TRACK, periods, time.time(), overhears=overhears)
        self._names = [f"{self.site.prefix}{n}" for n in range(4)]
        self._missing = self.site.prefix + "MISSING"
        self._iocs: dict[str, _Ioc] = {}
        for n in range(self._random.choice((2, 2, 3))):
            pvs = set(self._random.sample(self._names, self._random.randint(1, 3)))
            server = self._random.choice(SERVERS)
            host = "" if self._lan is None else self._random.choice(("one", "two"))
            self._iocs[f"ioc{n}"] = _Ioc(host, server, pvs)
        self._define(*self._iocs)
        wait_until(lambda: self.watch.kinds()[:1] == ["GATEWAY_LISTENS"], PATIENCE)

    def _define(self, *names: str) -> None:
        for name in names:
            ioc = self._iocs[name]
            pvs = {pv: self._random.choice(KINDS) for pv in sorted(ioc.pvs)}
            self.site.add(name, pvs, server=ioc.server, host=ioc.host)

    def _those(self, state: str) -> list[str]:
        return [name for name, ioc in self._iocs.items() if ioc.state == state]

    def _keys(self, name: str) -> list[Key]:
        host = address(self.site.hosts.address(self._iocs[name].host))
        ports = self.site.ports_of(name)
        return [(PROTOCOL[each], host, port) for each, port in ports.items() if port]

    def providers(self, pv: str) -> dict[int, set[Place]]:
        """Who serves a name now, by protocol."""
        found: dict[int, set[Place]] = {CA: set(), PVA: set()}
        for name, ioc in self._iocs.items():
            if ioc.state == "up" and pv in ioc.pvs:
                for protocol, *place in self._keys(name):
                    found[protocol].add((place[0], place[1]))
        return found

    # -- steps ------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Draw one that is possible, do it, and look what came of it."""
        up, down, frozen = map(self._those, ("up", "down", "frozen"))
        possible: list[tuple[int, Callable[[], None]]] = []
        if down:
            possible.append((4 if up else 20, lambda: self._start(self._some(down))))
        if up:
            possible.append((2, lambda: self._stop(self._random.choice(up))))
            possible.append((3, lambda: self._restart(self._random.choice(up))))
            possible.append((2, self._read))
        if len(self._iocs) > len(frozen) + 1 and up:
            possible.append((2, self._move))
        # A frozen server answers late what was asked meanwhile, which says nothing of the others.
        if up and self._way == "sockets":
            possible.append((2, lambda: self._freeze(self._random.choice(up))))
        if frozen:
            possible.append((5, lambda: self._thaw(self._random.choice(frozen))))
        weights, steps = zip(*possible, strict=True)
        began = time.time()
        self._serving: list[dict[str, dict[int, set[Place]]]] = []
        self._random.choices(steps, weights)[0]()
        self._changed()
        if self._way == "overhear":
            self._hear(began)
        else:
            self._search(began)

    def _changed(self) -> None:
        """Note who serves what from now on."""
        names = [*self._names, self._missing]
        self._serving.append({pv: self.providers(pv) for pv in names})

    def _some(self, names: list[str]) -> list[str]:
        return self._random.sample(names, self._random.randint(1, len(names)))

    def _did(self, what: str) -> None:
        self.story.steps.append(f"{time.time():.1f} {what}")

    def _start(self, names: list[str]) -> None:
        for name in names:
            with _starting:
                began = time.time()
                self.site.start(name)
            done = time.time()
            self._iocs[name].state = "up"
            keys = self._keys(name)
            for key in keys:
                self.truth.started(key, began, done)
            self._changed()
            pvs = sorted(each[-1] for each in self._iocs[name].pvs)
            self._did(f"started {name} ({self._iocs[name].server}) with {pvs} at {keys}")
            for key in keys:
                self._wait_for_beacon(key, began)

    def _wait_for_beacon(self, key: Key, since: float) -> None:
        wait_until(lambda: self._heard(key, since), PATIENCE, f"a beacon of {key}")

    def _heard(self, key: Key, since: float) -> bool:
        told = [each for each in self.watch.events if isinstance(each, ServerEvent)]
        kinds = {"NEW", "DETECTED", "RESTARTED"}
        return any(
            (e.protocol, e.host, e.port) == key and e.kind in kinds and e.time >= since
            for e in told
        )

    def _stop(self, name: str) -> None:
        keys, began = self._keys(name), time.time()
        if self._random.random() < 0.5:
            self.site.stop(name)
        else:
            self.site.kill(name)
        for key in keys:
            self.truth.gone(key, began, time.time())
        self._iocs[name].state = "down"
        self._changed()
        self._did(f"ended {name}")

    def _restart(self, name: str) -> None:
        self._stop(name)
        # Who answered last must not be taken for one that answers beside the next.
        time.sleep(self._random.choice((0, 0, 4)) + 2 * (self._way != "sockets"))
        self._start([name])

    def _move(self) -> None:
        """Take a name from one server, and give it to another."""
        source = self._random.choice(self._those("up"))
        others = [n for n in self._iocs if n != source and self._iocs[n].state != "frozen"]
        target = self._random.choice(others)
        for name in (source, target):
            if self._iocs[name].state == "up":
                self._stop(name)
        pv = self._random.choice(sorted(self._iocs[source].pvs))
        if len(self._iocs[source].pvs) > 1:
            self._iocs[source].pvs.remove(pv)
            both = [source, target]
        else:
            both = [target]
        self._iocs[target].pvs.add(pv)
        self._define(source, target)
        self._did(f"moved {pv[-1]} from {source} to {target}")
        time.sleep(2 * (self._way != "sockets"))
        self._start(both)

    def _freeze(self, name: str) -> None:
        began = time.time()
        self.site.freeze(name)
        for key in self._keys(name):
            self.truth.gone(key, began, time.time())
        self._iocs[name].state = "frozen"
        self._did(f"froze {name}")
        time.sleep(self._random.choice((0, 15)))

    def _thaw(self, name: str) -> None:
        now = time.time()
        self.site.thaw(name)
        for key in self._keys(name):
            self.truth.thawed(key, now)
        self._iocs[name].state = "up"
        self._did(f"thawed {name}")

    def _read(self) -> None:
        """A client searches for some names, and for one that does not exist."""
        library = self._random.choice(list(LIBRARIES))
        names = [*self._some(self._names), self._missing]
        with self._client(library, names):
            self._did(f"{library} looks for {[name[-1] for name in names]}")

    # -- clients ----------------------------------------------------------------------------------

    @contextmanager
    def _client(self, library: Library, names: list[str]) -> Iterator[None]:
        """A client, when it is connected to all that there is."""
        client = f"client{self._clients}"
        self._clients += 1
        protocol = LIBRARIES[library]
        self.site.search(client, names, library=library, host="" if self._lan is None else "client")
        there = {name for name in names if self.providers(name)[protocol]}
        what = f"{client} ({library}) to be connected to {there}"
        wait_until(lambda: set(self.site.connected(client)) == there, PATIENCE, what)
        sockets = self._sockets(client)
        for name in names:
            self._asked.setdefault(name, set()).update(sockets)

        def all_heard() -> bool:
            """Of each name, at least one of the client's own requests."""
            return all(self.watch.requesters(name) & sockets for name in names)

        if self._lan is None:
            wait_until(all_heard, PATIENCE, f"requests of {client}")
        else:
            wait_until(lambda: all(map(self.watch.requesters, names)), PATIENCE)
        yield
        if self._way == "overhear" or self._random.random() < 0.5:
            self.site.end_search(client)

    def _sockets(self, client: str) -> set[Place]:
        """Addresses and ports from which a client may search."""
        process = psutil.Process(self.site._clients[client].pid)
        ports = {each.laddr.port for each in process.net_connections("udp")}
        return {(address(LOOPBACK), port) for port in ports}

    # -- what came of a step ----------------------------------------------------------------------

    def _search(self, began: float) -> None:
        """Search for all names ourselves, until nothing is left to search for."""
        names = [*self._names, self._missing]
        wait_until(lambda: not self.watch.searching(), PATIENCE, "searches to end")
        self.watch.search(names)
        wait_until(lambda: not self.watch.searching(), PATIENCE, "searches to end")
        for name in names:
            self.truth.searched(name, [each[name] for each in self._serving], began)
        self._compare_states()

    def _hear(self, began: float) -> None:
        """Have a client of each protocol search."""
        libraries: list[Library] = [self._random.choice(("libca", "caproto")), "p4p"]
        for library in libraries:
            names = [*self._some(self._names), self._missing]
            with self._client(library, names):
                pass
            protocol = LIBRARIES[library]
            for name in names:
                self.truth.overheard(name, protocol, self.providers(name)[protocol], began)
            time.sleep(TRACK.answers_within + 2)
        self._compare_states()

    def _compare_states(self) -> None:
        for name, state in self.truth.states.items():
            if self.watch.state(name) != state:
                step = self.story.steps[-1]
                told = f"{name} is {self.watch.state(name)}, not {state}, after {step}"
                self.story.wrong.append(told)

    def _end(self) -> None:
        """Wait for all that must come, and a little longer, and compare everything."""

        def events() -> list[Event]:
            return [each for each in self.watch.events if each.kind != "GATEWAY_LISTENS"]

        while self.truth.differences(events()) and time.time() < self.truth.latest:
            time.sleep(0.2)
        time.sleep(QUIET)
        wrong = self.truth.differences(events())
        listens = self.watch.kinds().count("GATEWAY_LISTENS")
        counters = self.watch.gateway.status()
        for name in ("unaccounted", "troubles"):
            if counters[name]:
                wrong.append(f"{name}: {counters[name]}")
        if listens != 1 or self.watch.faults:
            wrong.append(f"{listens} times listening, faults {self.watch.faults}")
        for name in (*self._names, self._missing):
            strangers = self.watch.requesters(name) - self._asked.get(name, set())
            if strangers and self._lan is None:
                wrong.append(f"{name} was asked for by {strangers}")
            clients = {address(self.site.hosts.address("client"))}
            if (
                self._lan is not None
                and {host for host, _ in self.watch.requesters(name)} - clients
            ):
                wrong.append(f"{name} was asked for by {self.watch.requesters(name)}")
        self.story.wrong += wrong
        self.story.events = len(self.watch.events)
