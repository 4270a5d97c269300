"""The UDP receiver on real sockets of the loopback interface."""

import errno
import os
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from socs.counters import UDP, Counters
from socs.errors import ConfigError
from socs.testing import wait_until
from socs.wire import udp, udp_socket
from socs.wire.udp import UdpReceiver

HOST = "127.0.0.1"
SMALL_BUFFER = 100_000  # bytes; every system grants that
LARGE_BUFFER = 32 << 20
SEND = """
import socket, sys
port, count, size = map(int, sys.argv[1:])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect(("127.0.0.1", port))
number = 0
while number != count:  # -1: for ever
    sock.send(b"%0*d" % (size, number))
    number += 1
"""


class Collector:
    """A handler that keeps everything, and can be held back."""

    def __init__(self):
        self.datagrams, self.senders, self.times = [], [], []
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, batch):
        self.datagrams += batch.datagrams()
        self.senders += batch.senders()
        self.times.append(batch.received)
        self.entered.set()
        if not self.go_on.wait(30):
            raise TimeoutError("the test never let the handler go on")

    def hold_back(self):
        self.go_on.clear()

    def wait_for(self, count):
        wait_until(lambda: len(self.datagrams) >= count, 20, f"{count} datagrams")


@pytest.fixture(params=["recvmmsg", "recv"])
def method(request):
    return request.param


@pytest.fixture
def got():
    return Collector()


@pytest.fixture
def told():
    return []


@pytest.fixture
def sock():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


@pytest.fixture
def make(method, told):
    """Makes receivers on free ports; stopped, and their conservation checked, in the end."""
    made = []

    def make_receiver(handler, **settings):
        defaults = {
            "method": method,
            "on_problem": told.append,
            "receive_buffer": SMALL_BUFFER,
        }
        receiver = UdpReceiver(HOST, 0, handler, **defaults | settings)
        made.append(receiver)
        return receiver

    yield make_receiver
    for receiver in made:
        receiver.stop()
        assert_conserved(receiver)


def assert_conserved(receiver):
    stats = receiver.stats()
    parts = ("datagrams_accepted", "sender_not_allowed", "datagram_truncated")
    parts += ("handler_errors", "queue_full")
    assert stats["datagrams_received"] == sum(stats[part] for part in parts)


@contextmanager
def sender(port, count, size=300):
    """Another process that sends ``count`` numbered datagrams back to back."""
    command = [sys.executable, "-c", SEND, str(port), str(count), str(size)]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_count(receiver, name, count):
    wait_until(lambda: receiver.stats()[name] == count, 10, f"{name} == {count}")


