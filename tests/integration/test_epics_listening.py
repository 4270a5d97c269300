"""Listening beside real servers and clients: all is heard, nothing is taken from them."""

from importlib.util import find_spec

import pytest

from socs.epics.decode import ca, pva
from socs.epics.gateway.listening import Listening, look_around
from socs.errors import ConfigError
from socs.sim.iocs import EpicsSite
from socs.testing import LOOPBACK, wait_until

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("softioc", "caproto", "p4p"))),
    reason="needs softioc, caproto and p4p (extras epics and test)",
)

NO_CAPTURE = look_around([5064]).no_capture
needs_capture = pytest.mark.skipif(bool(NO_CAPTURE), reason=NO_CAPTURE)


class Heard:
    """A `Listening`, and what it heard."""

    def __init__(self, ports, wanted):
        self.requests, self.responses, self.beacons = [], [], []
        self.pva_requests, self.pva_responses, self.pva_beacons = [], [], []
        self.problems = []
        uses = {"ca": self.take_ca, "beacons": self.take_ca, "pva": self.take_pva}
        self.listening = Listening(
            uses,
            ports,
            wanted=wanted,
            interfaces=("lo",),
            receive_buffer=1 << 20,
            on_problem=self.problems.append,
        )

    def take_ca(self, batch):
        found = ca.decode(batch)
        self.requests += [found.name(row).decode() for row in found.requests]
        self.responses += found.responses["port"].tolist()
        self.beacons += found.beacons["port"].tolist()

    def take_pva(self, batch):
        found = pva.decode(batch)
        self.pva_requests += [found.name(row).decode() for row in found.requests]
        self.pva_responses += found.responses["port"].tolist()
        self.pva_beacons += found.beacons["port"].tolist()

    def __enter__(self):
        self.choice = self.listening.start()
        return self

    def __exit__(self, *_):
        self.listening.close()


@pytest.fixture
def site(tmp_path):
    with EpicsSite(tmp_path / "site") as made:
        made.name = made.prefix + "A"
        made.add("one", {made.name: "float"})
        yield made


@needs_capture
def test_a_capture_sees_requests_and_unicast_answers_of_real_clients(site):
    with Heard(site.ports, "auto") as heard:
        assert heard.choice.way == "capture"
        site.start("one")
        missing = site.prefix + "MISSING"
        site.search("libca", [site.name, missing])
        site.search("caproto", [site.name], library="caproto")
        site.search("p4p", [site.name, missing], library="p4p")
        ports = site.ports_of("one")
        wait_until(lambda: all(site.connected(one) for one in ("libca", "caproto", "p4p")), 20)
        wait_until(lambda: len(heard.responses) >= 2 and ports["pva"] in heard.pva_responses)
        wait_until(lambda: missing in heard.requests and missing in heard.pva_requests)
        assert {*heard.requests} == {site.name, missing} == {*heard.pva_requests}
        assert {*heard.responses} == {ports["ca"]}
        wait_until(lambda: ports["ca"] in heard.beacons and ports["pva"] in heard.pva_beacons, 20)
    assert heard.problems == []
    assert heard.listening.stats()["kernel_drops"] == 0


def test_sockets_hear_requests_and_beacons_but_no_answers(site):
    with Heard(site.ports, "sockets") as heard:
        assert heard.choice.way == "sockets"
        site.start("one")
        site.search("libca", [site.name])
        site.search("p4p", [site.name], library="p4p")
        wait_until(lambda: site.connected("libca") and site.connected("p4p"), 20)
        wait_until(lambda: heard.beacons and heard.pva_beacons, 20)
        wait_until(lambda: heard.requests and heard.pva_requests)
        assert {*heard.requests} == {site.name} == {*heard.pva_requests}
        assert heard.responses == [] == heard.pva_responses
        assert heard.problems == []


def unicast(site):
    """A client that asks this host alone, and whether it was answered."""
    site.env = lambda original=site.env: original() | {"EPICS_CA_ADDR_LIST": LOOPBACK}
    site.search("unicast", [site.name])
    return lambda: site.connected("unicast")


def test_a_forced_socket_takes_searches_from_a_server_which_auto_does_not_do(site, monkeypatch):
    site.start("one")
    with Heard(site.ports, "sockets") as heard:
        assert any("would no longer reach it" in text for text in heard.choice.warnings)
        answered = unicast(site)
        wait_until(lambda: heard.requests.count(site.name) >= 4, 20)
        assert not answered()
    without = look_around([site.ports.ca])
    assert site.ports.ca in without.taken
    monkeypatch.setattr(
        "socs.epics.gateway.listening.open_packet_socket",
        lambda *_: (_ for _ in ()).throw(ConfigError("capture: not here")),
    )
    with Heard(site.ports, "auto") as heard:
        assert heard.choice.way == "sockets"
        assert set(heard.choice.left_out) == {"ca", "pva"}
        wait_until(unicast(site), 20)


def test_a_socket_that_was_there_before_the_server_takes_nothing_from_it(site):
    with Heard(site.ports, "sockets") as heard:
        assert heard.choice.left_out == {}
        site.start("one")
        wait_until(unicast(site), 20)
        assert heard.requests == []


@needs_capture
def test_a_capture_takes_nothing_from_a_server(site):
    site.start("one")
    with Heard(site.ports, "capture") as heard:
        answered = unicast(site)
        wait_until(answered, 20)
        wait_until(lambda: heard.responses)
        assert heard.requests == [site.name] * len(heard.requests)


@needs_capture
def test_if_one_handler_fails_the_others_still_get_theirs(site):
    with Heard(site.ports, "capture") as heard:
        heard.listening._handlers["ca"] = lambda batch: 1 // 0
        site.start("one")
        site.search("libca", [site.name])
        wait_until(lambda: heard.beacons and heard.listening.counters["handler_errors"], 20)
        assert any("ZeroDivisionError" in text for text in heard.problems)
        assert heard.listening.alive
