"""Real applications that send heartbeats are asked, over a network that loses datagrams, too."""

import os
import socket
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from socs.counters import EPICS_ASKING, EPICS_ASKING_CONSERVATION, Counters, imbalances
from socs.epics.applications import netstat
from socs.epics.applications.asker import Asker
from socs.epics.applications.asking import AskingSettings
from socs.epics.applications.conversations import NamesConversation
from socs.epics.decode import alive, heartbeat
from socs.epics.search import udp_thread
from socs.epics.search.udp_thread import SharedLimiter
from socs.epics.track.applications import Applications
from socs.epics.track.settings import TrackSettings
from socs.errors import ConfigError
from socs.sim.heartbeat_app import ALIVE, command_line, truth_of
from socs.sim.leash import Leash
from socs.sim.ports import LOOPBACK
from socs.testing import wait_until
from socs.testing.relay import Impairment, RandomFates
from tests.epics_packets import address
from tests.one_gateway import OneGateway

HERE = address(LOOPBACK)
ON = AskingSettings(True, 100, 100, timeout=2.0, first_line_timeout=5.0, lines_every=0.0)
HASTY = replace(ON, timeout=0.1, first_line_timeout=0.1, attempts=60)
PERIOD = 0.1  # s between heartbeats


class Field:
    """Applications, and a tracker that hears their heartbeats."""

    def __init__(self, directory):
        self.directory = directory
        self.leash = Leash()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((LOOPBACK, 0))
        self.socket.settimeout(30)
        settings = TrackSettings(("127.0.0.0/8",))
        self.tracker = Applications(settings, OneGateway(time.time() - 1))
        self.events = []

    def start(self, version="2.0", **options):
        """Start one; what is true of it."""
        options = {"version": version, "period": PERIOD} | options
        command = command_line(self.socket.getsockname(), **options)
        log = self.directory / f"{version}-{len(list(self.directory.iterdir()))}.log"
        child = self.leash.start(command, log=log, env=dict(os.environ))
        return child, wait_until(lambda: truth_of(child.output()), 20, "the application to run")

    def hear(self):
        """Take the next heartbeat; who sent it, and its number."""
        datagram, (_, port) = self.socket.recvfrom(9000)
        now = time.time()
        if datagram.startswith(b"{"):
            beat = heartbeat.decode(datagram)
            self.events += self.tracker.heartbeat(beat, HERE, port, now)
            return port, beat.sequence
        beat = alive.decode(datagram)
        self.events += self.tracker.alive(beat, HERE, port, now)
        return port, beat.count

    def hear_of(self, truth):
        """Wait for its next heartbeat; the tracker's account of it."""
        while self.hear()[0] != truth.port:
            pass
        (app,) = (each for each in self.tracker.known.values() if each.sender == truth.port)
        return app

    @contextmanager
    def told_to(self, asker, at=None):
        """Tell ``asker`` of each heartbeat, as a gateway does; as if from port ``at``."""
        ending = threading.Event()

        def tell():
            while not ending.is_set():
                port, sequence = self.hear()
                asker.heard(HERE, at or port, sequence)

        thread = threading.Thread(target=tell)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join()

    def close(self):
        self.leash.close()
        self.socket.close()


@pytest.fixture
def field(tmp_path):
    with closing(Field(tmp_path)) as made:
        yield made


