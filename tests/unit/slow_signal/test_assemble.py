"""What becomes of packets that come as they should, late, doubled, reordered, or not at all."""

import numpy as np
import pytest

from socs.counters import SLOW_SIGNAL, SLOW_SIGNAL_CONSERVATION, SLOW_SIGNAL_NOW, imbalances
from socs.errors import ConfigError
from socs.slow_signal import line
from socs.slow_signal.assemble import Assembler
from socs.slow_signal.decode import decode
from socs.slow_signal.layout import MODULES, millivolts
from socs.slow_signal.windows import AssemblerSettings
from tests.slow_signal_packets import (
    FIRST_OCTET,
    RECEIVED,
    STEP,
    T0,
    batch,
    check_values,
    counts_of,
    indices,
    modules_of,
    packet,
    packets,
    play,
    sets,
)

FOUR = AssemblerSettings(expected_modules=range(4))
ALL = [0, 1, 2, 3]


def four(**settings) -> Assembler:
    return Assembler(AssemblerSettings(**{"expected_modules": range(4), **settings}))


def totals(assembler: Assembler) -> dict[str, int]:
    """Counts that are not 0, once it is made sure that they add up."""
    counts = assembler.totals()
    decoded = dict.fromkeys(("packets_decoded", "datagrams_accepted"), 0)
    equations = [e for e in SLOW_SIGNAL_CONSERVATION if e.whole[0] in counts]
    assert len(equations) == 3
    assert imbalances(counts | decoded, equations) == {}
    for row in assembler.modules():
        assert all(count <= counts[name] for name, count in row.items() if name in counts)
    return {name: count for name, count in counts.items() if count}


def test_counters_are_those_of_the_table():
    named = {counter.name for table in (SLOW_SIGNAL, SLOW_SIGNAL_NOW) for counter in table}
    decoding = set(SLOW_SIGNAL_CONSERVATION[1].parts)
    assert set(Assembler().totals()) == named - decoding


# -- in order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_complete_readouts_come_out_at_once(at_once):
    assembler = four()
    sent = sets(range(6))
    out = assembler.feed(packets(*sent), 0.0) if at_once else play(assembler, sent)
    assert indices(out) == list(range(60))
    assert out["number"].tolist() == list(range(1, 61))
    assert modules_of(out) == [ALL] * 60
    check_values(out)
    assert totals(assembler) == {
        "parts_decoded": 240,
        "parts_placed": 240,
        "parts_out": 240,
        "readouts_out": 60,
        "readouts_complete": 60,
    }


def test_all_32_modules_are_expected_unless_said_otherwise():
    assembler = Assembler()
    assert indices(play(assembler, sets([0], range(31)))) == []
    out = play(assembler, [packet(31, 0)])
    assert indices(out) == list(range(10))
    check_values(out)
    assert totals(assembler)["readouts_complete"] == 10


def test_a_batch_may_hold_more_than_fits_the_buffer():
    assembler = four(buffer_length=64)
    out = assembler.feed(packets(*sets(range(50))), 0.0)
    assert indices(out) == list(range(500))
    assert totals(assembler)["readouts_complete"] == 500
    assert assembler.troubles() == {}


def test_readouts_do_not_look_into_the_receivers_memory():
    assembler = four()
    received = batch(sets([0]))
    waiting = batch(sets([1])[:3])
    out = assembler.feed(decode(received), 0.0)
    assert len(assembler.feed(decode(waiting), 0.0)) == 0
    received.data[:] = waiting.data[:] = 0xFF
    check_values(out)
    check_values(assembler.feed(packets(packet(3, 10)), 0.0))
    assert totals(assembler)["readouts_complete"] == 20


def test_times_are_those_of_the_readouts():
    """The first packet came after its last readout; none is in the future."""
    assembler = four()
    assembler.feed(packets(packet(2, 0), received=RECEIVED), 0.0)
    out = assembler.feed(
        packets(packet(0, 0), packet(1, 0), packet(3, 0), received=RECEIVED + 5), 0.0
    )
    arrival = round(RECEIVED * 1e9)
    assert out["cpu_ns"].tolist() == [arrival - (9 - i) * STEP for i in range(10)]


