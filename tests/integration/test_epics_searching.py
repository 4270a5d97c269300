"""Our own searches against real servers."""

import socket
import threading
from dataclasses import replace
from importlib.util import find_spec

import pytest

from socs.counters import EPICS_SEARCH, Counters
from socs.epics.search import active as searching
from socs.epics.search import udp_thread
from socs.epics.search.active import ActiveSearch
from socs.epics.search.limiter import MOST_PER_SECOND, Limiter
from socs.epics.search.searcher import Priority, SearchSettings, Server
from socs.epics.search.udp_thread import SharedLimiter
from socs.errors import ConfigError
from socs.sim.iocs import BROADCAST, EpicsSite
from socs.sim.ports import LOOPBACK
from socs.testing import wait_until
from tests.epics_packets import address

needs_servers = pytest.mark.skipif(
    not all(map(find_spec, ("softioc", "caproto", "p4p"))),
    reason="needs softioc, caproto and p4p (extras epics and test)",
)
ON = SearchSettings(enabled=True, datagrams_per_second=50, burst=10, timeout=0.4, attempts=2)
PATIENT = replace(ON, timeout=1.5)  # a busy machine lets servers wait
HERE = address(LOOPBACK)


class Results:
    """A search, and what came of it by name."""

    def __init__(self, protocol, destinations, settings=ON, **given):
        self.outcomes, self.problems = {}, []
        self.counters = Counters(EPICS_SEARCH)
        self.search = ActiveSearch(
            protocol,
            settings,
            destinations,
            self.take,
            on_problem=self.problems.append,
            counters=self.counters,
            **given,
        )

    def take(self, outcomes):
        self.outcomes.update((each.name.decode(), each) for each in outcomes)

    def __enter__(self):
        self.search.start()
        return self

    def __exit__(self, *_):
        self.search.close()

    def of(self, *names):
        """The servers of each name, once all have an outcome."""
        wait_until(lambda: set(names) <= set(self.outcomes), 20)
        return [{server[:2] for server in self.outcomes[name].servers} for name in names]


