"""A real capture on loopback sees what real sockets send, each datagram once."""

import select
import socket
import struct
import subprocess
import sys

import pytest

from socs.counters import CAPTURE, CAPTURE_CONSERVATION, UDP, Counters, imbalances
from socs.counters.udp import UDP_CONSERVATION
from socs.errors import ConfigError, OurError
from socs.sim.lan import Lan
from socs.testing import LOOPBACK, free_port, wait_until
from socs.wire.capture import PacketCapture
from socs.wire.packet_socket import open_packet_socket
from socs.wire.pcap import PcapFile, PcapWriter
from tests.pcap_files import udp

SIZES = (0, 1, 8, 28, 29, 1024, 65507)
THIS = int.from_bytes(socket.inet_aton(LOOPBACK), "big")


def refusal():
    try:
        open_packet_socket((1,), ()).close()
    except ConfigError as error:
        if "CAP_NET_RAW" in str(error):
            return str(error)
        raise
    return ""


needs_capture = pytest.mark.skipif(bool(refusal()), reason=refusal())


class Seen:
    """A capture on loopback, and what it saw."""

    def __init__(self, ports, **settings):
        self.datagrams, self.problems = [], []
        self.counters = Counters(UDP, CAPTURE)
        settings = {"interfaces": ("lo",), "receive_buffer": 1 << 20} | settings
        self.capture = PacketCapture(
            ports, self.take, on_problem=self.problems.append, counters=self.counters, **settings
        )

    def take(self, batch):
        self.datagrams += zip(
            batch.hosts.tolist(),
            batch.ports.tolist(),
            batch.to_hosts.tolist(),
            batch.to_ports.tolist(),
            batch.datagrams(),
            strict=True,
        )

    def __enter__(self):
        self.capture.start()
        return self

    def __exit__(self, *_):
        self.capture.stop()
        counted = self.counters.snapshot()
        assert imbalances(counted, CAPTURE_CONSERVATION + UDP_CONSERVATION) == {}

    @property
    def counted(self):
        return {name: n for name, n in self.counters.snapshot().items() if n}


@pytest.fixture
def sender():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        yield sock