def test_numbers_begin_anew_on_request():
    assembler = four()
    assert play(assembler, sets([0]))["number"].tolist() == list(range(1, 11))
    play(assembler, sets([1])[:3])
    assembler.reset_readout_count()
    assert play(assembler, [packet(3, 10)])["number"].tolist() == list(range(1, 11))


@pytest.mark.parametrize("count", [1, 3, 64])
def test_packets_of_another_length(count):
    assembler = four(buffer_time=1e10)
    sent = [packet(m, s * count, count) for s in range(5) for m in range(4)]
    out = play(assembler, sent)
    assert indices(out) == list(range(5 * count))
    check_values(out)
    assert totals(assembler)["readouts_complete"] == 5 * count


def test_modules_whose_packets_begin_at_different_readouts():
    assembler = four()
    sent = [packet(m, 10 * s + m, 10) for s in range(6) for m in range(4)]
    out = play(assembler, sent)
    assert indices(out)[3:] == list(range(3, 60))
    assert modules_of(out)[3:] == [ALL] * 57
    check_values(out)
    assert "parts_late" not in totals(assembler)


# -- missing --------------------------------------------------------------------------------------


def test_a_missing_module_is_told_when_the_window_is_over():
    assembler = four()
    sent = sets(range(6))
    out = play(assembler, sent[:9] + sent[10:])  # without module 1 of set 2
    assert indices(out) == list(range(20))
    assert totals(assembler)["readouts_buffered"] == 40
    out = play(assembler, sets([6]))  # 4 s after the last readout of set 2: all but that are over
    assert indices(out) == list(range(20, 29))
    assert modules_of(out) == [[0, 2, 3]] * 9
    out = play(assembler, sets([7]))
    assert indices(out) == list(range(29, 80))
    check_values(out)
    assert totals(assembler)["parts_missing"] == 10
    assert totals(assembler)["readouts_timed_out"] == 10
    assert assembler.modules()[1]["parts_missing"] == 10
    assert np.isnan(millivolts(out)[0, 1]).all()
    assert not np.isnan(millivolts(out)[:, [0, 2, 3]]).any()


def test_modules_not_expected_are_taken_along():
    assembler = four(expected_modules=[0, 2])
    out = assembler.feed(packets(*sets([0], [1, 0, 2])), 0.0)
    assert modules_of(out) == [[0, 1, 2]] * 10
    assert totals(assembler)["readouts_complete"] == 10
    play(assembler, [packet(3, 0)])
    assert assembler.modules()[3]["parts_late"] == 10
    assert "parts_missing" not in totals(assembler)


def test_a_module_dies_and_comes_back():
    assembler = four()
    out = [play(assembler, sets(range(3)))]
    out.append(play(assembler, sets(range(3, 20), [0, 1, 2]), now=1.0))
    out.append(play(assembler, sets(range(20, 30)), now=2.0))
    out = np.concatenate(out)
    assert indices(out) == list(range(300))
    assert modules_of(out) == [ALL] * 30 + [[0, 1, 2]] * 170 + [ALL] * 100
    check_values(out)
    assert totals(assembler)["readouts_timed_out"] == 170
    silent = [row["silent"] for row in assembler.modules()]
    assert silent[:5] == [0.0, 0.0, 0.0, 0.0, None]


def test_one_module_alone():
    assembler = Assembler()
    out = play(assembler, sets(range(10), [9]))
    assert modules_of(out) == [[9]] * len(out)
    assert indices(out) == list(range(59))  # 4 s before the newest, which is 99
    assert totals(assembler)["readouts_buffered"] == 41


def test_modules_that_are_silent_do_not_stop_the_clock():
    """Of four modules one goes on: the window is over when its own TACKs say so."""
    assembler = four(flush_time=5.0)
    play(assembler, sets([0]))
    out = play(assembler, sets(range(1, 7), [2]), now=10.0)
    assert indices(out) == list(range(10, 29))
    assert totals(assembler)["readouts_timed_out"] == 19


