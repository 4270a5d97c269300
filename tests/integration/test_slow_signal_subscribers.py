"""Subscribers that hang or die: they hold up nobody, and their own publisher alone counts it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from socs.counters import imbalances
from socs.slow_signal.publish import Publisher, PublisherSettings
from socs.slow_signal.stream import EQUATIONS, SlowSignalStream
from socs.testing import wait_until
from tests.integration.test_slow_signal_stream import (
    SEED,
    Ear,
    camera,
    check_heard,
    context,
    settled,
    streaming,
)

READOUTS = 3000
# Of these as many may wait for a subscriber that one which reads always has room, and one that
# hangs never has: some hundreds more are in the kernel.
ROOM = 2000

HANGING = """
import sys, zmq
sub = zmq.Context().socket(zmq.SUB)
sub.set(zmq.RCVHWM, 1)
sub.set(zmq.RCVBUF, 4096)
sub.subscribe(b"")
sub.connect(sys.argv[1])
sub.recv()
print("heard", flush=True)
sys.stdin.read()
"""


@contextmanager
def hanging(stream: SlowSignalStream, publisher: Publisher) -> Iterator[subprocess.Popen[bytes]]:
    """A subscriber in a process of its own that takes one message and no other."""
    command = [sys.executable, "-c", HANGING, publisher.endpoint]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            os.set_blocking(process.stdout.fileno(), False)
            wait_until(lambda: probe(stream, publisher) or process.stdout.read(), 30)
            yield process
        finally:
            process.kill()


@contextmanager
def listening(stream: SlowSignalStream, publisher: Publisher) -> Iterator[Ear]:
    """A subscriber that takes everything."""
    with context() as zmq_context:
        ear = Ear(publisher.endpoint, zmq_context)
        ear.start()
        try:
            wait_until(lambda: probe(stream, publisher) or ear.messages, 30, "the subscription")
            yield ear
        finally:
            ear.stop()


def probe(stream: SlowSignalStream, publisher: Publisher) -> None:
    """Publish what is no readout: its number is 0."""
    with stream._turn:
        publisher.send([memoryview(np.zeros(1, SEED).view(np.uint8))])
        publisher.published -= 1


def test_they_hold_up_nobody_and_their_publisher_counts_it(tmp_path: Path) -> None:
    publishers = [
        PublisherSettings(name, "127.0.0.1", 0, high_water_mark=ROOM) for name in ("a", "b")
    ]
    with ExitStack() as stack:
        stream = stack.enter_context(
            streaming(tmp_path, ear=False, publishers=publishers, writer=None)
        )
        a, b = stream.publishers
        stack.enter_context(hanging(stream, a))
        dead = stack.enter_context(hanging(stream, a))
        ears = [stack.enter_context(listening(stream, each)) for each in (a, b)]

        def kill() -> None:
            wait_until(lambda: stream.numbers()["readouts_out"] > READOUTS // 3, 60)
            dead.kill()

        killing = threading.Thread(target=kill)
        killing.start()
        truth = camera(tmp_path, stream, "--packet-rate", 3200, "--sets", READOUTS // 10)
        killing.join()
        numbers = settled(stream, truth.datagrams)
        status = {each["name"]: each for each in stream.status()["publishers"]}
        wait_until(lambda: all(len(ear.readouts()) == READOUTS for ear in ears), 20, "messages")
    assert numbers["kernel_drops"] == 0
    assert numbers["readouts_complete"] == numbers["readouts_out"] == READOUTS
    assert imbalances(numbers, EQUATIONS) == {}
    assert [status[name]["published"] for name in ("a", "b")] == [READOUTS] * 2
    assert status["a"]["overflows"] == numbers["publisher_overflows"] > 0
    assert status["b"]["overflows"] == 0
    for ear in ears:
        heard = ear.readouts()
        assert heard["number"].tolist() == list(range(1, READOUTS + 1))
        check_heard(heard, truth)
