"""Simulated sites run real EPICS servers and clients, and know what they did."""

import itertools
import socket
from importlib.util import find_spec

import psutil
import pytest

from socs.errors import ConfigError, OurError
from socs.sim.iocs import EpicsSite, Served
from socs.sim.lan import Lan
from socs.testing import LOOPBACK, wait_until

# Not imported here: their threads would stay.
pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("softioc", "caproto", "p4p"))),
    reason="needs softioc, caproto and p4p (extras epics and test)",
)

KINDS = ("float", "int", "string", "enum", "waveform")


@pytest.fixture
def site(tmp_path):
    with EpicsSite(tmp_path / "site") as made:
        yield made


@pytest.fixture
def lan():
    try:
        made = Lan(["server", "client"])
    except OurError as error:
        pytest.skip(f"no network namespaces here: {error}")
    with made:
        yield made


def pvs(site, of):
    return {f"{site.prefix}{of}:{kind}": kind for kind in KINDS}


def test_clients_of_each_library_find_what_servers_of_each_kind_serve(site):
    for server in ("softioc", "caproto", "p4p"):
        site.add(server, pvs(site, server), server=server)
    site.start("softioc", "caproto", "p4p")
    served = site.serving()
    assert set(served) == {*pvs(site, "softioc"), *pvs(site, "caproto"), *pvs(site, "p4p")}
    missing = site.prefix + "MISSING"
    for library, protocol in (("libca", "ca"), ("caproto", "ca"), ("p4p", "pva")):
        expected = {
            name: f"{one.host}:{one.port}"
            for name, each in served.items()
            for one in each
            if one.protocol == protocol
        }
        assert len(expected) == 10
        site.search(library, [*served, missing], library=library)
        wait_until(
            lambda library=library, expected=expected: (
                set(site.connected(library)) == set(expected)
            ),
            30,
        )
        if library != "p4p":
            shown = {
                name: server.replace("localhost", LOOPBACK)
                for name, server in site.connected(library).items()
            }
            assert shown == expected


def test_what_happens_to_a_server_is_in_the_truth_and_seen_by_its_client(site):
    name = site.prefix + "A"
    site.add("one", {name: "float"})
    site.add("two", {name: "float"}, server="caproto")
    site.start("one")
    ports = site.ports_of("one")
    assert site.serving() == {
        name: [
            Served("one", "ca", LOOPBACK, ports["ca"]),
            Served("one", "pva", LOOPBACK, ports["pva"]),
        ]
    }
    for port in ports.values():
        socket.create_connection((LOOPBACK, port)).close()
    site.search("reader", [name])
    wait_until(lambda: name in site.connected("reader"), 20)
    site.kill("one")
    assert site.serving() == {}
    wait_until(lambda: name not in site.connected("reader"), 20)
    site.start("two")
    site.freeze("two")
    site.thaw("two")
    with pytest.raises(ConfigError, match="two runs"):
        site.add("two", {})
    site.stop("two")
    site.restart("two")
    whats = [(each.ioc, each.what) for each in site.happened]
    assert whats == [
        ("one", "started"),
        ("one", "killed"),
        *[("two", what) for what in ("started", "frozen", "thawed", "stopped", "started")],
    ]
    times = [each.time for each in site.happened]
    assert all(earlier <= later for earlier, later in itertools.pairwise(times))


def test_nothing_is_left_of_a_site(tmp_path):
    servers = set(psutil.Process().children(recursive=True))  # of all tests
    with EpicsSite(tmp_path / "site") as site:
        site.add("one", {site.prefix + "A": "float"}, server="caproto")
        site.start("one")
        site.search("reader", [site.prefix + "B"], library="caproto")
        children = set(psutil.Process().children(recursive=True)) - servers
        assert len(children) >= 2
    wait_until(lambda: not any(child.is_running() for child in children))


def test_two_sites_do_not_see_each_other(site, tmp_path):
    with EpicsSite(tmp_path / "other") as other:
        site.add("one", {site.prefix + "A": "float"}, server="caproto")
        other.add("two", {other.prefix + "A": "float"}, server="caproto")
        site.start("one")
        other.start("two")
        both = [site.prefix + "A", other.prefix + "A"]
        site.search("reader", both)
        other.search("reader", both)
        wait_until(lambda: set(site.connected("reader")) == {both[0]}, 20)
        wait_until(lambda: set(other.connected("reader")) == {both[1]}, 20)


def test_a_server_that_does_not_start_is_told_with_its_log(site):
    site.add("one", {"A B": "float"})
    with pytest.raises(OurError, match=r"one did not start:\n(.|\n)*A B"):
        site.start("one")


def test_hosts_of_a_network_have_addresses_of_their_own(lan, tmp_path):
    with EpicsSite(tmp_path / "site", hosts=lan) as site:
        name = site.prefix + "A"
        site.add("one", {name: "float"}, host="server")
        site.start("one")
        assert {one.host for one in site.serving()[name]} == {lan.address("server")}
        site.search("reader", [name], library="caproto", host="client")
        port = site.ports_of("one")["ca"]
        wait_until(
            lambda: site.connected("reader") == {name: f"{lan.address('server')}:{port}"}, 20
        )
        site.search("elsewhere", [name], library="caproto", host="client")
        lan.disconnect("client")
        lan.connect("client")
        wait_until(lambda: name in site.connected("elsewhere"), 30)
