"""Batches of datagrams become arrays; what is wrong is counted under its first cause."""

import numpy as np
import pytest

from socs.slow_signal.decode import MAX_READOUTS, MAX_STEP, decode
from socs.slow_signal.layout import MODULES, SIGN, WIRE
from tests.slow_signal_packets import RECEIVED, STEP, T0, batch, counts_of, packet, packets, sets


def test_a_packet():
    decoded = packets(packet(3, 20))
    assert decoded.modules.tolist() == [3]
    assert decoded.counts.tolist() == [10]
    assert decoded.tacks.tolist() == [[T0 + (20 + i) * STEP for i in range(10)]]
    assert decoded.steps().tolist() == [[STEP] * 9]
    assert decoded.received == RECEIVED
    assert decoded.totals() == {"packets_decoded": 1}
    part = decoded.parts[0, 4]
    assert part["aux"] == T0 + 24 * STEP + 7
    pixels = np.concatenate([part["low"], part["high"]]) ^ SIGN
    assert np.array_equal(pixels, counts_of(3, 24))


def test_parts_of_a_good_batch_are_not_copied():
    received = batch(sets(range(2)))
    assert np.shares_memory(decode(received).parts, received.data)


@pytest.mark.parametrize(
    ("octet", "strict", "relaxed"),
    [(100, 0, 0), (131, 31, 31), (7, 7, 7), (231, 31, 31), (132, None, 0), (99, None, 3)],
)
def test_module_numbers(octet, strict, relaxed):
    received = batch([(octet, packet(0, 0)[1])])
    assert decode(received, relaxed=True).modules.tolist() == [relaxed]
    decoded = decode(received)
    assert decoded.modules.tolist() == ([] if strict is None else [strict])
    assert decoded.refused == ({"module_out_of_range": 1} if strict is None else {})


def test_other_numbers_of_the_address_do_not_matter():
    received = batch([packet(5, 0)])
    received.hosts[:] = 0xC0A8FE69  # 192.168.254.105
    assert decode(received).modules.tolist() == [5]


def test_each_cause_is_counted_with_its_first_example():
    tacks_back = bytearray(packet(1, 0)[1])
    tacks_back[144:152] = tacks_back[:8]
    refused = [
        (100, b""),
        (100, b"x" * 100),
        (100, b"x" * 145),
        (100, b"x" * 144 * (MAX_READOUTS + 1)),
        (132, packet(0, 0)[1]),
        (101, bytes(tacks_back)),
    ]
    decoded = packets(packet(0, 0), *refused, packet(1, 0), *refused)
    assert decoded.modules.tolist() == [0, 1]
    assert np.array_equal(decoded.tacks, packets(packet(0, 0), packet(1, 0)).tacks)
    assert decoded.totals() == {
        "packet_empty": 2,
        "packet_bad_size": 4,
        "packet_too_long": 2,
        "module_out_of_range": 2,
        "tacks_inconsistent": 2,
        "packets_decoded": 2,
    }
    assert decoded.examples == {
        "packet_empty": 1,
        "packet_bad_size": 2,
        "packet_too_long": 4,
        "module_out_of_range": 5,
        "tacks_inconsistent": 6,
    }


def test_a_datagram_counts_under_its_first_cause_only():
    assert packets((150, b"")).refused == {"packet_empty": 1}
    assert packets((150, b"x")).refused == {"packet_bad_size": 1}
    assert packets((150, bytes(144 * (MAX_READOUTS + 1)))).refused == {"packet_too_long": 1}
    assert packets((150, bytes(288))).refused == {"module_out_of_range": 1}
    assert packets((100, bytes(288))).refused == {"tacks_inconsistent": 1}


def test_the_longest_and_the_shortest_packet():
    decoded = packets(packet(0, 0, MAX_READOUTS), packet(1, 0, 1))
    assert decoded.counts.tolist() == [MAX_READOUTS, 1]
    long, short = decoded.runs()
    assert long.tacks.shape == long.parts.shape == (1, MAX_READOUTS)
    assert short.tacks.tolist() == [[T0]]
    assert short.steps().shape == (1, 0)


def test_what_follows_a_short_packet_in_memory_is_not_looked_at():
    received = batch([packet(0, 0), packet(1, 0, 5)])
    received.data[1, 5 * 144 :] = 0
    decoded = decode(received)
    assert decoded.refused == {}
    assert decoded.runs()[1].tacks.shape == (1, 5)


def test_runs_are_the_batch_in_order():
    lengths = [10, 10, 5, 10, 3, 3]
    decoded = packets(*(packet(m, 0, count) for m, count in enumerate(lengths)))
    runs = decoded.runs()
    assert {(run.shortest, run.longest) for run in runs} == {(STEP, STEP)}
    assert [run.tacks.shape for run in runs] == [(2, 10), (1, 5), (1, 10), (2, 3)]
    assert np.concatenate([run.modules for run in runs]).tolist() == list(range(6))
    assert all(np.shares_memory(run.parts, decoded.parts) for run in runs)


def test_tacks_may_pass_2_64_but_not_stand_go_back_or_leap():
    def tacks(*values):
        parts = np.zeros(len(values), WIRE)
        parts["tack"] = np.array(values, np.uint64)
        return packets((100, parts.tobytes()))

    assert tacks(2**64 - 1, 0, 1).steps().tolist() == [[1, 1]]
    assert len(tacks(0, MAX_STEP, 2 * MAX_STEP)) == 1
    for wrong in ((5, 5), (5, 4), (0, MAX_STEP + 1), (0, 2**63), (1, 2, 2**64 - 1)):
        assert tacks(*wrong).refused == {"tacks_inconsistent": 1}


def test_nothing_good_at_all():
    for datagrams in ([], [(100, b"")], [(150, b"")] * 3):
        decoded = packets(*datagrams)
        assert len(decoded) == 0
        assert decoded.runs() == []
        assert sum(decoded.totals().values()) == len(datagrams)


def test_all_modules():
    assert packets(*sets([0], range(MODULES))).modules.tolist() == list(range(MODULES))
