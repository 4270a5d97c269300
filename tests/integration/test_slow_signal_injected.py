"""A camera whose packets get lost, doubled, overtaken and late, among packets that are worthless.

What the stream counts is exactly what was done to them.
"""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from pathlib import Path

import numpy as np

from socs.counters import SLOW_SIGNAL, imbalances
from socs.slow_signal.layout import MODULES, READOUT_BYTES, is_present
from socs.slow_signal.stream import EQUATIONS, MAX_DATAGRAM
from socs.testing import wait_until
from tests.integration.test_slow_signal_stream import camera, check_heard, streaming, written
from tests.slow_signal_packets import FIRST_OCTET, packet

SETS = 300
FAULTS = ("--drop", 0.01, "--duplicate", 0.01, "--reorder", 0.01, "--delay", 0.01)
STRANGER = "127.0.2.100"


class Nuisance:
    """Sends worthless datagrams, each kind under the counter it must end in, while others send."""

    def __init__(self, port: int, count: int) -> None:
        self._address, self._count = ("127.0.0.1", port), count
        self._thread = threading.Thread(target=self._run)
        self._chance = random.Random(5)
        self.sent: Counter[str] = Counter()

    def __enter__(self) -> Nuisance:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    def _run(self) -> None:
        for _ in range(self._count):
            cause, source, contents = self._any()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                sender.sendto(contents, self._address)
            self.sent[cause] += 1

    def _any(self) -> tuple[str, str, bytes]:
        """(counter, sender's address, contents)."""
        chance = self._chance
        module = f"127.0.1.{FIRST_OCTET + chance.randrange(MODULES)}"
        good = packet(0, chance.randrange(10**6))[1]
        kinds = {
            "packet_empty": (module, b""),
            "packet_bad_size": (module, good[: chance.randrange(1, READOUT_BYTES)]),
            "datagram_truncated": (module, good * 7),
            "module_out_of_range": (f"127.0.1.{chance.randrange(132, 200)}", good),
            "sender_not_allowed": (STRANGER, good),
            "tacks_inconsistent": (module, _damaged(good, chance)),
        }
        cause = chance.choice(list(kinds))
        return cause, *kinds[cause]


def _damaged(contents: bytes, chance: random.Random) -> bytes:
    """With a wrong bit in the TACK of a readout in the middle, which makes days of difference."""
    where = READOUT_BYTES * chance.randrange(1, 9)
    byte, bit = chance.randrange(0, 2), chance.randrange(8)
    changed = bytearray(contents)
    changed[where + byte] ^= 1 << bit
    return bytes(changed)


def test_counters_are_what_was_done(tmp_path: Path) -> None:
    with streaming(
        tmp_path,
        flush_time=30.0,  # within it the camera has gone on by more than buffer_time
        expected_modules=set(range(MODULES)) - {5},
        allow=["127.0.1.0/24"],
    ) as stream:
        assert len(packet(0, 0)[1]) * 7 > MAX_DATAGRAM
        with Nuisance(stream.receiver.port, 600) as nuisance:
            options = ("--packet-rate", 3200, "--sets", SETS, "--seed", 4, "--silent", 5)
            truth = camera(tmp_path, stream, *options, *FAULTS)
        sent = truth.datagrams + nuisance.sent.total()
        wait_until(lambda: stream.numbers()["datagrams_received"] == sent)
    numbers = stream.numbers()
    assert numbers["kernel_drops"] == 0
    assert min(nuisance.sent.values()) > 50
    assert {name: numbers[name] for name in nuisance.sent} == dict(nuisance.sent)
    assert min(map(truth.total, ("dropped", "duplicated", "reordered", "delayed"))) > 50
    dropped, delayed = truth.total("dropped"), truth.total("delayed")
    refused = {name for name in nuisance.sent if name in {counter.name for counter in SLOW_SIGNAL}}
    expected = {
        "packets_decoded": truth.datagrams,
        "parts_decoded": 10 * truth.datagrams,
        "parts_duplicate": 10 * truth.total("duplicated"),
        "parts_late": 10 * delayed,
        "parts_missing": 10 * (dropped + delayed),
        "readouts_out": truth.readouts,
        "parts_conflicting": 0,
        "parts_implausible": 0,
        "tack_restarts": 0,
        "readouts_evicted": 0,
        "readouts_cut_off": 0,
    }
    assert len(refused) == 4
    assert {name: numbers[name] for name in expected} == expected
    assert imbalances(numbers, EQUATIONS) == {}
    heard, stored = stream.ear.readouts(), written(tmp_path)
    assert len(heard) == len(stored) == truth.readouts
    check_heard(heard, truth)
    there = is_present(stored["present"])
    assert np.count_nonzero(~there) == numbers["parts_missing"] + truth.readouts  # and module 5
    assert np.array_equal(
        stored["counts"], np.where(there[:, :, None], truth.counts(stored["tack"]), 0)
    )