def send_small(receiver, count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(count):
            sock.sendto(b"%d" % number, (HOST, receiver.port))


class TestGathering:
    def test_what_comes_meanwhile_is_one_batch(self, make, got):
        receiver = make(got, gather=100.0, receive_buffer=LARGE_BUFFER)
        receiver.open()
        if receiver.receive_buffer_granted < udp.GATHERING_ROOM:
            pytest.skip("the system grants too small a buffer")
        send_small(receiver, 1)  # there when it looks for the first time
        with receiver:
            got.wait_for(1)
            send_small(receiver, 2)
            sent = time.monotonic()
            wait_until(lambda: time.monotonic() > sent + 0.2)  # it would have taken them by now
            send_small(receiver, 3)
        assert got.datagrams == [b"0", b"0", b"1", b"0", b"1", b"2"]
        assert len(got.times) == 2

    def test_not_in_a_small_buffer(self, make, got):
        with make(got, gather=100.0) as receiver:
            send_small(receiver, 1)
            got.wait_for(1)

    def test_a_full_batch_is_followed_by_the_next_at_once(self, make, got):
        got.hold_back()
        receiver = make(got, gather=100.0, batch=2, receive_buffer=LARGE_BUFFER)
        receiver.open()
        send_small(receiver, 4)  # there before it looks for the first time
        with receiver:
            got.go_on.set()
            got.wait_for(4)


class TestReception:
    def test_method_is_the_one_asked_for(self, make, got, method):
        with make(got) as receiver:
            assert receiver.method == method

    @pytest.mark.parametrize("max_datagram", [300, 65536])
    def test_burst_from_another_process(self, make, got, max_datagram):
        count = 20_000
        settings = {"max_datagram": max_datagram, "receive_buffer": LARGE_BUFFER}
        with make(got, **settings) as receiver:
            with sender(receiver.port, count) as process:
                assert process.wait(60) == 0
            receiver.stop()
            stats = receiver.stats()
        numbers = [int(datagram) for datagram in got.datagrams]
        assert stats["datagrams_accepted"] == len(numbers)
        assert stats["bytes_received"] == 300 * len(numbers)
        assert len(numbers) + stats["kernel_drops"] == count
        if stats["receive_buffer_granted"] >= 8 << 20:  # room for the whole burst
            assert numbers == list(range(count))
        assert numbers == sorted(set(numbers))
        assert {len(datagram) for datagram in got.datagrams} == {300}

    def test_order_of_each_sender(self, make, got):
        count = 3000
        with make(got, receive_buffer=LARGE_BUFFER) as receiver:
            with sender(receiver.port, count) as one, sender(receiver.port, count) as other:
                assert [one.wait(60), other.wait(20)] == [0, 0]
            receiver.stop()
            assert len(got.datagrams) + receiver.stats()["kernel_drops"] == 2 * count
        assert len(set(got.senders)) == 2
        for who in set(got.senders):
            pairs = zip(got.datagrams, got.senders, strict=True)
            numbers = [int(text) for text, from_ in pairs if from_ == who]
            assert numbers == sorted(set(numbers))

    def test_one_datagram_is_handed_on_at_once(self, make, got, sock, monkeypatch):
        monkeypatch.setattr(udp, "DROPS_INTERVAL", 100.0)  # no datagram waits for its end
        with make(got) as receiver:
            for number in range(5):
                sock.sendto(b"x", (HOST, receiver.port))
                wait_until(lambda n=number: len(got.datagrams) > n, 5, "it", period=0.001)

    def test_bytes_sender_and_time(self, make, got, sock):
        sock.bind(("127.0.0.3", 0))
        text = bytes(range(256)) * 3
        with make(got, now=lambda: 1234.5) as receiver:
            sock.sendto(text, (HOST, receiver.port))
            got.wait_for(1)
        assert got.datagrams == [text]
        assert got.senders == [(0x7F000003, sock.getsockname()[1])]
        assert got.times == [1234.5]
        assert receiver.stats()["last_received"] == 1234.5

    @pytest.mark.parametrize("size", [0, 1, 1471, 1472, 1473, 65507])
    def test_every_legal_size(self, make, got, sock, size):
        text = os.urandom(size)
        with make(got) as receiver:
            sock.sendto(text, (HOST, receiver.port))
            sock.sendto(b"next", (HOST, receiver.port))
            got.wait_for(2)
        assert got.datagrams == [text, b"next"]

    def test_more_than_one_batch_is_waiting(self, make, got, sock):
        receiver = make(got, batch=7)
        receiver.open()
        for number in range(100):
            sock.sendto(b"%d" % number, (HOST, receiver.port))
        receiver.start()
        got.wait_for(100)
        assert [int(datagram) for datagram in got.datagrams] == list(range(100))
        assert len(got.times) == 15  # 14 full batches, and one of 2

    def test_arrays_have_the_promised_shapes(self, make, sock):
        shapes = []

        def look(batch):
            arrays = (batch.data, batch.sizes, batch.hosts, batch.ports)
            shapes.append([(array.dtype, array.shape) for array in arrays])

        receiver = make(look, max_datagram=100)
        receiver.open()
        for _ in range(3):
            sock.sendto(b"x", (HOST, receiver.port))
        receiver.start()
        wait_until(lambda: shapes, 5)
        assert shapes == [
            [(np.uint8, (3, 100)), (np.uint32, (3,)), (np.uint32, (3,)), (np.uint16, (3,))]
        ]


class TestRefusal:
    def test_senders_outside_the_allowed_networks(self, make, got, told, sock):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))
            receiver = make(got, allow=["10.0.0.0/8", "127.0.0.1"])
            receiver.open()
            for number in range(30):
                who = stranger if number % 3 else sock
                who.sendto(b"%d" % number, (HOST, receiver.port))
            receiver.start()
            wait_for_count(receiver, "sender_not_allowed", 20)
            name = f"127.0.0.2:{stranger.getsockname()[1]}"
        assert [int(datagram) for datagram in got.datagrams] == list(range(0, 30, 3))
        assert {host for host, _ in got.senders} == {0x7F000001}
        assert [text for text in told if name in text] == told
        assert len(told) <= 1 + 1  # of one kind, however many there are

    def test_nobody_allowed_is_left(self, make, got, sock):
        with make(got, allow=["10.0.0.0/8"]) as receiver:
            sock.sendto(b"x", (HOST, receiver.port))
            wait_for_count(receiver, "sender_not_allowed", 1)
        assert got.times == []  # an empty batch is not handed on

    def test_datagrams_that_are_too_long(self, make, got, told, sock):
        receiver = make(got, max_datagram=10)
        receiver.open()
        for size in (10, 11, 9, 65507, 0):
            sock.sendto(b"y" * size, (HOST, receiver.port))
        receiver.start()
        wait_for_count(receiver, "datagram_truncated", 2)
        assert got.datagrams == [b"y" * 10, b"y" * 9, b""]
        assert f"127.0.0.1:{sock.getsockname()[1]}: longer than 10 bytes" in told[0]

    def test_too_long_and_from_a_stranger_is_counted_once(self, make, got, sock):
        with make(got, max_datagram=10, allow=["10.0.0.0/8"]) as receiver:
            sock.sendto(b"y" * 11, (HOST, receiver.port))
            wait_for_count(receiver, "sender_not_allowed", 1)
            assert receiver.stats()["datagram_truncated"] == 0