class TwoWays:
    """A relay for questions to an application and its answers; each way loses its own datagrams."""

    def __init__(self, target, decide):
        self.front, self.back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for each in (self.front, self.back):
            each.bind((LOOPBACK, 0))
            each.settimeout(0.05)
        self.there, self.back_again = (Impairment(way) for way in decide)
        self.port = self.front.getsockname()[1]
        self.asker = None
        self.ending = threading.Event()
        jobs = (
            (self.front, self.there, self.back, lambda: target),
            (self.back, self.back_again, self.front, lambda: self.asker),
        )
        self.threads = [threading.Thread(target=self.run, args=job) for job in jobs]
        for thread in self.threads:
            thread.start()

    def run(self, source, impairment, through, target):
        while not self.ending.is_set():
            try:
                datagram, sender = source.recvfrom(65535)
            except TimeoutError:
                continue
            if source is self.front:
                self.asker = sender
            for each in impairment.feed(datagram, time.monotonic()):
                through.sendto(each, target())

    def close(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        self.front.close()
        self.back.close()


class Questions:
    """An asker, and what was told to it."""

    def __init__(self, settings=ON, **given):
        self.told, self.problems = [], []
        self.counters = Counters(EPICS_ASKING)
        self.asker = Asker(
            settings,
            self.told.extend,
            on_problem=self.problems.append,
            counters=self.counters,
            limiter=SharedLimiter(settings.datagrams_per_second, settings.burst),
            **given,
        )

    def __enter__(self):
        self.asker.start()
        return self

    def __exit__(self, *_):
        self.asker.close()

    def all(self, amount=1, timeout=30):
        """What was told, by its kind, once so many conversations have ended."""
        wait_until(lambda: len(self.told) >= amount, timeout, "answers")
        assert len(self.told) == amount
        assert self.asker.waiting == 0
        return {each.what: each for each in self.told}

    def balance(self):
        assert imbalances(self.counters.snapshot(), EPICS_ASKING_CONSERVATION) == {}


def test_an_application_tells_its_names_and_which_port_is_its_own(field):
    _, truth = field.start(names=25, prefix="T:")
    app = field.hear_of(truth)
    told = app.told
    assert (told.version, told.pid, told.port) == ("2.0", truth.pid, truth.server)
    assert (told.image, told.command, told.directory) == (
        truth.image,
        truth.command,
        truth.directory,
    )
    with Questions() as questions, field.told_to(questions.asker):
        assert questions.asker.ask_names(HERE, app.sender, told.sequence, server=told.port)
        assert questions.asker.ask_netstat(HERE, app.sender, told.sequence)
        answers = questions.all(2)
    names, lines = answers["names"], answers["lines"]
    assert (names.texts, names.ending) == (tuple(truth.names), "complete")
    assert (names.host, names.port, names.server) == (HERE, truth.port, truth.server)
    assert lines.ending == "complete"
    found = netstat.read(lines.texts)
    assert found.unread == 0
    process = found.applications()[truth.server]
    assert (process.pid, process.directory) == (truth.pid, truth.directory)
    assert process.command == f"{truth.image} {truth.command}"
    assert f"json:{process.identity(HERE):016x}" == app.key
    assert questions.problems == []
    questions.balance()


def test_all_versions_at_once(field):
    truths = [field.start(version, names=12)[1] for version in ("1.1", "3.0", ALIVE)]
    heard = [field.hear_of(truth) for truth in truths]
    hasty = replace(ON, timeout=0.3, attempts=2)
    with Questions(hasty) as questions, field.told_to(questions.asker):
        for app in heard:
            questions.asker.ask_names(HERE, app.sender, app.beat.sequence)
        questions.all(3)
    told = {each.port: each for each in questions.told}
    first, third, record = (told[truth.port] for truth in truths)
    assert first.texts == tuple(truths[0].names)
    assert (third.texts, third.ending) == ((), "complete")
    assert (record.texts, record.ending) == ((), "silent")
    assert heard[2].beat.title == truths[2].title
    assert int(heard[2].beat.run) == truths[2].started


def test_all_is_told_although_a_third_of_the_datagrams_is_lost_each_way(field):
    _, truth = field.start(names=105)
    app = field.hear_of(truth)
    ways = [RandomFates(seed, loss=0.3, duplicate=0.2) for seed in (1, 2)]
    relay = TwoWays((LOOPBACK, truth.port), ways)
    with closing(relay), Questions(HASTY) as questions:
        with field.told_to(questions.asker, relay.port):
            sequence = app.told.sequence
            questions.asker.ask_names(HERE, relay.port, sequence)
            questions.asker.ask_netstat(HERE, relay.port, sequence)
            answers = questions.all(2)
        counts = questions.counters
        there, back = relay.there.counts, relay.back_again.counts
        wait_until(lambda: counts["asking_datagrams"] == relay.back_again.counts.sent)
        assert counts["asking_requests"] == relay.there.counts.received
    assert answers["names"].texts == tuple(truth.names)
    assert netstat.read(answers["lines"].texts).applications()[truth.server].pid == truth.pid
    assert answers["lines"].ending == "complete"
    assert there.dropped > 3
    assert back.dropped > 3
    assert counts["asking_repeated"] >= 3
    assert counts["asking_stray"] >= back.duplicated > 0
    questions.balance()


def test_heartbeats_keep_a_long_conversation_alive_and_without_them_it_is_refused(field):
    slow = replace(ON, datagrams_per_second=20, burst=1, timeout=0.2, attempts=2)
    _, truth = field.start(names=100)
    app = field.hear_of(truth)
    with Questions(slow) as questions, field.told_to(questions.asker):
        questions.asker.ask_names(HERE, truth.port, app.told.sequence)
        told = questions.all()["names"]
    assert told.texts == tuple(truth.names)
    with Questions(slow) as questions:
        questions.asker.ask_names(HERE, truth.port, 0)
        assert questions.all()["names"].ending == "silent"


def test_an_application_that_ends_meanwhile_is_told_as_far_as_it_came(field):
    settings = replace(ON, datagrams_per_second=20, burst=1, timeout=0.2, attempts=2)
    child, truth = field.start(names=1000, period=3600)
    sequence = field.hear_of(truth).told.sequence
    with Questions(settings) as questions:
        questions.asker.ask_names(HERE, truth.port, sequence)
        wait_until(lambda: questions.counters["asking_answers"] > 3)
        child.kill()
        told = questions.all()["names"]
    assert (told.ending, told.total) == ("cut", 1000)
    assert 30 < len(told.texts) < 1000
    assert told.texts == tuple(truth.names[: len(told.texts)])


@pytest.fixture
def peer():
    """A socket that answers nothing by itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        sock.settimeout(30)
        yield sock


def nothing_came(sock):
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        sock.recv(100)


def test_off_means_that_nothing_is_sent(peer):
    port = peer.getsockname()[1]
    with Questions(AskingSettings()) as questions:
        assert not questions.asker.ask_names(HERE, port, 1)
        assert not questions.asker.ask_netstat(HERE, port, 1)
        wait_until(lambda: questions.counters["asking_refused_off"] == 2)
    nothing_came(peer)


def test_hosts_outside_the_subnets_are_not_asked(peer):
    port = peer.getsockname()[1]
    with Questions(admit=["10.0.0.0/8"]) as questions:
        assert not questions.asker.ask_names(HERE, port, 1)
        wait_until(lambda: questions.counters["asking_refused_address"] == 1)
    nothing_came(peer)


def test_junk_and_forged_answers_change_nothing(peer):
    with Questions() as questions:
        questions.asker.ask_names(HERE, peer.getsockname()[1], 1)
        request, asker = peer.recvfrom(100)
        handle = int.from_bytes(request[12:], "big")
        good = b'{"handle":"%d","offset":"0","pvs":["A"],"total":"1"}'
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(good % handle, asker)
        for datagram in (good % (handle ^ 1), b"", b"\xff" * 9001, b"[" * 8000, good % handle):
            peer.sendto(datagram, asker)
        told = questions.all()["names"]
        assert told.texts == ("A",)
        wait_until(lambda: questions.counters["asking_datagrams"] == 6)
    assert questions.counters["asking_stray"] == 2
    assert questions.counters["asking_unreadable"] == 3
    questions.balance()


def test_outcomes_that_cannot_be_handled_are_counted_and_asking_goes_on(peer):
    settings = replace(ON, timeout=0.05, attempts=1)
    with Questions(settings) as questions:
        questions.asker._on_ended = lambda told: 1 // 0
        questions.asker.ask_names(HERE, peer.getsockname()[1], 1)
        wait_until(lambda: questions.counters["asking_handler_errors"] == 1)
        assert any("ZeroDivisionError" in text for text in questions.problems)
        questions.asker._on_ended = questions.told.extend
        questions.asker.ask_names(HERE, peer.getsockname()[1], 1)
        assert questions.all()["names"].ending == "silent"


@pytest.mark.parametrize("where", ["decode", "take"])
def test_answers_whose_handling_fails_are_counted_and_asking_goes_on(peer, monkeypatch, where):
    port = peer.getsockname()[1]
    with Questions() as questions:
        questions.asker.ask_names(HERE, port, 1)
        request, asker = peer.recvfrom(100)
        handle = int.from_bytes(request[12:], "big")
        answer = b'{"handle":"%d","offset":"0","pvs":["A"],"total":"1"}' % handle
        with monkeypatch.context() as broken:
            owner = heartbeat if where == "decode" else NamesConversation
            broken.setattr(owner, where, lambda *_: 1 // 0)
            peer.sendto(answer, asker)
            wait_until(lambda: questions.counters["asking_answer_errors"] == 1)
        assert any("ZeroDivisionError" in text for text in questions.problems)
        peer.sendto(answer, asker)
        assert questions.all()["names"].texts == ("A",)
    questions.balance()


def test_an_error_of_the_asking_itself_is_counted_and_asking_goes_on(peer, monkeypatch):
    monkeypatch.setattr(udp_thread, "PAUSE", 0.01)
    with Questions(replace(ON, timeout=0.05, attempts=1)) as questions:
        with monkeypatch.context() as broken:
            broken.setattr(questions.asker._asking, "tick", lambda now: 1 // 0)
            wait_until(lambda: questions.counters["asking_defects"] >= 2)
        assert any("asking applications: Zero" in text for text in questions.problems)
        questions.asker.ask_names(HERE, peer.getsockname()[1], 1)
        assert questions.all()["names"].ending == "silent"


def test_several_that_end_at_one_moment_are_all_told(peer):
    with Questions(replace(ON, timeout=0.1, attempts=1)) as questions:
        for host in range(HERE, HERE + 5):
            questions.asker.ask_names(host, peer.getsockname()[1], 1)
        wait_until(lambda: len(questions.told) == 5)
    assert {each.host for each in questions.told} == set(range(HERE, HERE + 5))


def test_what_cannot_be_sent_is_counted_and_nobody_is_called_silent():
    settings = replace(ON, timeout=0.05)
    with Questions(settings, address=LOOPBACK) as questions:
        questions.asker.ask_names(address("192.0.2.1"), 5066, 1)
        wait_until(lambda: questions.counters["asking_send_errors"] > 2 * ON.attempts)
        assert questions.told == []
        assert any("could not be sent to 192.0.2.1:5066" in text for text in questions.problems)


def test_it_starts_again_and_may_be_closed_by_what_it_calls(peer):
    port = peer.getsockname()[1]
    with Questions(replace(ON, timeout=0.05, attempts=1)) as questions:
        done = threading.Event()

        def close(told):
            questions.asker.close()
            done.set()

        questions.asker._on_ended = close
        questions.asker.ask_names(HERE, port, 1)
        assert done.wait(60)
        wait_until(lambda: not questions.asker.alive)
        questions.asker._on_ended = questions.told.extend
        questions.asker.ask_names(HERE, port, 1)
        questions.asker.start()
        questions.asker.start()
        assert questions.all()["names"].ending == "silent"
        assert peer.recvfrom(100)[1] != (LOOPBACK, questions.asker.port)
        assert peer.recvfrom(100)[1] == (LOOPBACK, questions.asker.port)


def test_settings_that_are_not_possible():
    for given, message in (
        ({"admit": ["x"]}, "admit: "),
        ({"admit": "10.0.0.0/8"}, "is one text"),
    ):
        with pytest.raises(ConfigError, match=message):
            Asker(ON, print, **given)
    with Asker(ON, print, address="x y") as asker, pytest.raises(ConfigError, match="address"):
        asker.start()
