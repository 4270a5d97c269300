"""Forged datagrams from outside of the subnets of servers change nothing, and are counted."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from socs.epics.decode import ca, pva
from socs.epics.gateway.listening import Wanted, look_around
from socs.epics.monitor import measures
from socs.epics.networks import host_text
from socs.epics.ports import EpicsPorts
from socs.epics.track.events import HostEvent, PvEvent, ServerEvent
from socs.sim.iocs import BROADCAST, EpicsSite
from socs.testing import LOOPBACK, wait_until
from tests import epics_pva
from tests.epics_packets import address, batch, beacon, response, version
from tests.epics_real import TRACK, Watch

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("softioc", "caproto", "p4p"))),
    reason="needs softioc, caproto and p4p (extras epics and test)",
)

OUTSIDE = "127.0.0.9"
INSIDE = f"{LOOPBACK}/32"
PERIOD = 0.5  # s
GUID = b"forged guid."
NO_CAPTURE = look_around([5064]).no_capture


class Forger:
    """Hears all searches, and answers each from an address outside, in its own name or another's.

    Attributes:
        sent: forged answers by protocol.
    """

    def __init__(self, ports: EpicsPorts) -> None:
        self.ports, self.sent = ports, Counter[str]()
        self._ears = {"ca": _shared(ports.ca), "pva": _shared(ports.pva)}
        # As servers do, it answers from the port at which it was asked.
        self._mouths = {"ca": _shared(ports.ca, OUTSIDE), "pva": _shared(ports.pva, OUTSIDE)}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="udp-forger", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            ready, _, _ = select.select(list(self._ears.values()), [], [], 0.1)
            for protocol, ear in self._ears.items():
                if ear in ready:
                    datagram, sender = ear.recvfrom(65_536)
                    answers = _answers_ca if protocol == "ca" else _answers_pva
                    for to, answer in answers(datagram, sender):
                        self._mouths[protocol].sendto(answer, to)
                        self.sent[protocol] += 1

    def say(self, contents: bytes, port: int) -> None:
        """Send to all."""
        self._mouths["ca"].sendto(contents, (BROADCAST, port))

    def __enter__(self) -> Forger:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        for each in (*self._ears.values(), *self._mouths.values()):
            each.close()


def _shared(port: int, host: str = BROADCAST) -> socket.socket:
    """A socket that takes nothing that is sent to a server."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind((host, port))
    return sock


Sent = tuple[tuple[str, int], bytes]


def _answers_ca(datagram: bytes, sender: tuple[str, int]) -> Iterator[Sent]:
    found = ca.decode(batch([(*sender, datagram)]))
    for cid in found.requests["cid"].tolist():
        for host in (0xFFFFFFFF, address(LOOPBACK)):
            yield sender, version() + response(cid, port=6666, host=host)


def _answers_pva(datagram: bytes, sender: tuple[str, int]) -> Iterator[Sent]:
    found = pva.decode(batch([(*sender, datagram)]))
    for request in found.requests:
        search = found.searches[int(request["of"])]
        client = host_text(int(search["host"])) if search["host"] else sender[0]
        for host in (None, LOOPBACK):
            yield (
                (client, int(search["port"])),
                epics_pva.response(
                    [int(request["id"])], int(search["search"]), guid=GUID, host=host, port=6666
                ),
            )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[EpicsSite]:
    with EpicsSite(tmp_path / "site", beacon_period=PERIOD) as made:
        made.add("base", {made.prefix + "A": "float"})
        yield made


