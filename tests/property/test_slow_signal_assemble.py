"""Whatever is lost, doubled, reordered, late or damaged: counts are true and no value is wrong."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from socs.counters import SLOW_SIGNAL_CONSERVATION, imbalances
from socs.slow_signal.assemble import Assembler
from socs.slow_signal.decode import decode
from socs.slow_signal.layout import WIRE, Readouts
from socs.slow_signal.quarantine import MAX_HELD
from socs.slow_signal.windows import AssemblerSettings
from tests.slow_signal_packets import (
    FIRST_OCTET,
    STEP,
    T0,
    batch,
    check_values,
    indices,
    modules_of,
    packet,
)

EQUATIONS = [e for e in SLOW_SIGNAL_CONSERVATION if not e.whole[0].startswith("datagrams")]
WINDOW = STEP // 10
PATIENCE = 4.0  # s


class Sent(NamedTuple):
    """A packet with readouts ``first`` to ``first + count - 1``."""

    module: int
    first: int
    count: int
    shift: int

    def tack(self, index: int) -> int:
        return T0 + (self.first + index) * STEP + self.shift

    @property
    def tacks(self) -> list[int]:
        return [self.tack(index) for index in range(self.count)]


class Truth:
    """What becomes of each part, from what has come out so far: one part after the other."""

    def __init__(self, buffer_time: int, expected: list[int]) -> None:
        self.buffer_time, self.expected = buffer_time, set(expected)
        self.counts: Counter[str] = Counter()
        self.of_modules: dict[str, Counter[int]] = {}
        self.waiting: dict[int, set[int]] = {}  # modules of each readout
        self.gone: dict[int, set[int]] = {}
        self.named: dict[int, int] = {}  # its TACK: that of the first part
        self.opened: dict[int, tuple[float, int]] = {}  # monotonic time, and UTC of the readout
        self.latest: dict[int, int] = {}  # TACK of each module
        self.heard: dict[int, float] = {}
        self.newest = self.out = 0
        self.in_line = -1e9

    def admits(self, sent: Sent, now: float) -> bool:
        """Is this packet in line, or simply late, so that nothing is held?"""
        if not self.named:
            self.newest, self.out = sent.tack(0) - WINDOW, sent.tack(0) - self.buffer_time
        if sent.tack(0) > self.newest + self.buffer_time:
            return False
        last = sent.tacks[-1]
        if last >= self.out + WINDOW:
            return True
        oldest = self.named[min(self.gone)] if self.gone else self.out
        return last >= oldest - WINDOW and now - self.in_line <= PATIENCE

    def take(self, sent: Sent, now: float, received: float) -> None:
        """The packet is fed at ``now``."""
        self.counts["parts_decoded"] += sent.count
        in_line = sent.tacks[-1] >= self.out + WINDOW
        for index, tack in enumerate(sent.tacks):
            number = sent.first + index
            if tack < self.out + WINDOW:
                known = sent.module in self.gone.get(number, ())
                self.count("parts_duplicate" if known else "parts_late", sent.module)
            elif sent.module in self.waiting.setdefault(number, set()):
                self.count("parts_duplicate", sent.module)
            else:
                self.count("parts_placed", sent.module)
                self.waiting[number].add(sent.module)
                self.named.setdefault(number, tack)
                utc = round(received * 1e9) - (sent.tacks[-1] - tack)
                self.opened.setdefault(number, (now, utc))
        if in_line:
            self.newest = max(self.newest, sent.tacks[-1])
            self.latest[sent.module] = max(self.latest.get(sent.module, 0), sent.tacks[-1])
            self.heard[sent.module] = self.in_line = now

    def count(self, name: str, module: int) -> None:
        self.counts[name] += 1
        self.of_modules.setdefault(name, Counter())[module] += 1

    def clock(self, now: float) -> int:
        tacks = sorted(t for m, t in self.latest.items() if now - self.heard[m] <= PATIENCE)
        return tacks[-2] if len(tacks) > 1 else tacks[0] if tacks else 0

    def is_over(self, number: int, now: float) -> str:
        """Why this readout must go out once it is the first; empty if it must not."""
        if self.waiting[number] >= self.expected:
            return "readouts_complete"
        if self.named[number] < self.clock(now) - self.buffer_time:
            return "readouts_timed_out"
        return "readouts_flushed" if now - self.opened[number][0] >= PATIENCE else ""

    def check(self, readouts: Readouts, now: float, *, all_of_them: bool = False) -> None:
        """These, and only these, are the readouts that are due."""
        check_values(readouts)
        first = self.counts["readouts_out"] + 1
        assert readouts["number"].tolist() == list(range(first, first + len(readouts)))
        due = []
        for number in sorted(self.waiting):
            cause = self.is_over(number, now)
            if not cause and not all_of_them:
                break
            self.counts[cause or "readouts_flushed"] += 1
            due.append(number)
        assert indices(readouts) == due
        for readout, modules in zip(readouts, modules_of(readouts), strict=True):
            number = due.pop(0)
            assert modules == sorted(self.waiting[number])
            assert readout["cpu_ns"] == self.opened[number][1]
            self.gone[number] = self.waiting.pop(number)
            self.out = self.named[number]
            self.counts["readouts_out"] += 1
            self.counts["parts_out"] += len(modules)
            for module in self.expected - set(modules):
                self.count("parts_missing", module)

    def check_totals(self, assembler: Assembler) -> None:
        totals = assembler.totals()
        assert imbalances(totals, EQUATIONS) == {}
        waiting = sum(map(len, self.waiting.values()))
        self.counts["parts_buffered"] = waiting
        self.counts["readouts_buffered"] = len(self.waiting)
        assert {name: count for name, count in totals.items() if count} == +self.counts
        for row in assembler.modules():
            for name, counts in self.of_modules.items():
                assert row[name] == counts[row["module"]]


@st.composite
def camera(draw, modules: list[int], readouts: int) -> list[Sent]:
    """Packets of a run, of equal or different lengths, in the order of sending."""
    lengths = draw(st.sampled_from([[10], [5], [1], [1, 3, 10]]))
    shifts = st.integers(-WINDOW // 2 + 1, WINDOW // 2 - 1)
    sent = []
    for module in modules:
        first, shift = draw(st.integers(0, 3)), draw(shifts)
        while first < readouts:
            count = draw(st.sampled_from(lengths)) if len(lengths) > 1 else lengths[0]
            sent.append(Sent(module, first, count, shift))
            first += count
    return sorted(sent, key=lambda each: (each.first + each.count, each.module))


@st.composite
def journey(draw, sent: list[Sent]) -> list[Sent]:
    """Some packets are lost, doubled, or held up by some others."""
    arriving = []
    copies = st.sampled_from([1] * 8 + [0, 2])
    delays = st.sampled_from([0] * 6 + [1, 2, 5, 20]) if draw(st.booleans()) else st.just(0)
    for place, each in enumerate(sent):
        for _ in range(draw(copies)):
            arriving.append((place + 2 * draw(delays), len(arriving), each))
    return [each for _, _, each in sorted(arriving)]


BAD = [
    (FIRST_OCTET, b"", "packet_empty"),
    (FIRST_OCTET, b"x" * 1439, "packet_bad_size"),
    (FIRST_OCTET + 32, packet(0, 0)[1], "module_out_of_range"),
    (FIRST_OCTET, bytes(1440), "tacks_inconsistent"),
    (FIRST_OCTET, bytes(65 * 144), "packet_too_long"),
]


@settings(max_examples=60)
@given(st.data())
def test_counts_are_those_of_what_happened(data):
    modules = data.draw(st.lists(st.integers(0, 31), min_size=1, max_size=4, unique=True))
    expected = data.draw(st.sampled_from([modules, modules[:1], [*modules, (modules[0] + 1) % 32]]))
    buffer_time = data.draw(st.sampled_from([12, 25, 100])) * STEP
    chosen = AssemblerSettings(WINDOW, buffer_time, 200, PATIENCE, expected)
    arriving = data.draw(camera(modules, data.draw(st.integers(1, 60))).flatmap(journey))
    assembler, truth = Assembler(chosen), Truth(buffer_time, expected)
    now, decoded, refused = 1000.0, 0, Counter()
    while arriving:
        now += data.draw(st.sampled_from([0.0, 0.1, 1.5]))
        size = data.draw(st.integers(1, 12))
        taken, arriving = arriving[:size], arriving[size:]
        received = 1.7e9 + now
        datagrams = []
        for sent in taken:
            if truth.admits(sent, now):
                truth.take(sent, now, received)
                datagrams.append(packet(*sent[:3], shift=sent.shift))
        for octet, contents, cause in data.draw(st.lists(st.sampled_from(BAD), max_size=2)):
            datagrams.insert(data.draw(st.integers(0, len(datagrams))), (octet, contents))
            refused[cause] += 1
        packets = decode(batch(datagrams, received))
        decoded += len(packets)
        refused.subtract(packets.refused)
        truth.check(assembler.feed(packets, now), now)
        truth.check_totals(assembler)
        if data.draw(st.booleans()):
            now += data.draw(st.sampled_from([0.0, 1.0, PATIENCE]))
            truth.check(assembler.tick(now), now)
    assert not +refused
    assert not -refused
    truth.check(assembler.flush(), now, all_of_them=True)
    truth.check_totals(assembler)
    assert not truth.waiting


# -- any packets at all ---------------------------------------------------------------------------

starts = st.sampled_from([0, 5, 10**12, 2**63, 2**64 - 100, 10**12 + 4 * 10**9]) | st.integers(
    0, 2**64 - 1
)
steps = st.sampled_from([1, 3, 10, 10**3, 10**8, 10**10, 2**40, 2**50, 2**50 + 1, 2**62, 2**63 - 1])
tack_lists = st.builds(
    lambda start, steps: np.cumsum(np.array([start, *steps], np.uint64), dtype=np.uint64),
    starts,
    st.lists(steps, max_size=12) | st.builds(lambda s, n: [s] * n, steps, st.integers(0, 63)),
)


class Traced:
    """Packets with a number in the counts of each part, and what became of the parts."""

    def __init__(self) -> None:
        self.parts: dict[int, tuple[int, int]] = {}  # module and TACK by number
        self.seen: set[int] = set()

    def datagram(self, module: int, tacks: np.ndarray) -> tuple[int, bytes]:
        parts = np.zeros(len(tacks), WIRE)
        for part, tack in zip(parts, tacks.tolist(), strict=True):
            number = len(self.parts) + 1
            self.parts[number] = module, tack
            part["tack"], part["aux"] = tack, number
            part["low"][:4] = [(number >> 16 * i & 0xFFFF) ^ 0x8000 for i in range(4)]
            part["low"][4:] = part["high"] = 0x8000
        return FIRST_OCTET + module, parts.tobytes()

    def check(self, readouts: Readouts) -> None:
        for readout, modules in zip(readouts, modules_of(readouts), strict=True):
            assert modules
            assert readout["tack"] == readout["tacks"][modules[0], 0]
            for module in range(32):
                primary, number = (int(tack) for tack in readout["tacks"][module])
                counts = readout["counts"][module].astype(np.uint64)
                if module not in modules:
                    assert (primary, number, counts.any()) == (0, 0, False)
                    continue
                assert self.parts[number] == (module, primary)
                assert number not in self.seen
                self.seen.add(number)
                assert sum(int(count) << 16 * i for i, count in enumerate(counts[:4])) == number
                assert not counts[4:].any()


@settings(max_examples=60)
@given(st.data())
def test_any_packets_are_placed_once_or_counted(data):
    width = data.draw(st.sampled_from([1, 10, 10**7, 10**10]))
    chosen = AssemblerSettings(
        readout_tw=width,
        buffer_time=max(width, data.draw(st.sampled_from([10**3, 4 * 10**9, 3600 * 10**9]))),
        buffer_length=data.draw(st.sampled_from([64, 100])),
        flush_time=data.draw(st.sampled_from([0.5, 4.0, 1000.0])),
        expected_modules=data.draw(st.sampled_from([[0], [0, 1, 2], range(32)])),
    )
    assembler, traced, now, number, bursts = Assembler(chosen), Traced(), 0.0, 1, []
    for _ in range(data.draw(st.integers(1, 12))):
        now += data.draw(st.sampled_from([0.0, 0.1, 3.0, -5.0, 2000.0]))
        burst = data.draw(st.lists(st.tuples(st.integers(0, 3), tack_lists), max_size=8))
        if bursts and data.draw(st.booleans()):
            burst += data.draw(st.sampled_from(bursts))
        bursts.append(burst)
        packets = decode(batch([traced.datagram(*each) for each in burst]))
        out = assembler.feed(packets, now) if burst else assembler.tick(now)
        traced.check(out)
        assert out["number"].tolist() == list(range(number, number + len(out)))
        number += len(out)
        if data.draw(st.booleans()):
            assembler.reset_readout_count()
            number = 1
        totals = assembler.totals()
        assert imbalances(totals, EQUATIONS) == {}
        assert min(totals.values()) >= 0
        assert totals["readouts_buffered"] <= chosen.buffer_length
        assert totals["parts_held"] <= MAX_HELD * 64
        assert totals["parts_out"] == len(traced.seen)
    traced.check(assembler.flush())
    totals = assembler.totals()
    assert imbalances(totals, EQUATIONS) == {}
    assert totals["parts_buffered"] == totals["readouts_buffered"] == totals["parts_held"] == 0
    assert totals["parts_placed"] == totals["parts_out"] == len(traced.seen)