@pytest.fixture
def server():
    """A socket that answers nothing by itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        sock.settimeout(30)
        yield sock


@needs_servers
def test_names_of_real_servers_are_found_and_a_missing_one_is_not(tmp_path):
    with EpicsSite(tmp_path / "site") as site:
        name = site.prefix
        site.add("base", {name + "BASE": "float", name + "BOTH": "float"})
        site.add("caproto", {name + "CAPROTO": "enum", name + "BOTH": "int"}, server="caproto")
        site.add("p4p", {name + "P4P": "waveform", name + "BOTH": "float"}, server="p4p")
        site.start("base", "caproto", "p4p")
        names = [name + each for each in ("BASE", "CAPROTO", "P4P", "BOTH", "MISSING")]
        for protocol, port in (("ca", site.ports.ca), ("pva", site.ports.pva)):
            expected = [
                {
                    (HERE, one.port)
                    for one in site.serving().get(each, [])
                    if one.protocol == protocol
                }
                for each in names
            ]
            assert sorted(map(len, expected)) == [0, 0, 1, 1, 2]
            with Results(protocol, [(BROADCAST, port)], PATIENT) as results:
                assert results.search.ask([each.encode() for each in names]) == 5
                assert results.of(*names) == expected
                assert results.outcomes[name + "MISSING"].attempts == 2
                assert results.search.waiting == 0
            assert results.problems == []
            assert results.counters["search_found"] == 3
            assert results.counters["search_not_found"] == 2


@needs_servers
def test_a_server_that_was_started_again_has_another_guid(tmp_path):
    with EpicsSite(tmp_path / "site") as site:
        name = site.prefix + "A"
        site.add("p4p", {name: "float"}, server="p4p")
        guids = set()
        with Results("pva", [(BROADCAST, site.ports.pva)], PATIENT) as results:
            for _ in range(2):
                results.outcomes.clear()
                site.start("p4p")
                results.search.ask([name.encode()], Priority.BEACON)
                assert results.of(name) == [{(HERE, site.ports_of("p4p")["pva"])}]
                guids.add(results.outcomes[name].servers[0].guid)
                site.kill("p4p")
        assert len(guids) == 2


def test_off_means_that_nothing_is_sent(server):
    port = server.getsockname()[1]
    with Results("ca", [(LOOPBACK, port)], SearchSettings()) as results:
        assert results.search.ask([b"A"], Priority.PAGE) == 0
        wait_until(lambda: results.counters["search_refused_off"])
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(100)


def test_two_that_share_a_limiter_send_no_more_than_one(server):
    port = server.getsockname()[1]
    settings = SearchSettings(True, 0.01, 2, timeout=30.0, attempts=1)
    limiter = SharedLimiter(settings.datagrams_per_second, settings.burst)
    with (
        Results("ca", [(LOOPBACK, port)], settings, limiter=limiter) as one,
        Results("pva", [(LOOPBACK, port)], settings, limiter=limiter) as two,
    ):
        for number in range(20):
            for each in (one, two):
                each.search.ask([b"%d" % number + b"x" * 480])
        wait_until(lambda: one.counters["search_datagrams"] + two.counters["search_datagrams"] == 2)
        for _ in range(2):
            server.recv(2000)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(2000)


def test_two_that_share_nothing_are_under_one_cap_all_the_same(server, monkeypatch):
    monkeypatch.setattr(SharedLimiter, "_cap", Limiter(0.01, 3))
    port = server.getsockname()[1]
    settings = SearchSettings(True, MOST_PER_SECOND, MOST_PER_SECOND, timeout=30.0)
    with (
        Results("ca", [(LOOPBACK, port)], settings) as one,
        Results("pva", [(LOOPBACK, port)], settings) as two,
    ):
        for number in range(20):
            for each in (one, two):
                each.search.ask([b"%d" % number + b"x" * 480])
        wait_until(lambda: one.counters["search_datagrams"] + two.counters["search_datagrams"] == 3)
        for _ in range(3):
            server.recv(2000)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(2000)


def test_answers_from_outside_the_subnets_and_junk_change_nothing(server):
    port = server.getsockname()[1]
    with Results("ca", [(LOOPBACK, port)], admit=["10.0.0.0/8"]) as results:
        results.search.ask([b"A"])
        request, sender = server.recvfrom(2000)
        assert sender[1] == results.search.port
        answer = bytearray(request[16:40])  # with the number of the channel
        answer[2:4], answer[4:6], answer[6:12] = b"\0\0", b"\x13\xc8", b"\0\0" + b"\xff" * 4
        server.sendto(bytes(answer[:16]), sender)
        for junk in (b"", b"x", b"\xff" * 1000):
            server.sendto(junk, sender)
        assert results.of("A") == [set()]
    assert results.counters["search_foreign"] == 1


def test_outcomes_that_cannot_be_handled_are_counted_and_searching_goes_on(server):
    port = server.getsockname()[1]
    with Results("ca", [(LOOPBACK, port)]) as results:
        results.search._on_ended = lambda outcomes: 1 // 0
        results.search.ask([b"A"])
        wait_until(lambda: results.counters["search_handler_errors"] == 1)
        assert any("ZeroDivisionError" in text for text in results.problems)
        results.search._on_ended = results.take
        results.search.ask([b"A"])
        assert results.of("A") == [set()]


@pytest.mark.parametrize("protocol", ["ca", "pva"])
def test_answers_whose_handling_fails_are_counted_and_searching_goes_on(
    server, monkeypatch, caplog, protocol
):
    port = server.getsockname()[1]
    module = {"ca": searching.ca, "pva": searching.pva}[protocol]
    settings = replace(ON, timeout=0.1, attempts=1)
    with Results(protocol, [(LOOPBACK, port)], settings) as results:
        with monkeypatch.context() as broken:
            broken.setattr(module, "decode", lambda datagrams: 1 // 0)
            server.sendto(b"anything", (LOOPBACK, results.search.port))
            wait_until(lambda: results.counters["search_answer_errors"] == 1)
        assert any(f":{port}: ZeroDivisionError" in text for text in results.problems)
        assert "a defect" in caplog.text
        results.search.ask([b"A"])
        assert results.of("A") == [set()]
    assert results.counters["search_defects"] == 0


def test_an_error_of_the_search_itself_is_counted_and_searching_goes_on(server, monkeypatch):
    port = server.getsockname()[1]
    monkeypatch.setattr(udp_thread, "PAUSE", 0.01)
    settings = replace(ON, timeout=0.1, attempts=1)
    with Results("ca", [(LOOPBACK, port)], settings) as results:
        with monkeypatch.context() as broken:
            broken.setattr(results.search._searcher, "tick", lambda now: 1 // 0)
            wait_until(lambda: results.counters["search_defects"] >= 2)
        assert any("searching: ZeroDivisionError" in text for text in results.problems)
        results.search.ask([b"A"])
        assert results.of("A") == [set()]


def test_what_cannot_be_sent_is_counted_and_is_not_called_not_found():
    settings = replace(ON, timeout=0.05)
    with Results("ca", [("192.0.2.1", 5064)], settings, address=LOOPBACK) as results:
        results.search.ask([b"A"])
        wait_until(lambda: results.counters["search_send_errors"] > 3 * ON.attempts)
        assert results.outcomes == {}
        assert results.search.waiting == 1
        assert any("could not be sent to 192.0.2.1:5064" in text for text in results.problems)


def test_it_starts_again_and_may_be_closed_by_what_it_calls(server):
    port = server.getsockname()[1]
    done = threading.Event()
    with Results("ca", [(LOOPBACK, port)]) as results:

        def close(outcomes):
            results.search.close()
            done.set()

        results.search._on_ended = close
        results.search.ask([b"A"])
        assert done.wait(60)
        wait_until(lambda: not results.search.alive)
        results.search._on_ended = results.take
        results.search.ask([b"B"])
        results.search.start()
        assert results.of("B") == [set()]


def test_settings_that_are_not_possible():
    for given, message in (
        (("http", ON, [(LOOPBACK, 1)]), "protocol: 'http'"),
        (("ca", ON, [("localhost", 1)]), "'localhost' is no IPv4 address"),
        (("ca", ON, [(LOOPBACK, 0)]), "port: 0 is not between"),
        (("ca", ON, []), "0 destinations"),
    ):
        with pytest.raises(ConfigError, match=message):
            ActiveSearch(*given, print)
    assert Server(1, 2) == Server(1, 2, b"")