def test_the_tail_comes_out_by_the_clock_on_the_wall():
    assembler = four(flush_time=2.0)
    play(assembler, sets([0])[:3], now=100.0)
    assert len(assembler.tick(101.9)) == 0
    out = assembler.tick(102.0)
    assert indices(out) == list(range(10))
    assert modules_of(out) == [[0, 1, 2]] * 10
    check_values(out)
    assert totals(assembler)["readouts_flushed"] == 10
    assert len(assembler.tick(103.0)) == 0


def test_without_a_flush_time_it_is_the_buffers_time():
    assembler = four(buffer_time=3e9)
    play(assembler, sets([0])[:3], now=0.0)
    assert len(assembler.tick(2.9)) == 0
    assert len(assembler.tick(3.0)) == 10


def test_flush_gives_all_there_is():
    assembler = four()
    play(assembler, sets([0])[:2])
    out = assembler.flush()
    assert modules_of(out) == [[0, 1]] * 10
    assert len(assembler.flush()) == 0
    assert totals(assembler)["readouts_flushed"] == 10


def test_time_that_goes_back_hurries_and_delays_nothing():
    assembler = four(flush_time=2.0)
    play(assembler, sets([0])[:3], now=100.0)
    assert len(assembler.tick(50.0)) == 0
    play(assembler, sets([1])[:3], now=20.0)
    assert len(assembler.tick(101.5)) == 0
    assert indices(assembler.tick(102.0)) == list(range(20))


# -- late, doubled, reordered ---------------------------------------------------------------------


def test_late_by_one_set():
    sent = sets(range(6))
    late = sent.pop(2 * 4 + 1)
    sent.insert(3 * 4 + 3, late)  # module 1 of set 2 after the others of set 3
    assembler = four()
    out = play(assembler, sent)
    assert indices(out) == list(range(60))
    assert modules_of(out) == [ALL] * 60
    check_values(out)
    assert totals(assembler)["readouts_complete"] == 60


def test_late_by_more_than_the_window():
    sent = sets(range(6))
    late = sent.pop(1)
    sent.insert(5 * 4 - 1, late)  # module 1 of set 0 after set 4: 4.9 s after its first readout
    assembler = four()
    out = play(assembler, sent)
    assert indices(out) == list(range(60))
    assert modules_of(out) == [[0, 2, 3]] * 9 + [ALL] * 51
    check_values(out)
    assert totals(assembler)["parts_late"] == totals(assembler)["parts_missing"] == 9
    assert assembler.modules()[1]["parts_late"] == 9
    assembler = four()
    assert modules_of(assembler.feed(packets(*sent), 0.0)) == [ALL] * 60  # at one moment


def test_modules_that_are_ahead_of_the_others():
    """Module 3 of each set comes after module 0 of the next."""
    sent = sets(range(6))
    for number in range(5):
        at = 4 * number + 3
        sent[at], sent[at + 1] = sent[at + 1], sent[at]
    assembler = four()
    out = play(assembler, sent)
    assert indices(out) == list(range(60))
    assert modules_of(out) == [ALL] * 60
    check_values(out)


@pytest.mark.parametrize("at_once", [True, False])
def test_any_order_within_the_window(at_once):
    sent = sets(range(4))
    np.random.default_rng(1).shuffle(sent)
    assembler = four(buffer_time=5e9)
    out = assembler.feed(packets(*sent), 0.0) if at_once else play(assembler, sent)
    assert indices(out) == list(range(40))
    assert modules_of(out) == [ALL] * 40
    check_values(out)
    assert totals(assembler)["readouts_complete"] == 40


def test_packets_before_the_first():
    sent = sets([3, 1, 2, 0, 4])
    assembler = four()
    out = play(assembler, sent[4 * 0 : 1] + sent[4:8] + sent[1:4] + sent[8:12])
    assert modules_of(out)[:10] == [ALL] * 10
    assert indices(out) == list(range(10, 40)) or indices(out)[:10] == list(range(10, 20))
    check_values(out)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("copies", [2, 3])