class TestHandler:
    def test_what_it_raises_does_not_end_the_reception(self, make, told, sock, caplog):
        taken = []

        def fail_on_bad(batch):
            if b"bad" in batch.datagrams():
                raise ZeroDivisionError("no\nway")
            taken.extend(batch.datagrams())

        with make(fail_on_bad) as receiver:
            for number in range(3):
                sock.sendto(b"bad", (HOST, receiver.port))
                wait_for_count(receiver, "handler_errors", number + 1)
            sock.sendto(b"good", (HOST, receiver.port))
            wait_for_count(receiver, "datagrams_accepted", 1)
        assert taken == [b"good"]
        assert len(told) == 1
        assert re.search(r"127\.0\.0\.1:\d+: ZeroDivisionError\('no\\+nway'\) at fail_on", told[0])
        assert caplog.text.count("Traceback") == 1

    def test_what_it_shed_is_counted_as_queue_full(self, make, sock):
        receiver = make(lambda batch: 2)
        receiver.open()
        for _ in range(5):
            sock.sendto(b"x", (HOST, receiver.port))
        receiver.start()
        wait_for_count(receiver, "datagrams_received", 5)
        assert receiver.stats()["queue_full"] == 2
        assert receiver.stats()["datagrams_accepted"] == 3

    @pytest.mark.parametrize("nonsense", [-1, 2, "many"])
    def test_impossible_answers_are_its_error(self, make, sock, nonsense):
        with make(lambda batch: nonsense) as receiver:
            sock.sendto(b"x", (HOST, receiver.port))
            wait_for_count(receiver, "handler_errors", 1)

    def test_counters_may_be_shared(self, make, got, sock):
        counters = Counters(UDP)
        with make(got, counters=counters) as receiver:
            sock.sendto(b"x", (HOST, receiver.port))
            wait_for_count(receiver, "datagrams_accepted", 1)
        assert counters["datagrams_accepted"] == 1


class TestKernelDrops:
    @pytest.fixture(params=["socket", "table"])
    def source(self, request, monkeypatch):
        if request.param == "table":
            monkeypatch.setattr(udp_socket, "drops_of_socket", lambda sock: None)

    @pytest.mark.usefixtures("source")
    def test_counted_exactly(self, make, got, told, sock):
        got.hold_back()
        with make(got, receive_buffer=4096) as receiver:
            sock.sendto(b"first", (HOST, receiver.port))
            assert got.entered.wait(60)
            for number in range(500):
                sock.sendto(b"%d" % number, (HOST, receiver.port))
            dropped = receiver.stats()["kernel_drops"]
            assert 0 < dropped < 500
            got.go_on.set()
            got.wait_for(501 - dropped)
            receiver.stop()
            assert len(got.datagrams) + receiver.stats()["kernel_drops"] == 501
            assert receiver.stats()["kernel_drops"] == dropped
        assert any(f"dropped {dropped} datagrams" in text for text in told)

    def test_drops_while_nobody_looks_are_found(self, make, got, sock):
        receiver = make(got, receive_buffer=4096)
        receiver.open()
        for _ in range(200):
            sock.sendto(b"x", (HOST, receiver.port))
        receiver.start()
        wait_until(lambda: receiver._counters["kernel_drops"], 5, "a look of the thread's own")
        assert len(got.datagrams) + receiver._counters["kernel_drops"] == 200


