"""Readouts over ZMQ: every mode and layout, slow subscribers, listeners that are closed."""

from __future__ import annotations

import itertools
import queue
import threading
from typing import ClassVar

import numpy as np
import pytest
import zmq

from socs.errors import ConfigError
from socs.sim.ports import free_port
from socs.slow_signal.layout import MV_PER_COUNT, READOUT
from socs.slow_signal.listen import SSReadoutListener
from socs.slow_signal.publish import Publisher, Publishers, PublisherSettings, publishers_from
from socs.slow_signal.readout import SSReadout, pack_many
from socs.testing import wait_until

LOOPBACK = "127.0.0.1"


def readouts(count: int, first: int = 1, absent: int | None = None) -> np.ndarray:
    made = np.zeros(count, READOUT)
    made["number"] = np.arange(first, first + count)
    made["tack"] = made["number"] * 100_000_000
    made["present"] = 0xFFFFFFFF
    made["tacks"] = made["tack"][:, None, None]
    made["counts"] = np.random.default_rng(first).integers(0, 65_536, (count, 32, 64))
    if absent is not None:
        made["present"] &= ~np.uint32(1 << absent)
        made["counts"][:, absent] = 0
        made["tacks"][:, absent] = 0
    return made


def settings(name: str = "local", **changed) -> PublisherSettings:
    return PublisherSettings(**{"name": name, "ip": LOOPBACK, "port": 0} | changed)


def port_of(publisher: Publisher) -> int:
    return int(publisher.endpoint.rpartition(":")[2])


@pytest.fixture
def context():
    class Context(zmq.Context):
        """Holds its sockets, so that none is closed by chance."""

        held: ClassVar[list[zmq.Socket]] = []

        def socket(self, *args, **kwargs):
            self.held.append(super().socket(*args, **kwargs))
            return self.held[-1]

    made = Context()
    yield made
    made.destroy(0)


def subscriber(context: zmq.Context, endpoint: str, hwm: int = 1000) -> zmq.Socket:
    socket = context.socket(zmq.SUB)
    socket.set(zmq.RCVHWM, hwm)
    socket.set(zmq.RCVTIMEO, 20_000)
    socket.subscribe(b"")
    socket.connect(endpoint)
    return socket


def until_heard(publishers: Publishers, socket: zmq.Socket) -> None:
    """Publish until the subscription has arrived; what was heard is thrown away."""
    probe = readouts(1, first=0)

    def heard() -> bool:
        publishers.publish(probe)
        return bool(socket.poll(20))

    wait_until(heard, 20, "the subscription")
    while socket.poll(100):
        socket.recv()


@pytest.mark.parametrize(("layout", "size"), [("seed", 16_912), ("ssdaq", 16_416)])
def test_a_subscriber_gets_every_readout_as_it_is(context, layout, size) -> None:
    with Publishers([settings(layout=layout)], context) as publishers:
        (publisher,) = publishers
        socket = subscriber(context, publisher.endpoint)
        until_heard(publishers, socket)
        before = publisher.published
        sent = readouts(300, absent=7)
        publishers.publish(sent)
        for row in sent:
            message = socket.recv()
            assert len(message) == size
            readout = SSReadout.from_bytes(message)
            assert readout.readout_number == row["number"]
            assert readout.readout_timestamp == row["tack"]
            assert np.isnan(readout.data[7]).all()
            present = np.arange(32) != 7
            expected = row["counts"][present] * MV_PER_COUNT
            assert (readout.data[present] == expected).all()
        assert publisher.published - before == 300
        assert publishers.numbers()["publisher_overflows"] == 0


def test_all_publishers_get_the_same_whatever_their_modes(context) -> None:
    port = free_port()
    far = context.socket(zmq.SUB)
    far.subscribe(b"")
    far.set(zmq.RCVTIMEO, 20_000)
    far.bind(f"tcp://{LOOPBACK}:{port}")
    three = [
        settings("a"),
        settings("b", mode="outbound", layout="ssdaq"),
        settings("c", mode="remote", port=port),
    ]
    with Publishers(three, context) as publishers:
        sockets = [subscriber(context, each.endpoint) for each in list(publishers)[:2]] + [far]
        for socket in sockets:
            until_heard(publishers, socket)
        for socket in sockets:
            while socket.poll(100):
                socket.recv()
        publishers.publish(readouts(20, first=100))
        for socket in sockets:
            numbers = [SSReadout.from_bytes(socket.recv()).iro for _ in range(20)]
            assert numbers == list(range(100, 120))