@pytest.fixture
def raw():
    """Sends IPv4 packets as they are."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        yield sock


@pytest.fixture
def port():
    return free_port(socket.SOCK_DGRAM)


@needs_capture
def test_requests_and_answers_are_seen_once_and_still_arrive(sender, port):
    with Seen((port,)) as seen, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, port))
        server.settimeout(30)
        mine = sender.getsockname()[1]
        for size in SIZES:
            sender.sendto(b"q" * size, (LOOPBACK, port))
            assert server.recvfrom(65536) == (b"q" * size, (LOOPBACK, mine))
            server.sendto(b"a" * size, (LOOPBACK, mine))
        sender.sendto(b"elsewhere", (LOOPBACK, free_port(socket.SOCK_DGRAM)))
        sender.sendto(b"to all", ("127.255.255.255", port))
        wait_until(lambda: len(seen.datagrams) == 2 * len(SIZES) + 1)
    all_of_them = int.from_bytes(socket.inet_aton("127.255.255.255"), "big")
    expected = []
    for size in SIZES:
        expected += [
            (THIS, mine, THIS, port, b"q" * size),
            (THIS, port, THIS, mine, b"a" * size),
        ]
    assert seen.datagrams == [*expected, (THIS, mine, all_of_them, port, b"to all")]
    assert (
        seen.counted["capture_packets"] == seen.counted["datagrams_accepted"] == 2 * len(SIZES) + 1
    )
    assert seen.problems == []


@needs_capture
def test_batches_grow_under_load_and_nothing_is_lost(sender, port):
    with Seen((port,), receive_buffer=32 << 20, batch=64) as seen:
        for n in range(5000):
            sender.sendto(n.to_bytes(4, "big"), (LOOPBACK, port))
        wait_until(lambda: len(seen.datagrams) == 5000)
    assert [row[4] for row in seen.datagrams] == [n.to_bytes(4, "big") for n in range(5000)]


@needs_capture
def test_options_are_passed_over_and_fragments_and_lies_are_counted(sender, raw, port):
    with Seen((port,)) as seen:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01" * 8)
        sender.sendto(b"with options", (LOOPBACK, port))
        sender.sendto(b"", (LOOPBACK, port))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"")
        here = {"source": LOOPBACK, "destination": LOOPBACK, "to_port": port}
        for packet in (
            udp(b"x" * 24, fragment=0x2000, **here),
            udp(b"too small", size=7, **here),
            udp(b"too large", size=18, **here),
            udp(b"options", options=b"\x01" * 40, **here),
            udp(b"with less", size=12, **here),
        ):
            raw.sendto(packet, (LOOPBACK, 0))
        sender.sendto(b"last", (LOOPBACK, port))
        wait_until(lambda: len(seen.datagrams) == 5)
    contents = [row[4] for row in seen.datagrams]
    assert contents == [b"with options", b"", b"options", b"with", b"last"]
    assert {row[3] for row in seen.datagrams} == {port}
    counted = {name: n for name, n in seen.counted.items() if name.startswith("capture_")}
    assert counted == {
        "capture_packets": 8,
        "capture_ip_options": 3,
        "capture_fragments": 1,
        "capture_cut": 2,
    }


@needs_capture
def test_a_flood_of_fragments_does_not_keep_it_from_stopping(raw, sender, port):
    packet = udp(b"x" * 24, fragment=0x2000, source=LOOPBACK, destination=LOOPBACK, to_port=port)
    with Seen((port,), batch=2, receive_buffer=8 << 20) as seen:
        for _ in range(1000):
            raw.sendto(packet, (LOOPBACK, 0))
        sender.sendto(b"last", (LOOPBACK, port))
        wait_until(lambda: seen.datagrams)
    assert seen.counted["capture_fragments"] == 1000


@needs_capture
def test_our_own_searches_are_left_out(sender, port):
    own = sender.getsockname()[1]
    with (
        Seen((port,), own_ports=(own,)) as seen,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        other.bind((LOOPBACK, port))
        sender.sendto(b"ours", (LOOPBACK, port))
        other.sendto(b"for us", (LOOPBACK, own))
        other.sendto(b"for others", (LOOPBACK, free_port(socket.SOCK_DGRAM)))
        wait_until(lambda: seen.datagrams)
    assert [row[4] for row in seen.datagrams] == [b"for others"]
    assert seen.counted["capture_own"] == 2


@needs_capture
def test_what_is_not_allowed_or_too_long_is_refused_as_by_a_socket(sender, port):
    with Seen((port,), allow=["10.0.0.0/8"]) as seen:
        sender.sendto(b"x", (LOOPBACK, port))
        wait_until(lambda: seen.counters["sender_not_allowed"] == 1)
    with Seen((port,), max_datagram=16) as seen:
        sender.sendto(b"x" * 17, (LOOPBACK, port))
        sender.sendto(b"y" * 16, (LOOPBACK, port))
        wait_until(lambda: seen.datagrams)
    assert seen.counted["datagram_truncated"] == 1
    assert [row[4] for row in seen.datagrams] == [b"y" * 16]


@needs_capture
def test_what_the_kernel_drops_is_counted(sender, port):
    seen = Seen((port,), receive_buffer=2048)
    seen.capture.open()  # nobody takes anything yet
    for _ in range(500):
        sender.sendto(b"x" * 1000, (LOOPBACK, port))
    with seen:
        wait_until(lambda: seen.counters["kernel_drops"])
    counted = seen.counted
    assert counted["kernel_drops"] + counted["capture_packets"] == 500
    assert any("dropped" in text for text in seen.problems)


@needs_capture
def test_an_interface_that_is_not_there(port):
    with pytest.raises(ConfigError, match=r"interfaces: no 'no0' on this host; there are .*lo"):
        Seen((port,), interfaces=("no0",)).capture.open()
    with pytest.raises(ConfigError, match="'lo' is one text"):
        Seen((port,), interfaces="lo")


def test_without_the_capability_it_says_what_to_do(port):
    program = (
        "import os; from socs.wire.packet_socket import open_packet_socket\n"
        "from socs.errors import ConfigError\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        f"try: open_packet_socket(({port},), ())\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "no CAP_NET_RAW; give it" in done.stdout, done.stderr


@needs_capture
def test_what_was_captured_reads_back_identically_from_a_file(sender, port, tmp_path):
    path = tmp_path / "captured.pcap"
    with PcapWriter(path) as writer, Seen((port,)) as seen:
        take = seen.take

        def write_too(batch):
            writer.write(batch)
            take(batch)

        seen.capture._handler = write_too
        for n in range(300):
            sender.sendto(struct.pack("!I", n) * (n % 7), (LOOPBACK, port))
        wait_until(lambda: len(seen.datagrams) == 300)
    captured, seen.datagrams = seen.datagrams, []
    with PcapFile(path, (port,)) as file:
        for batch in file.batches():
            seen.take(batch)
    assert seen.datagrams == captured
    assert file.cut_off == ""


LISTENER = """
import sys, time
from socs.wire.capture import PacketCapture
def take(batch):
    for i in range(len(batch)):
        print("saw", batch.sender(i), batch.datagram(i).decode(), flush=True)
with PacketCapture((5064,), take, interfaces=sys.argv[1:], receive_buffer=1 << 20) as capture:
    print("ready", flush=True)
    sys.stdin.read()
"""
SENDER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
sock.sendto(sys.argv[2].encode(), (sys.argv[1], 5064))
"""


def test_a_new_interface_is_followed_and_what_leaves_is_seen():
    try:
        lan = Lan(["one", "two"])
    except OurError as error:
        pytest.skip(f"no network namespaces here: {error}")
    with lan:

        def run(host, *command):
            subprocess.run(lan.command(host, command), check=True, capture_output=True)

        listener = subprocess.Popen(
            lan.command("one", [sys.executable, "-c", LISTENER]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert listener.stdout.readline() == "ready\n"
            run("one", sys.executable, "-c", SENDER, lan.broadcast, "leaves")
            assert listener.stdout.readline().split()[2] == "leaves"
            run("two", sys.executable, "-c", SENDER, lan.broadcast, "arrives")
            assert listener.stdout.readline().split()[2] == "arrives"
            run("one", "ip", "link", "add", "new0", "type", "veth", "peer", "name", "new1")
            run("one", "ip", "link", "set", "new1", "up")
            run("one", "ip", "addr", "add", "10.78.0.1/24", "brd", "+", "dev", "new0")
            run("one", "ip", "link", "set", "new0", "up")

            def seen_there():
                run("one", sys.executable, "-c", SENDER, "10.78.0.255", "anew")
                return select.select([listener.stdout], [], [], 0.1)[0]

            wait_until(seen_there)
            assert listener.stdout.readline().split()[2] == "anew"
        finally:
            listener.communicate(timeout=60)