class TestReceiveBuffer:
    def test_granted_is_in_the_unit_asked_for(self, make, got):
        receiver = make(got, receive_buffer=100_000)
        assert receiver.receive_buffer_granted == 0
        receiver.open()
        assert receiver.receive_buffer_granted == 100_000
        assert receiver.stats()["receive_buffer_granted"] == 100_000

    def test_without_privilege_the_limit_of_the_system_is_granted(self):
        class Unprivileged(socket.socket):
            def setsockopt(self, level, option, value):
                if option == udp_socket.SO_RCVBUFFORCE:
                    raise PermissionError(errno.EPERM, "no")
                super().setsockopt(level, option, value)

        limit = int(Path("/proc/sys/net/core/rmem_max").read_text())
        with Unprivileged(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            assert udp_socket.grant_receive_buffer(sock, limit + 4096) == limit

    def test_less_than_asked_for_is_told_with_the_remedy(self, make, got, told, monkeypatch):
        monkeypatch.setattr(udp, "grant_receive_buffer", lambda sock, size: 212_992)
        make(got, receive_buffer=1 << 20).open()
        assert "granted 212992" in told[0]
        assert "net.core.rmem_max=1048576" in told[0]


class TestLife:
    def test_stop_while_traffic_flows(self, make, got):
        receiver = make(got)
        receiver.start()
        thread = next(t for t in threading.enumerate() if t.name == "udp-receiver")
        assert thread.daemon
        with sender(receiver.port, -1) as process:
            got.wait_for(1000)
            receiver.stop()
            assert process.poll() is None
            assert not receiver.alive
            assert not thread.is_alive()
            count = len(got.datagrams)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
                again.bind((HOST, receiver.port))
        assert len(got.datagrams) == count
        receiver.stop()

    def test_stop_of_an_idle_receiver_is_immediate(self, make, got, sock, monkeypatch):
        monkeypatch.setattr(udp, "DROPS_INTERVAL", 1000.0)  # it does not wait for its end
        for number in range(3):
            with make(got) as receiver:
                sock.sendto(b"x", (HOST, receiver.port))
                got.wait_for(number + 1)
                receiver.stop()
                assert not receiver.alive

    def test_stop_takes_what_the_kernel_holds(self, make, sock):
        taken, told_to_stop = [], threading.Event()

        def stop_in_first(batch):
            taken.extend(batch.datagrams())
            if not told_to_stop.is_set():
                told_to_stop.set()
                receiver.stop()

        receiver = make(stop_in_first, batch=16)
        receiver.open()
        for number in range(200):
            sock.sendto(b"%d" % number, (HOST, receiver.port))
        receiver.start()
        wait_until(lambda: not receiver.alive, 5, "the end of the thread")
        assert [int(datagram) for datagram in taken] == list(range(200))

    def test_draining_is_bounded(self, make, sock):
        begun, never = threading.Event(), threading.Event()

        def slow(batch):
            begun.set()
            never.wait(0.05)  # 200 of these would take 10 s

        receiver = make(slow, batch=1)
        receiver.open()
        for _ in range(200):
            sock.sendto(b"x", (HOST, receiver.port))
        receiver.start()
        assert begun.wait(60)
        receiver.stop(timeout=1.0)
        assert not receiver.alive
        assert 0 < receiver.stats()["datagrams_accepted"] < 200

    def test_stop_does_not_wait_for_a_stuck_handler(self, make, got, told, sock):
        got.hold_back()
        receiver = make(got)
        receiver.start()
        sock.sendto(b"x", (HOST, receiver.port))
        assert got.entered.wait(60)
        receiver.stop(timeout=0.05)
        assert receiver.alive
        assert "did not stop in 0.05 s" in told[-1]
        got.go_on.set()
        wait_until(lambda: not receiver.alive, 5, "the end of the thread")
        assert receiver.stats()["datagrams_accepted"] == 1

    def test_start_again(self, make, got, sock):
        receiver = make(got)
        for number in range(3):
            with receiver:
                assert receiver.alive
                receiver.start()  # does nothing
                assert [t.name for t in threading.enumerate()].count("udp-receiver") == 1
                sock.sendto(b"%d" % number, (HOST, receiver.port))
                got.wait_for(number + 1)
        assert receiver.stats()["datagrams_accepted"] == 3

    def test_no_file_descriptor_is_left(self, make, got):
        before = os.listdir("/proc/self/fd")
        receiver = make(got)
        receiver.stop()  # never opened
        for action in (receiver.open, receiver.start):
            action()
            assert len(os.listdir("/proc/self/fd")) > len(before)
            receiver.stop()
            assert len(os.listdir("/proc/self/fd")) == len(before)


class FlakyReader:
    """Raises the given errors, then reads."""

    def __init__(self, reader, *numbers):
        self._reader, self._errors = reader, [OSError(n, os.strerror(n)) for n in numbers]
        self.method, self.buffers = reader.method, reader.buffers

    def read(self):
        if self._errors:
            raise self._errors.pop(0)
        return self._reader.read()


class TestSocketErrors:
    def test_do_not_end_the_reception(self, make, got, told, sock):
        receiver = make(got)
        receiver.open()
        opened = receiver._opened
        opened.reader = FlakyReader(
            opened.reader, errno.ECONNREFUSED, errno.ENOBUFS, errno.ENOBUFS, errno.EIO
        )
        sock.sendto(b"x", (HOST, receiver.port))
        receiver.start()
        got.wait_for(1)
        assert receiver.stats()["socket_errors"] == 4
        assert len(told) == 3  # one of each kind
        assert os.strerror(errno.ENOBUFS) in told[1]

    def test_a_dead_thread_is_seen_and_told(self, make, got, told):
        receiver = make(got)
        receiver.open()
        receiver._opened.reader = FlakyReader(receiver._opened.reader, errno.EBADF)
        receiver.start()
        wait_until(lambda: not receiver.alive, 5, "the end of the thread")
        assert "has ended" in told[0]

    def test_a_lasting_error_does_not_keep_the_processor_busy(self, make, got, sock):
        receiver = make(got)
        receiver.open()
        opened = receiver._opened
        opened.reader = FlakyReader(opened.reader, *[errno.EIO] * 100_000)
        sock.sendto(b"x", (HOST, receiver.port))  # so that poll never waits
        receiver.start()
        wait_until(lambda: receiver.stats()["socket_errors"] >= 6, 5)
        receiver.stop()
        assert not receiver.alive
        assert receiver.stats()["socket_errors"] < 50


class TestSettings:
    @pytest.mark.parametrize(
        ("address", "port", "settings", "message"),
        [
            ("192.0.2.1", 0, {}, "address: 192.0.2.1 belongs to no interface"),
            ("::1", 0, {}, "address: ::1 is IPv6; only IPv4"),
            ("", 0, {}, "address: is empty"),
            (HOST, 65536, {}, "port: 65536 is not between 0 and 65535"),
            (HOST, 0, {"allow": ["10.0.0.0/99"]}, "allow: '10.0.0.0/99'"),
            (HOST, 0, {"max_datagram": 0}, "max_datagram: 0 is not between 1 and 65536"),
            (HOST, 0, {"batch": 5000}, "batch: 5000"),
            (HOST, 0, {"receive_buffer": 1 << 31}, "receive_buffer: "),
            (HOST, 0, {"method": "fast"}, "method: 'fast'"),
        ],
    )
    def test_wrong_ones_are_named(self, address, port, settings, message):
        receiver = UdpReceiver(address, port, lambda batch: None, **settings)
        before = os.listdir("/proc/self/fd")
        with pytest.raises(ConfigError, match="^" + re.escape(message)):
            receiver.start()
        assert len(os.listdir("/proc/self/fd")) == len(before)
        assert not receiver.alive
        receiver.stop()

    def test_port_in_use(self, make, got):
        with make(got) as first:
            second = UdpReceiver(HOST, first.port, got)
            with pytest.raises(ConfigError, match=f"port: {first.port} on {HOST} is in use"):
                second.open()

    def test_unknown_host_name(self):
        why = udp_socket._why_not_bound(socket.gaierror(-2, "unknown"), "nowhere", 0)
        assert why.startswith("address: 'nowhere' is not an IPv4 address")

    @pytest.mark.parametrize("reuse", ["reuse_port", "reuse_address"])
    def test_port_shared_on_purpose(self, make, got, reuse):
        with (
            make(got, **{reuse: True}) as first,
            UdpReceiver(HOST, first.port, got, **{reuse: True}) as second,
        ):
            assert second.port == first.port

    def test_address_and_port_are_the_real_ones(self, make, got):
        receiver = UdpReceiver("localhost", 0, got)
        assert (receiver.address, receiver.port) == ("localhost", 0)
        with receiver:
            assert receiver.address == HOST
            assert receiver.port > 0