def test_a_slow_subscriber_costs_only_itself_and_is_counted(context) -> None:
    with Publishers([settings(high_water_mark=400)], context) as publishers:
        (publisher,) = publishers
        slow = subscriber(context, publisher.endpoint, hwm=400)
        slow.set(zmq.RCVBUF, 4096)
        quick = subscriber(context, publisher.endpoint, hwm=100_000)
        for socket in (slow, quick):
            until_heard(publishers, socket)
        while quick.poll(100):
            quick.recv()
        heard: list[int] = []
        count = 6000
        reader = threading.Thread(
            target=lambda: [
                heard.append(SSReadout.from_bytes(quick.recv()).iro) for _ in range(count)
            ]
        )
        reader.start()
        for first in range(1000, 1000 + count, 10):
            publishers.publish(readouts(10, first=first))
            sent = first + 10 - 1000
            wait_until(lambda sent=sent: len(heard) >= sent - 50, 20)  # no faster than `quick`
        reader.join(60)
        assert heard == list(range(1000, 1000 + count))  # of which nothing was dropped
        overflows = publisher.overflows  # of the slow one, which read nothing
        assert publishers.numbers()["publisher_overflows"] == overflows
        received = []
        while slow.poll(500):
            received.append(SSReadout.from_bytes(slow.recv()).iro)
        received = [number for number in received if number]  # without the probes
        assert received
        all_numbers = [999, *received, 1000 + count]
        gaps = sum(after > before + 1 for before, after in itertools.pairwise(all_numbers))
        assert 1 <= gaps <= overflows
        assert received == sorted(set(received))


def test_without_subscribers_nothing_is_kept_or_counted_as_dropped(context) -> None:
    with Publishers([settings(high_water_mark=5)], context) as publishers:
        publishers.publish(readouts(100))
        assert publishers.numbers() == {
            "readouts_published": 100,
            "publisher_overflows": 0,
            "readouts_withheld": 0,
        }


def test_paused_publishing_is_counted(context) -> None:
    with Publishers([settings()], context) as publishers:
        publishers.enabled = False
        publishers.publish(readouts(7))
        assert publishers.numbers()["readouts_withheld"] == 7
        assert publishers.numbers()["readouts_published"] == 0


def test_wrong_settings_are_named(context) -> None:
    with pytest.raises(ConfigError, match=r"a: mode 'loud' is none of local, outbound, remote"):
        settings("a", mode="loud")
    with pytest.raises(ConfigError, match="port"):
        settings(mode="remote")
    with pytest.raises(ConfigError, match="layout"):
        settings(layout="new")
    with pytest.raises(ConfigError, match="different names"):
        Publishers([settings("a"), settings("a")], context)
    with (
        Publishers([settings("first")], context) as taken,
        pytest.raises(ConfigError, match="publisher second: cannot listen on"),
    ):
        Publishers([settings("second", port=port_of(next(iter(taken))))], context)
    with pytest.raises(ConfigError, match="a: unknown: porrt"):
        publishers_from({"a": {"ip": LOOPBACK, "port": 1, "porrt": 2}})
    with pytest.raises(ConfigError, match="a: missing: port"):
        publishers_from({"a": {"ip": LOOPBACK}})
    (found,) = publishers_from({"x": {"ip": LOOPBACK, "port": 5551, "mode": "outbound"}})
    assert (found.name, found.port, found.mode) == ("x", 5551, "outbound")


def test_a_listener_gets_readouts_until_it_is_closed(context) -> None:
    with Publishers([settings(), settings("new", layout="ssdaq")], context) as publishers:
        for publisher in publishers:
            listener = SSReadoutListener(port=port_of(publisher), ip=LOOPBACK)
            listener.start()
            with pytest.raises(queue.Empty):
                listener.get_readout(block=False)
            probe = readouts(1, first=5)

            def heard(listener=listener, probe=probe) -> bool:
                publishers.publish(probe)
                try:
                    return listener.get_readout(timeout=0.05).iro == 5
                except queue.Empty:
                    return False

            wait_until(heard, 20, "a readout")
            listener.close()
            assert listener.get_readout() is None
            assert listener.get_readout(timeout=1) is None
            listener.close()
            assert not listener.is_alive()


def test_a_listener_wakes_up_who_waits_when_it_is_closed() -> None:
    listener = SSReadoutListener(port=free_port(), ip=LOOPBACK)
    listener.start()
    found = []
    waiting = threading.Thread(target=lambda: found.append(listener.get_readout()))
    waiting.start()
    listener.close()
    waiting.join(60)
    assert found == [None]
    SSReadoutListener(port=free_port(), ip=LOOPBACK).close()  # never started


def test_a_listener_waits_for_a_remote_publisher_and_counts_what_is_no_readout(context) -> None:
    port = free_port()
    listener = SSReadoutListener(port=port, ip="0.0.0.0", room=10)
    listener.start()
    socket = context.socket(zmq.PUB)
    socket.connect(f"tcp://{LOOPBACK}:{port}")

    def malformed() -> bool:
        socket.send(b"no readout")
        return listener.malformed > 0

    wait_until(malformed, 20, "a malformed message")
    messages = pack_many(readouts(50))
    for message in messages:
        socket.send(memoryview(message))
    wait_until(lambda: listener.received == 50, 20)
    assert listener.dropped == 40
    assert [listener.get_readout().iro for _ in range(10)] == list(range(41, 51))
    listener.close()
