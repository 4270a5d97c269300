"""A gateway is away for a while: nothing is lost by that, and what happened meanwhile is told."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from socs.epics.monitor import measures
from socs.epics.track.events import Event, HostEvent, PvEvent, ServerEvent
from socs.errors import OurError
from socs.sim.iocs import BROADCAST, EpicsSite
from socs.sim.lan import Lan
from socs.testing import wait_until
from tests.epics_real import TRACK, GatewayProcess, Monitoring, Watch, knowledge_settings

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("softioc", "caproto", "p4p"))),
    reason="needs softioc, caproto and p4p (extras epics and test)",
)

PERIOD = 0.5  # s
QUICK = replace(TRACK, ca_period=PERIOD, ca_lost_after=3.0)
PATIENCE = 1.5


@pytest.fixture
def site(tmp_path: Path) -> Iterator[EpicsSite]:
    """Two servers that stay, one that will die, one that will be started again."""
    with EpicsSite(tmp_path / "site", beacon_period=PERIOD) as made:
        for name in ("stays", "dies", "again", "comes"):
            made.add(name, {made.prefix + name: "float"}, server="caproto")
        made.add("pva", {made.prefix + "pva": "float"}, server="p4p")
        yield made


@pytest.fixture
def monitoring() -> Iterator[Monitoring]:
    settings = knowledge_settings(QUICK, patience=PATIENCE, searches=True)
    with Monitoring(settings) as made:
        yield made


def told(events: list[Event], site: EpicsSite) -> list[tuple[str, str]]:
    """Kinds and subjects, in a fixed order; of hosts nothing."""
    servers = {
        port: ioc
        for ioc in ("stays", "dies", "again", "pva", "comes")
        if ioc in site._iocs
        for port in site.ports_of(ioc).values()
    }
    found = []
    for event in events:
        if isinstance(event, ServerEvent):
            found.append((event.kind, servers.get(event.port, "somebody")))
        elif isinstance(event, PvEvent):
            found.append((event.kind, event.name.decode().removeprefix(site.prefix)))
        else:
            found.append((event.kind, ""))
    return sorted(found)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "how", ["killed", pytest.param("restarted", marks=pytest.mark.slow), "cut off"]
)
def test_nothing_is_lost_while_nobody_listens(
    site: EpicsSite, monitoring: Monitoring, how: str
) -> None:
    given = {"ports": site.ports, "listen": "sockets", "search_addresses": [BROADCAST]}
    names = [site.prefix + name for name in ("stays", "dies", "again", "pva")]
    gateway = GatewayProcess(monitoring, **given)
    try:
        wait_until(lambda: monitoring.kinds() == ["GATEWAY_LISTENS"], 20)
        site.start("again")  # the first one has the ports of the site, also when started again
        site.start("stays", "dies", "pva")
        wait_until(lambda: measures.totals(monitoring.knowledge)["servers_alive"] == 4, 20)
        monitoring.search(names)
        wait_until(lambda: measures.totals(monitoring.knowledge)["pvs_online"] == 4, 20)
        wait_until(lambda: not monitoring.searching(), 20)
        boot, before = monitoring.knowledge.joins["gateway"].boot, len(monitoring.events)

        heard = monitoring.knowledge.joins["gateway"].ended
        if how == "cut off":
            monitoring.cut = True
        else:
            gateway.end(signal.SIGKILL if how == "killed" else signal.SIGTERM)
        gone = time.time()
        site.kill("dies")
        site.start("comes")
        site.search("reader", [site.prefix + "MISSING"], library="caproto")
        monitoring.search(names)
        wait_until(lambda: time.time() > gone + 2 * QUICK.ca_lost_after, 20)
        assert told(monitoring.events[before:], site) == [("GATEWAY_BLIND", "")]
        blind = monitoring.events[before]
        assert heard <= float(blind.evidence["blind_from"]) <= gone
        assert monitoring.knowledge.troubles() == [
            "gateway has ended" if how == "restarted" else "gateway does not report"
        ]
        assert {monitoring.state(name) for name in names} == {"ONLINE"}

        site.restart("again")
        back, before = time.time(), len(monitoring.events)
        if how == "cut off":
            monitoring.cut = False
        else:
            gateway = GatewayProcess(monitoring, **given)
        expected = [
            ("DETECTED", "comes"),
            ("GATEWAY_LISTENS", ""),
            ("LOST", "dies"),  # the server
            ("LOST", "dies"),  # what it served
            ("RESTARTED", "again"),
        ]

        def since() -> list[tuple[str, str]]:
            return told(monitoring.events[before:], site)

        with suppress(TimeoutError):  # compared below
            wait_until(lambda: len(since()) >= len(expected), 30)
        monitoring.search(names)
        wait_until(lambda: not monitoring.searching(), 20)
        assert since() == expected
    finally:
        gateway.close()
    assert monitoring.faults == []
    listens = next(e for e in monitoring.events[before:] if e.kind == "GATEWAY_LISTENS")
    assert listens.cause == ("messages are missing" if how == "cut off" else "it started anew")
    assert listens.evidence["blind_from"] == blind.evidence["blind_from"]
    assert float(listens.evidence["from"]) >= back - 1
    assert (monitoring.knowledge.joins["gateway"].boot == boot) == (how == "cut off")
    lost = next(
        e for e in monitoring.events[before:] if isinstance(e, ServerEvent) and e.kind == "LOST"
    )
    assert lost.time >= float(listens.evidence["from"]) + QUICK.ca_lost_after
    # What was asked for meanwhile is known by its name.
    wait_until(lambda: monitoring.requesters(site.prefix + "MISSING"), 20)


@pytest.mark.timeout(120)
def test_a_gateway_whose_cable_is_pulled_is_deaf_and_nothing_is_lost_by_that(
    tmp_path: Path,
) -> None:
    try:
        lan = Lan(["watch", "one", "two"])
    except OurError as error:
        pytest.skip(f"no network namespaces here: {error}")
    with ExitStack() as stack:
        stack.enter_context(lan)
        site = stack.enter_context(EpicsSite(tmp_path / "site", hosts=lan, beacon_period=PERIOD))
        for name, host in (("stays", "one"), ("dies", "two")):
            site.add(name, {site.prefix + name: "float"}, server="caproto", host=host)
        watch = stack.enter_context(
            Watch(
                site.ports,
                listen="sockets",
                search_addresses=[lan.broadcast],
                networks=[lan.network],
                track=QUICK,
                patience=PATIENCE,
                lan=lan,
                host="watch",
            )
        )
        names = [site.prefix + "stays", site.prefix + "dies"]
        site.start("stays", "dies")
        wait_until(lambda: measures.totals(watch.knowledge)["servers_alive"] == 2, 20)
        watch.search(names)
        wait_until(lambda: measures.totals(watch.knowledge)["pvs_online"] == 2, 20)
        wait_until(lambda: not watch.searching(), 20)
        before = len(watch.events)

        lan.disconnect("watch")
        gone = time.time()
        site.kill("dies")
        watch.search(names)
        wait_until(lambda: watch.kinds(before), 20)
        wait_until(lambda: time.time() > gone + 2 * QUICK.ca_lost_after, 20)
        assert watch.kinds(before) == ["GATEWAY_BLIND"]
        assert watch.gateway.status()["troubles"][0].startswith("no interface")
        assert {watch.state(name) for name in names} == {"ONLINE"}

        lan.connect("watch")
        wait_until(lambda: len(watch.kinds(before)) >= 5, 30)
        watch.search(names)
        wait_until(lambda: not watch.searching(), 20)
        found = told([e for e in watch.events[before + 1 :] if not isinstance(e, HostEvent)], site)
        assert found == [("GATEWAY_LISTENS", ""), ("LOST", "dies"), ("LOST", "dies")]
        assert watch.state(names[0]) == "ONLINE"
        assert watch.gateway.status()["counters"]["intervals_deaf"] > 5
        # It is another thing if the cable of a server is pulled.
        before = len(watch.events)
        lan.disconnect("one")
        wait_until(lambda: "LOST" in watch.kinds(before), 20)
    assert watch.faults == []
