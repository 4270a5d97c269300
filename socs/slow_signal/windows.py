"""How near TACKs must be and how long readouts wait: settings, and what the data say to them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError
from socs.slow_signal.decode import MAX_READOUTS, Packets
from socs.slow_signal.layout import MODULES
from socs.slow_signal.line import NEVER, Line
from socs.slow_signal.tally import Tally

SECOND = 10**9  # ns
MAX_BUFFER_TIME = 3600 * SECOND  # ns
MAX_BUFFER_LENGTH = 50_000  # readouts; 230 MB
MAX_FLUSH_TIME = 3600.0  # s
SEVERAL = 3  # packets that make sure that a setting is wrong, and not a packet


@dataclass(frozen=True)
class AssemblerSettings:
    """What a site configures; the first three as in SSDAQ.

    Attributes:
        readout_tw: parts whose TACKs differ by less belong to one readout [ns].
        buffer_time: how far TACKs go on until an incomplete readout goes out [ns].
        buffer_length: most readouts that are put together at once.
        flush_time: age at which an incomplete readout goes out however far TACKs are [s]; None
            for as long as ``buffer_time``.
        expected_modules: those that make a readout complete.

    Raises:
        ConfigError: one of them is impossible; the message names it.
    """

    readout_tw: float = 1e7
    buffer_time: float = 4e9
    buffer_length: int = 1000
    flush_time: float | None = None
    expected_modules: Collection[int] = range(MODULES)

    def __post_init__(self) -> None:
        _check("readout_tw", self.readout_tw, 1, MAX_BUFFER_TIME, "ns")
        _check("buffer_time", self.buffer_time, self.readout_tw, MAX_BUFFER_TIME, "ns")
        _check("buffer_length", self.buffer_length, MAX_READOUTS, MAX_BUFFER_LENGTH, "readouts")
        _check("flush_time", self.patience, 1e-3, MAX_FLUSH_TIME, "s")
        if not self.expected_modules or set(self.expected_modules) - set(range(MODULES)):
            raise ConfigError(
                f"expected_modules: {list(self.expected_modules)} are not modules from 0 to 31"
            )

    @property
    def patience(self) -> float:
        """``flush_time`` in force [s]."""
        return self.buffer_time / SECOND if self.flush_time is None else self.flush_time


def _check(name: str, value: float, least: float, most: float, unit: str) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name}: {value:g} is not between {least:g} and {most:g} {unit}")


class Window:
    """How far TACKs of one readout may be apart.

    That is ``readout_tw``, unless the data show that readouts follow faster than that allows: then
    half the distance of a module's successive readouts, so that they are never taken for one.

    Attributes:
        width: TACKs that differ by less belong together [ns].
    """

    def __init__(self, settings: AssemblerSettings, tally: Tally) -> None:
        self._widest = self.width = int(settings.readout_tw)
        self._buffer_time = int(settings.buffer_time)
        self._tally = tally
        self._against: dict[str, int] = {}  # packets in a row that speak against a setting

    def fit(self, run: Packets, line: Line, now: float) -> None:
        """Look at the packets of ``run``, all of k parts, before they are placed."""
        twice, count = 2 * self._widest, run.tacks.shape[1]
        if count > 1 and run.shortest >= twice:
            self.width = self._widest
            if run.longest * count <= self._buffer_time:
                self._against.clear()
                return
        steps = shortest_steps(run, line)
        if not len(steps):
            return
        usual = int(np.partition(steps, len(steps) // 2)[len(steps) // 2])
        self.width = max(1, min(self._widest, usual // 2))
        if usual < twice:
            self._tally.add("packets_window_too_wide", int(np.count_nonzero(steps < twice)))
        text = (
            f"readout_tw is {self._widest} ns, but readouts of a module come every {usual} ns: "
            f"set readout_tw to {usual // 2} at most"
        )
        self._tell("readout_tw", text, usual < twice, len(run), now)
        span = usual * count
        text = (
            f"buffer_time is {self._buffer_time} ns, but a packet spans {span} ns: "
            f"set buffer_time to {2 * span} at least"
        )
        self._tell("buffer_time", text, span > self._buffer_time, len(run), now)

    def _tell(self, kind: str, text: str, wrong: bool, packets: int, now: float) -> None:
        """There is a trouble if several packets in a row say so."""
        self._against[kind] = self._against.get(kind, 0) + packets if wrong else 0
        if self._against[kind] >= SEVERAL:
            self._tally.trouble(kind, text, now)


def shortest_steps(run: Packets, line: Line) -> NDArray[np.int64]:
    """Distance of successive readouts of one module, of each packet in which there are two [ns].

    Of packets with one readout it is the distance from the module's one before, if that is known.
    """
    if run.tacks.shape[1] > 1:
        shortest: NDArray[np.int64] = run.steps().min(axis=1)
        return shortest
    order = np.argsort(run.modules, kind="stable")
    modules, tacks = run.modules[order], line.on_line(run.tacks[order, 0])
    previous = np.empty_like(tacks)
    previous[1:] = tacks[:-1]
    first = np.flatnonzero(np.diff(modules, prepend=np.uint8(MODULES)))
    previous[first] = line.latest(modules[first])
    steps = tacks - previous
    return steps[(steps > 0) & (steps < NEVER // 2)]