def test_copies_of_what_is_waiting(at_once, copies):
    sent = sets(range(6))
    sent[9:10] = [sent[9]] * copies
    assembler = four()
    out = assembler.feed(packets(*sent), 0.0) if at_once else play(assembler, sent)
    assert indices(out) == list(range(60))
    check_values(out)
    assert totals(assembler)["parts_duplicate"] == 10 * (copies - 1)
    assert assembler.modules()[1]["parts_duplicate"] == 10 * (copies - 1)
    assert totals(assembler)["readouts_complete"] == 60


@pytest.mark.parametrize("at_once", [True, False])
def test_another_packet_in_the_same_place_is_no_copy(at_once):
    assembler = four()
    sent = [packet(1, 0), packet(1, 0, shift=1000), packet(1, 0, 5, shift=-7), packet(1, 0)]
    if at_once:
        assembler.feed(packets(*sent), 0.0)
    else:
        play(assembler, sent)
    counts = totals(assembler)
    assert (counts["parts_conflicting"], counts["parts_duplicate"]) == (15, 10)
    check_values(assembler.flush())


def test_copies_of_what_is_out_are_not_late():
    assembler = four()
    sent = sets(range(3))
    play(assembler, sent)
    assert len(play(assembler, sent)) == 0
    assert totals(assembler)["parts_duplicate"] == 120
    assert "parts_late" not in totals(assembler)


def test_copies_are_known_for_as_long_as_the_buffer_is():
    assembler = four(buffer_length=64)
    sent = sets(range(100))
    for number in range(0, len(sent), 4):
        assembler.feed(packets(*sent[number : number + 4]), 0.0)
        assembler.feed(packets(*sent[max(number - 20, 0) : number]), 0.0)
    counts = totals(assembler)
    assert counts["parts_duplicate"] == 10 * sum(min(20, 4 * number) for number in range(100))
    assert "parts_late" not in counts


def test_every_packet_doubled_and_shuffled():
    sent = sets(range(4)) * 2
    np.random.default_rng(2).shuffle(sent)
    assembler = four(buffer_time=5e9)
    out = play(assembler, sent)
    assert indices(out) == list(range(40))
    check_values(out)
    assert totals(assembler)["parts_duplicate"] == 160


def test_packets_that_overlap_in_one_batch():
    """The same module sends readouts 0 to 9 and 5 to 14: five of them are copies."""
    assembler = four(expected_modules=[0])
    out = assembler.feed(packets(packet(0, 0), packet(0, 5), packet(0, 10)), 0.0)
    assert indices(out) == list(range(20))
    check_values(out)
    assert totals(assembler)["parts_duplicate"] == 10


@pytest.mark.parametrize("short", [0, 1])
def test_a_short_packet_in_a_set(short):
    sent = sets(range(6))
    sent[8 + short] = packet(short, 20, 5)
    assembler = four()
    out = play(assembler, [*sent, *sets([6, 7])])
    assert indices(out) == list(range(80))
    others = [module for module in ALL if module != short]
    assert modules_of(out) == [ALL] * 25 + [others] * 5 + [ALL] * 50
    check_values(out)
    assert totals(assembler)["parts_missing"] == 5


def test_a_long_packet_in_a_set():
    sent = sets(range(6))
    sent[9] = packet(1, 20, 20)
    del sent[13]
    assembler = four()
    out = play(assembler, sent)
    assert modules_of(out) == [ALL] * 60
    check_values(out)


def test_bad_datagrams_between_good_ones():
    bad = [(101, b"x" * 100), (101, b""), (232, packet(0, 30)[1])]
    assembler = four()
    out = play(assembler, [*sets(range(3)), *bad, *sets(range(3, 6))])
    assert indices(out) == list(range(60))
    out = assembler.feed(packets(*bad, *sets([6]), *bad), 1.0)
    assert modules_of(out) == [ALL] * 10
    assert totals(assembler)["parts_decoded"] == 280


# -- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_jitter_below_the_window(at_once):
    sent = [packet(m, 10 * s, shift=(m - 2) * 1000) for s in range(6) for m in range(4)]
    assembler = four()
    out = assembler.feed(packets(*sent), 0.0) if at_once else play(assembler, sent)
    assert indices(out) == list(range(60))
    assert modules_of(out) == [ALL] * 60
    check_values(out)
    assert out["tack"].tolist() == [T0 + i * STEP - 2000 for i in range(60)]