def forge_beacons_and_heartbeats(forger: Forger, site: EpicsSite) -> None:
    """As if the server had started anew, and as if there were others."""
    ports = site.ports_of("base")
    for number in (0, 1, 2):
        for host in (0, address(LOOPBACK)):
            forger.say(beacon(number, port=ports["ca"], host=host), forger.ports.beacons)
        for named in (None, LOOPBACK):
            forged = epics_pva.beacon(number, guid=GUID, host=named, port=ports["pva"])
            forger.say(forged, forger.ports.pva)
    told: dict[str, Any] = {"seq": 1, "sp": ports["ca"], "up": 1, "cur": int(time.time())}
    told |= {"pid": 17, "cwd": "/", "ver": "2.0", "img": "x", "stcmd": "y"}
    text = json.dumps({key: str(value) for key, value in told.items()})
    forger.say(text.encode(), forger.ports.heartbeats)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "listen",
    [
        # The same without answers to others; done often only where nothing else can be.
        pytest.param("sockets", marks=[] if NO_CAPTURE else pytest.mark.slow),
        pytest.param("capture", marks=pytest.mark.skipif(bool(NO_CAPTURE), reason=NO_CAPTURE)),
    ],
)
def test_nothing_from_outside_changes_a_state(site: EpicsSite, listen: Wanted) -> None:
    names = [site.prefix + "A", site.prefix + "MISSING"]
    track = replace(TRACK, subnets=(INSIDE,), ca_period=PERIOD, ca_lost_after=3.0)
    watch = Watch(
        site.ports, listen=listen, search_addresses=[BROADCAST], networks=[INSIDE], track=track
    )
    with watch, Forger(site.ports) as forger:
        site.start("base")
        wait_until(lambda: measures.totals(watch.knowledge)["servers_alive"] == 2, 20)
        watch.search(names)
        wait_until(lambda: not watch.searching(), 20)
        assert {watch.state(name) for name in names} == {"ONLINE", "NEVER_SEEN"}
        assert forger.sent["ca"] >= 4
        assert forger.sent["pva"] >= 4

        # Clients are deceived, and we hear them ask.
        site.search("reader", [names[1]], library="libca")
        site.search("pva reader", [names[1]], library="p4p")
        wait_until(lambda: watch.requesters(names[1]), 20)
        before = Counter(forger.sent)
        wait_until(lambda: all(forger.sent[each] > before[each] for each in before), 20)
        for client in ("reader", "pva reader"):
            site.end_search(client)
        forge_beacons_and_heartbeats(forger, site)

        # The real server dies, and the forger goes on to speak for it.
        site.kill("base")
        killed = time.time()

        def forging_until_it_is_lost() -> bool:
            forge_beacons_and_heartbeats(forger, site)
            watch.search(names)
            return "LOST" in watch.kinds() and watch.state(names[0]) == "LOST"

        wait_until(forging_until_it_is_lost, 30, period=0.5)
        numbers, counters = watch.knowledge.numbers(), watch.gateway.counters.snapshot()

    lost = [e for e in watch.events if e.kind == "LOST" and isinstance(e, ServerEvent)]
    assert [(e.port, e.time > killed) for e in lost] == [(site.ports_of("base")["ca"], True)]
    here = [
        e
        for e in watch.events
        if isinstance(e, ServerEvent | HostEvent) and e.host == address(LOOPBACK)
    ]
    assert sorted(each.kind for each in here) == ["DETECTED", "LOST", "NEW", "RUNNING"]
    pvs = [(e.kind, e.name.decode()) for e in watch.events if isinstance(e, PvEvent)]
    assert pvs == [("FOUND", names[0]), ("LOST", names[0])]
    elsewhere = {e.kind for e in watch.events if getattr(e, "host", 0) == address(OUTSIDE)}
    assert elsewhere == {"WRONG_INTERFACE"}
    assert watch.knowledge.applications.known == {}
    assert {server.host for server in watch.knowledge.beacons.servers.values()} == {
        address(LOOPBACK)
    }
    assert numbers["beacons_elsewhere"] >= 12
    assert numbers["heartbeats_elsewhere"] >= 1
    # Answers to our own searches end at the gateway, those to others' at the monitor.
    assert counters["search_foreign"] >= 8
    if listen == "capture":
        assert numbers["answers_elsewhere"] >= 2
    assert watch.faults == []
