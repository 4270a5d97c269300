"""What a simulated camera plays, and what it does to which packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socs.errors import ConfigError
from socs.sim.camera_truth import DELAYED, DROPPED, DUPLICATED, REGULAR, REORDERED, SILENT
from socs.sim.camera_walk import LENGTH, MAX_LENGTH
from socs.slow_signal.layout import MODULES, USUAL_READOUTS

PORT = 2009
FIRST_SOURCE = "127.0.1.100"  # of module 0
ANY = "any"  # the source address that the system chooses
SECOND = 10**9  # ns
MAX_READOUTS = 454  # in a datagram: as many as UDP can carry
FATES_AT_ONCE = 256  # sets for which fates are drawn


@dataclass(frozen=True)
class CameraSettings:
    """What is played.

    Attributes:
        host, port: where to.
        modules: those that there are.
        source: address of module 0; those of the others follow it. ``any`` leaves it to the
            system, for a single module that has an address of its own.
        readouts_per_packet: of one module in one datagram.
        readout_rate: readouts per second, as TACKs have it [Hz].
        packet_rate: packets per second of all modules together; None: in time with TACKs,
            infinity: as fast as possible.
        seed: of amplitudes and of what happens to packets.
        walk: readouts until amplitudes go the same way back.
        first_tack: of the first readout, brought to the next multiple of a packet's time [ns];
            None: UTC.
        drop, duplicate, reorder, delay: the part of the packets to which this happens; to each
            packet at most one of them.
        delay_sets: a delayed packet is sent so many packets later, one that is reordered 1 later.
        silent: modules of which nothing is ever sent.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    modules: Sequence[int] = range(MODULES)
    source: str = FIRST_SOURCE
    readouts_per_packet: int = USUAL_READOUTS
    readout_rate: float = 10.0
    packet_rate: float | None = None
    seed: int = 0
    walk: int = LENGTH
    first_tack: int | None = None
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    delay_sets: int = 100
    silent: Sequence[int] = ()

    def __post_init__(self) -> None:
        modules = set(self.modules)
        wrong = {
            "modules": not modules or not modules <= set(range(MODULES)),
            "silent": not set(self.silent) <= modules,
            "source": self.source == ANY and len(modules) > 1,
            "readouts_per_packet": not 1 <= self.readouts_per_packet <= MAX_READOUTS,
            "readout_rate": not 0 < self.readout_rate <= SECOND,
            "packet_rate": self.packet_rate is not None and not self.packet_rate > 0,
            "walk": not 2 <= self.walk <= MAX_LENGTH,
            "drop, duplicate, reorder, delay": sum(self.chances) > 1 or min(self.chances) < 0,
            "delay_sets": self.delay_sets < 1,
            "first_tack": not 0 <= (self.first_tack or 0) < 1 << 62,
        }
        for name, is_wrong in wrong.items():
            if is_wrong:
                values = [getattr(self, each) for each in name.split(", ")]
                raise ConfigError(f"{name}: {', '.join(map(str, values))} cannot be")

    @property
    def chances(self) -> tuple[float, ...]:
        """Of being dropped, duplicated, reordered, delayed."""
        return self.drop, self.duplicate, self.reorder, self.delay

    @property
    def step(self) -> int:
        """From readout to readout [ns]."""
        return max(1, round(SECOND / self.readout_rate))

    @property
    def set_rate(self) -> float:
        """How many times per second each module has a packet to send."""
        if self.packet_rate is None:
            return SECOND / (self.step * self.readouts_per_packet)
        return self.packet_rate / len(set(self.modules))

    def begin(self, now: float) -> int:
        """TACK of the first readout [ns], at the UNIX time ``now`` [s]."""
        span = self.step * self.readouts_per_packet
        wanted = int(now * SECOND) if self.first_tack is None else self.first_tack
        return -(-wanted // span) * span


class Fates:
    """What becomes of packets, the same for the same settings."""

    def __init__(self, settings: CameraSettings) -> None:
        self._seed = settings.seed
        self._limits = np.cumsum(settings.chances)
        self._kinds = np.array([DROPPED, DUPLICATED, REORDERED, DELAYED, REGULAR])
        absent = set(range(MODULES)) - set(settings.modules) | set(settings.silent)
        self._silent = np.array(sorted(absent), np.intp)
        self._block = -1
        self._drawn = np.full((FATES_AT_ONCE, MODULES), REGULAR)
        self._drawn[:, self._silent] = SILENT

    def of_set(self, number: int) -> NDArray[np.intp]:
        """For the packets of set ``number``, from 0: positions in ``KINDS``, by module (32,)."""
        block, row = divmod(number, FATES_AT_ONCE)
        if self._limits[-1] and block != self._block:
            chance = np.random.default_rng([self._seed, MODULES, block])
            drawn = chance.random((FATES_AT_ONCE, MODULES))
            self._drawn = self._kinds[np.searchsorted(self._limits, drawn, "right")]
            self._drawn[:, self._silent] = SILENT
            self._block = block
        fates: NDArray[np.intp] = self._drawn[row]
        return fates