def test_jitter_nearly_as_wide_as_half_the_distance():
    window = STEP // 2 - 1
    shifts = np.random.default_rng(3).integers(-window // 2 + 1, window // 2, (6, 4)).tolist()
    sent = [packet(m, 10 * s, shift=shifts[s][m]) for s in range(6) for m in range(4)]
    assembler = four(readout_tw=window)
    assert modules_of(play(assembler, sent)) == [ALL] * 60
    assert assembler.troubles() == {}


def test_tacks_pass_2_64():
    t0 = 2**64 - 25 * STEP
    assembler = four()
    out = play(assembler, sets(range(6), t0=t0))
    assert indices(out, t0=t0) == list(range(60))
    assert modules_of(out) == [ALL] * 60
    check_values(out, t0=t0)
    assert totals(assembler)["readouts_complete"] == 60


def test_the_base_of_tacks_moves_on_with_what_waits(monkeypatch):
    """As it does after 18 years; here after each set."""
    monkeypatch.setattr(line, "BASE_MOVES_AT", 10 * STEP)
    assembler = four()
    sent = sets(range(60))
    late = sent.pop(4 * 20 + 1)
    sent.insert(4 * 22 + 2, late)
    missing = sent.pop(4 * 30 + 1)
    sent.append(missing)
    sent.append(sent[4 * 58])
    out = play(assembler, sent)
    assert indices(out) == list(range(600))
    assert modules_of(out) == [ALL] * 300 + [[0, 2, 3]] * 10 + [ALL] * 290
    check_values(out)
    counts = totals(assembler)
    assert (counts["parts_late"], counts["parts_duplicate"]) == (10, 10)


def test_all_tacks_begin_anew():
    """As func_probe has it: from 20 s back to 0 without a pause."""
    assembler = four()
    out = play(assembler, [*sets(range(20, 24)), *sets(range(6))])
    assert indices(out) == [*range(200, 240), *range(60)]
    assert modules_of(out) == [ALL] * 100
    check_values(out)
    assert out["number"].tolist() == list(range(1, 101))
    assert totals(assembler)["tack_restarts"] == 1
    assert totals(assembler)["readouts_complete"] == 100


def test_what_waits_goes_out_when_tacks_begin_anew():
    assembler = four()
    out = play(assembler, [*sets(range(200, 204)), *sets([204])[:2], *sets(range(3))])
    assert indices(out) == [*range(2000, 2050), *range(30)]
    assert modules_of(out) == [ALL] * 40 + [[0, 1]] * 10 + [ALL] * 30
    assert totals(assembler)["readouts_cut_off"] == 10


def test_the_camera_pauses_for_an_hour():
    assembler = four()
    pause = 3600 * 10
    out = play(assembler, [*sets(range(3)), *sets(range(pause // 10, pause // 10 + 3))])
    assert indices(out) == [*range(30), *range(pause, pause + 30)]
    out = play(assembler, sets([9000]), now=1000.0)
    assert modules_of(out) == [ALL] * 10
    assert "parts_implausible" not in totals(assembler)


def test_tacks_of_one_module_begin_anew():
    assembler = four(flush_time=4.0)
    play(assembler, sets(range(500, 520)))
    sent = [packet(m, (0 if m == 1 else 5200) + 10 * s) for s in range(20) for m in range(4)]
    out = play(assembler, sent, every=0.25)
    assert modules_of(out) == [[0, 2, 3]] * len(out)
    assert indices(out) == list(range(5200, 5200 + len(out)))
    check_values(out)
    assembler.tick(100.0)
    counts = totals(assembler)
    assert counts["parts_implausible"] == assembler.modules()[1]["parts_implausible"] == 200
    assert "tack_restarts" not in counts
    assert "module 1" in assembler.troubles()["module 1"]


@pytest.mark.parametrize("shift", [10**15, -(10**12), 2**63, -(10**15), 2**62 + 5, -(2**62)])
@pytest.mark.parametrize("at_once", [True, False])
def test_one_wild_tack_does_not_hurt_what_follows(shift, at_once):
    wild = [packet(1, 30, shift=shift), packet(2, 30, shift=shift // 3)]
    sent = [*sets(range(3)), wild[0], *sets(range(3, 5)), wild[1], *sets(range(5, 8))]
    assembler = four(flush_time=4.0)
    out = assembler.feed(packets(*sent), 0.0) if at_once else play(assembler, sent)
    assert indices(out) == list(range(80))
    assert modules_of(out) == [ALL] * 80
    check_values(out)
    assert totals(assembler)["parts_held"] == 20
    assert len(assembler.tick(5.0)) == 0
    counts = totals(assembler)
    assert counts["parts_implausible"] == 20
    assert "tack_restarts" not in counts
    assert [row["parts_implausible"] for row in assembler.modules()[:4]] == [0, 10, 10, 0]


def test_one_wild_tack_is_counted_but_no_trouble():
    assembler = four()
    sent = sets(range(10))
    sent.insert(9, packet(1, 20, shift=10**15))
    play(assembler, sent, every=0.25)
    assert totals(assembler)["parts_implausible"] == 10
    assert assembler.troubles() == {}


@pytest.mark.parametrize("at", [0, 4, 9])
def test_one_wild_tack_within_a_packet(at):
    module, contents = packet(1, 30)
    wild = (T0 + 40 * STEP + 10**13).to_bytes(8, "big")
    later = packet(1, 30 + at + 1, 9 - at, shift=10**13 + 10 * STEP)[1] if at < 9 else b""
    contents = contents[: at * 144] + wild + contents[at * 144 + 8 : (at + 1) * 144] + later
    assembler = four()
    out = play(assembler, [*sets(range(3)), (module, contents), *sets(range(3, 8))])
    assert indices(out) == list(range(80))
    check_values(out)
    assert totals(assembler)["parts_held"] == 10


def test_a_pause_within_packets():
    """Five readouts before a pause of an hour, and five after it, in packets of all modules.

    When most modules have told of it, the time of those before it is over.
    """
    sent = []
    for module in ALL:
        before, after = packet(module, 30, 5)[1], packet(module, 36000, 5)[1]
        sent.append((FIRST_OCTET + module, before + after))
    assembler = four()
    out = play(assembler, [*sets(range(3)), *sent, *sets(range(3601, 3603))])
    assert indices(out) == [*range(35), *range(36000, 36005), *range(36010, 36030)]
    assert modules_of(out) == [ALL] * 30 + [[0, 1, 2]] * 5 + [ALL] * 25
    check_values(out)


def test_a_wild_tack_before_all_others():
    assembler = four()
    out = play(assembler, [packet(1, 0, shift=10**15), *sets(range(5))])
    assert modules_of(out) == [[1]] * 10 + [ALL] * 50
    assert indices(out)[10:] == list(range(50))
    assert totals(assembler)["readouts_cut_off"] == 10


def test_a_wild_tack_within_the_window_does_not_hurry_the_others():
    """Module 1 once sends TACKs 3.9 s ahead: no readout goes out before its own time."""
    assembler = four()
    sent = sets(range(8))
    out = play(assembler, [*sent[:8], packet(1, 20, shift=39 * STEP), *sent[8:]])
    assert modules_of(out)[:40] == [ALL] * 40
    assert "parts_late" not in totals(assembler)
    assert "parts_missing" not in totals(assembler) or totals(assembler)["parts_missing"] <= 30


@pytest.mark.parametrize("shifts", [(10**15,), (10**15, 10**14), (10**14, 10**15)])
def test_wild_tacks_of_the_only_module(shifts):
    """Its own consent is enough, but of two packets, and neither of these agrees with another."""
    assembler = four(expected_modules=[3])
    sent = sets(range(4), [3])
    sent[2:2] = [packet(3, 0, shift=shift) for shift in shifts]
    out = play(assembler, sent)
    assert indices(out) == list(range(40))
    assert totals(assembler)["parts_held"] == 10 * len(shifts)


def test_packets_are_held_after_their_memory_is_used_again():
    assembler = four()
    play(assembler, sets(range(500, 502)))
    out = []
    for datagram in sets(range(3)):
        received = batch([datagram])
        out.append(assembler.feed(decode(received), 0.0))
        received.data[:] = 0xFF
    out = np.concatenate(out)
    assert indices(out) == list(range(30))
    check_values(out)


def test_a_tack_at_the_greatest_distance_from_what_waits():
    """2**63 away, where the absolute value of a distance is not positive."""
    assembler = four()
    play(assembler, sets([0])[:3])
    assert len(play(assembler, [packet(3, 0, shift=2**63)])) == 0
    out = play(assembler, [packet(3, 0)])
    assert modules_of(out) == [ALL] * 10
    check_values(out)


def test_the_last_module_pauses():
    """Three of four are dead; the one that is left needs no consent but its own."""
    assembler = four(flush_time=2.0)
    play(assembler, sets([0]))
    play(assembler, sets(range(1, 5), [2]), now=10.0, every=1.0)
    play(assembler, sets([20], [2]), now=14.0)
    assert totals(assembler)["parts_held"] == 10
    play(assembler, sets([21], [2]), now=14.1)
    assert totals(assembler)["parts_placed"] == 40 + 40 + 20
    assert totals(assembler)["tack_restarts"] == 1


def test_packets_far_apart_agree_on_a_beginning():
    """Module 0 begins anew with set 0, module 1 with set 4: none of their parts is too early."""
    sent = [packet(1, 40), packet(0, 0), packet(2, 20)]
    assembler = four()
    play(assembler, sets(range(500, 502)))
    out = np.concatenate([play(assembler, sent), assembler.flush()])
    assert modules_of(out) == [[0]] * 10 + [[2]] * 10 + [[1]] * 10
    check_values(out)
    assert "parts_late" not in totals(assembler)


def test_stragglers_after_the_end_do_not_begin_anew():
    """A packet that comes when all is out is late, even when nothing else comes any more."""
    assembler = four(flush_time=2.0)
    sent = sets(range(3))
    play(assembler, sent[:-1])
    assert len(assembler.tick(10.0)) == 10
    assert len(play(assembler, sent[-1:], now=20.0)) == 0
    assert len(play(assembler, sent[:1], now=20.5)) == 0
    assembler.tick(30.0)
    counts = totals(assembler)
    assert (counts["parts_late"], counts["parts_duplicate"]) == (10, 10)
    assert "tack_restarts" not in counts


def test_the_same_tacks_again_after_a_pause():
    """A simulator that is started again: TACKs that were seen a while ago, from most modules."""
    assembler = four(flush_time=2.0)
    play(assembler, sets(range(3)))
    assembler.tick(10.0)
    out = play(assembler, sets(range(3)), now=20.0)
    assert indices(out) == list(range(30))
    assert modules_of(out) == [ALL] * 30
    assert totals(assembler)["tack_restarts"] == 1


def test_a_flood_of_wild_tacks_takes_bounded_memory():
    assembler = four()
    rng = np.random.default_rng(4)
    play(assembler, sets(range(2)))
    for wild in rng.integers(0, 2**64, 500, np.uint64).tolist():
        play(assembler, [packet(1, 0, shift=wild)])
    assert totals(assembler)["parts_held"] <= 1280
    out = play(assembler, sets(range(2, 4)))
    assert indices(out) == list(range(20, 40))


# -- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_window_too_wide_is_told_and_merges_nothing(count, at_once):
    """readout_tw 51 ms as SSDAQ ships it, readouts every 10 ms: there it merged them silently."""
    step = 10**7
    assembler = four(readout_tw=5.1e7)
    sent = [
        packet(m, s * count, count, step=step)
        for s in range(60 // count)
        for m in range(4)
        if (s, m) != (2, 1)
    ]
    out = assembler.feed(packets(*sent), 0.0) if at_once else play(assembler, sent)
    out = np.concatenate([out, assembler.flush()])
    assert indices(out, step=step) == list(range(60))
    check_values(out, step=step)
    assert sum(modules == ALL for modules in modules_of(out)) == 60 - count
    assert totals(assembler)["packets_window_too_wide"] >= len(sent) // 2
    assert "set readout_tw to 5000000 at most" in assembler.troubles()["readout_tw"]


def test_half_the_distance_is_not_too_wide():
    assembler = four(readout_tw=STEP / 2)
    play(assembler, sets(range(3)))
    assert assembler.troubles() == {}
    assembler = four(readout_tw=STEP / 2 + 1)
    play(assembler, sets(range(3)))
    assert "readout_tw" in assembler.troubles()


def test_one_packet_with_narrow_tacks_does_not_change_the_window():
    assembler = four()
    sent = sets(range(3))
    sent.insert(6, packet(1, 0, step=3, t0=T0 + 15 * STEP))
    out = assembler.feed(packets(*sent), 0.0)
    assert modules_of(out)[:10] == [ALL] * 10
    assert assembler.troubles() == {}
    assert modules_of(np.concatenate([out, assembler.flush()])) == [ALL] * 30
    assert totals(assembler)["parts_conflicting"] == 9
    assert totals(assembler)["parts_duplicate"] == 1


def test_troubles_pass():
    assembler = four(readout_tw=5.1e7)
    play(assembler, sets(range(3), step=10**7))
    assembler.tick(50.0)
    assert set(assembler.troubles()) == {"readout_tw"}
    assembler.tick(61.0)
    assert assembler.troubles() == {}


@pytest.mark.parametrize("buffer_time", [STEP / 2, 9.9 * STEP])
def test_a_buffer_time_shorter_than_a_packet_is_told(buffer_time):
    assembler = four(buffer_time=buffer_time)
    play(assembler, sets([0])[:2])
    assert assembler.troubles() == {}
    play(assembler, sets(range(1, 3)))
    assert "set buffer_time to 2000000000 at least" in assembler.troubles()["buffer_time"]
    assembler = four(buffer_time=10 * STEP)
    play(assembler, sets(range(3)))
    assert assembler.troubles() == {}


def test_a_buffer_too_short_gives_the_oldest_as_they_are():
    assembler = Assembler(AssemblerSettings(buffer_length=64, buffer_time=1e12))
    out = play(assembler, sets(range(20)))
    assert indices(out) == list(range(136))
    assert modules_of(out) == [ALL] * 136
    check_values(out)
    counts = totals(assembler)
    assert (counts["readouts_evicted"], counts["readouts_buffered"]) == (136, 64)
    assert "buffer_length" in assembler.troubles()
    out = assembler.feed(packets(*sets(range(20, 60))), 0.0)
    assert indices(out) == list(range(136, 536))
    assert modules_of(out) == [ALL] * 400
    totals(assembler)


def test_a_full_buffer_and_readouts_in_between():
    """Even readouts fill the buffer, then the odd ones come, oldest last."""
    assembler = Assembler(AssemblerSettings(buffer_length=64, buffer_time=1e12))
    sent = [packet(0, n, 1) for n in range(0, 128, 2)]
    sent += [packet(0, n, 1) for n in range(127, 0, -2)]
    out = np.concatenate([play(assembler, sent), assembler.flush()])
    check_values(out)
    assert indices(out) == sorted(set(indices(out)))
    counts = totals(assembler)
    assert counts["parts_out"] + counts["parts_late"] == 128


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("readout_tw", 0),
        ("readout_tw", float("nan")),
        ("buffer_time", 1e6),
        ("buffer_time", 1e14),
        ("buffer_length", 63),
        ("buffer_length", 10**6),
        ("flush_time", 0),
        ("flush_time", float("inf")),
        ("expected_modules", []),
        ("expected_modules", [32]),
    ],
)
def test_settings_that_cannot_be(name, value):
    with pytest.raises(ConfigError, match=name):
        AssemblerSettings(**{name: value})


def test_counts_of_a_part_are_those_of_the_wire():
    out = play(Assembler(AssemblerSettings(expected_modules=range(MODULES))), sets([0], range(32)))
    assert np.array_equal(out["counts"][7, 31], counts_of(31, 7))
