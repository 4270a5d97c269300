import socket
from collections import Counter

import pytest

from socs.errors import ConfigError
from socs.testing import LOOPBACK, wait_until
from socs.testing.relay import Fate, Impairment, RandomFates, UdpRelay

N = 4000


def numbered(n):
    return [b"%d" % i for i in range(n)]


def run_through(impairment, datagrams, now=0.0):
    out = []
    for datagram in datagrams:
        out += impairment.feed(datagram, now)
    return out + impairment.release(now)


def scripted(*fates):
    return lambda index, datagram: fates[index]


class TestRandomFates:
    def test_same_seed_same_fates_in_any_order_of_asking(self):
        shares = {"loss": 0.1, "duplicate": 0.1, "reorder": 0.1}
        forwards, backwards = RandomFates(5, **shares), RandomFates(5, **shares)
        fates = [forwards(i) for i in range(N)]
        assert fates == [backwards(i) for i in reversed(range(N))][::-1]
        assert fates != [RandomFates(6, **shares)(i) for i in range(N)]

    def test_shares(self):
        fates = RandomFates(1, loss=0.05, duplicate=0.1, reorder=0.2)
        seen = Counter(fates(i) for i in range(20_000))
        assert seen[Fate.DROP] == pytest.approx(1000, rel=0.15)
        assert seen[Fate.DUPLICATE] == pytest.approx(2000, rel=0.15)
        assert seen[Fate.HOLD] == pytest.approx(4000, rel=0.15)

    def test_refuses_what_are_no_probabilities(self):
        with pytest.raises(ConfigError):
            RandomFates(1, loss=0.6, reorder=0.6)
        with pytest.raises(ConfigError):
            RandomFates(1, loss=-0.1)


class TestImpairment:
    def test_counts_are_what_a_receiver_sees(self):
        impairment = Impairment(RandomFates(3, loss=0.02, duplicate=0.03, reorder=0.05))
        out = [int(datagram) for datagram in run_through(impairment, numbered(N))]
        counts = impairment.counts
        assert counts.received == N
        assert counts.dropped == N - len(set(out)) > 0
        assert counts.duplicated == len(out) - len(set(out)) > 0
        late = sum(number < max(out[:i], default=-1) for i, number in enumerate(out))
        assert counts.reordered == late > 0
        assert counts.sent == len(out)
        assert counts.waiting == 0
        lost = [i for i, fate in enumerate(impairment.fates) if fate is Fate.DROP]
        assert lost == sorted(set(range(N)) - set(out))

    def test_held_comes_after_span_later_ones(self):
        impairment = Impairment(scripted(Fate.HOLD, *[Fate.PASS] * 4), span=2)
        assert run_through(impairment, numbered(5)) == [b"1", b"2", b"0", b"3", b"4"]

    def test_held_at_the_end_is_released_and_not_called_reordered(self):
        impairment = Impairment(scripted(Fate.PASS, Fate.HOLD))
        out = [impairment.feed(datagram, 0.0) for datagram in numbered(2)]
        assert out == [[b"0"], []]
        assert impairment.counts.waiting == 1
        assert impairment.release(0.0) == [b"1"]
        assert (impairment.counts.held, impairment.counts.reordered) == (1, 0)

    def test_delay(self):
        impairment = Impairment(scripted(Fate.PASS, Fate.DUPLICATE), delay=2.0)
        assert impairment.feed(b"0", 10.0) == []
        assert impairment.feed(b"1", 11.0) == []
        assert impairment.next_due == 12.0
        assert impairment.tick(11.99) == []
        assert impairment.tick(12.0) == [b"0"]
        assert impairment.counts.waiting == 2
        assert impairment.tick(13.0) == [b"1", b"1"]
        assert impairment.next_due is None


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((LOOPBACK, 0))
        sock.settimeout(30)
        yield sock


@pytest.fixture
def sender():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


class TestUdpRelay:
    def test_what_arrives_is_what_the_counts_say(self, receiver, sender):
        fates = RandomFates(11, loss=0.1, duplicate=0.1, reorder=0.2)
        expected = run_through(Impairment(fates), numbered(100))
        with UdpRelay(receiver.getsockname(), decide=fates) as relay:
            for datagram in numbered(100):
                sender.sendto(datagram, relay.address)
            wait_until(lambda: relay.counts.received == 100, 5, "the relay to take all")
            relay.release()
            assert relay.kernel_drops == 0
            assert relay.counts.sent == len(expected)
            assert [receiver.recv(100) for _ in expected] == expected
            receiver.setblocking(False)
            with pytest.raises(BlockingIOError):
                receiver.recv(100)
            assert relay.fates == [fates(i) for i in range(100)]

    def test_delayed_is_sent_without_a_further_arrival(self, receiver, sender):
        decide = scripted(Fate.PASS)
        with UdpRelay(receiver.getsockname(), decide=decide, delay=0.1) as relay:
            sender.sendto(b"x", relay.address)
            wait_until(lambda: relay.counts.received == 1, 5)
            assert receiver.recv(10) == b"x"

    def test_largest_datagram_passes_whole(self, receiver, sender):
        with UdpRelay(receiver.getsockname(), decide=scripted(Fate.PASS)) as relay:
            sender.sendto(b"y" * 65_507, relay.address)
            assert receiver.recv(70_000) == b"y" * 65_507

    def test_a_receiver_that_is_not_there_does_not_end_the_relay(self, receiver, sender):
        address = receiver.getsockname()
        receiver.close()
        with UdpRelay(address, decide=lambda index, datagram: Fate.PASS) as relay:
            for i in range(3):
                sender.sendto(b"z", relay.address)
                wait_until(lambda wanted=i + 1: relay.counts.sent == wanted, 5)
