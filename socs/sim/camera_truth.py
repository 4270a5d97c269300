"""What a simulated camera really did, for comparing with what a builder says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.closing import Closing
from socs.sim.camera_walk import Walk
from socs.slow_signal.layout import MODULES

# What may become of a packet. Each packet of each module is counted under one of these.
KINDS = ("regular", "dropped", "duplicated", "reordered", "delayed", "silent")
REGULAR, DROPPED, DUPLICATED, REORDERED, DELAYED, SILENT = range(len(KINDS))
COPIES = np.array([1, 0, 2, 1, 1, 0])  # datagrams of each kind of packet
_TIMES = ("readouts_per_packet", "first_tack", "step", "aux_ahead", "seed", "walk")


@dataclass
class CameraTruth:
    """What was played.

    Attributes:
        seed, walk: of :class:`~socs.sim.camera_walk.Walk`, which knows all counts.
        readouts_per_packet: of one module in one datagram.
        first_tack: TACK of the first readout [ns].
        step: from readout to readout [ns].
        aux_ahead: by how much second TACKs are ahead of primary ones [ns]; those of module m by m
            microseconds more.
        sets: how many times all modules had a packet to send.
        whole_sets: those of which each module's packet was sent and none was late.
        packets: int64, shape (6, 32), how many of each of `KINDS` and each module.
        finished: whether the camera has ended by itself, and this is all.
    """

    seed: int
    walk: int
    readouts_per_packet: int
    first_tack: int
    step: int
    aux_ahead: int
    sets: int = 0
    whole_sets: int = 0
    packets: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((len(KINDS), MODULES), np.int64)
    )
    finished: bool = False

    @property
    def readouts(self) -> int:
        """Readouts of the camera."""
        return self.sets * self.readouts_per_packet

    @property
    def whole_readouts(self) -> int:
        """Those of which each module's part was sent and none was late."""
        return self.whole_sets * self.readouts_per_packet

    @property
    def datagrams(self) -> int:
        """Datagrams handed to the network."""
        return int((self.packets.sum(axis=1) * COPIES).sum())

    def total(self, kind: str) -> int:
        """Packets of one of `KINDS`, over all modules."""
        return int(self.packets[KINDS.index(kind)].sum())

    def record(self, kinds: NDArray[np.intp]) -> None:
        """Note a set: what became of each module's packet, (32,) of the positions in `KINDS`."""
        self.sets += 1
        self.whole_sets += bool(np.isin(kinds, (REGULAR, DUPLICATED, REORDERED)).all())
        self.packets[kinds, np.arange(MODULES)] += 1

    def indices(self, tacks: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Which readouts, from 0, have these primary TACKs; -1 for TACKs that none has."""
        away = tacks.astype(np.int64) - self.first_tack
        indices, rest = np.divmod(away, self.step)
        known = (rest == 0) & (indices >= 0) & (indices < self.readouts)
        return np.where(known, indices, -1)

    def counts(self, tacks: NDArray[np.uint64], walk: Walk | None = None) -> NDArray[np.uint16]:
        """Counts of all modules in the readouts with ``tacks`` (n,): shape (n, 32, 64).

        Args:
            tacks: primary ones.
            walk: that of this camera, if it is at hand; made anew if not.
        """
        walk = walk or Walk(self.seed, self.walk)
        return walk.at(tacks.astype(np.int64) // self.step)

    def aux(self, tacks: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Second TACKs of all modules in the readouts with ``tacks`` (n,): shape (n, 32)."""
        return aux_of(tacks.astype(np.int64), self.aux_ahead).astype(np.uint64)


def aux_of(tacks: NDArray[np.int64], ahead: int) -> NDArray[np.int64]:
    """Second TACKs (n, 32) of readouts with primary ones ``tacks`` (n,) [ns]."""
    second: NDArray[np.int64] = tacks[:, None] + (ahead + 1000 * np.arange(MODULES))
    return second


class CameraTruthFile(Closing):
    """Keeps a :class:`CameraTruth` in a JSON file, whole whenever it is looked at.

    Args:
        path: of the file; written at once.
        truth: what to keep.
        about: more to put into it, for people.
    """

    def __init__(self, path: Path, truth: CameraTruth, about: Mapping[str, Any]) -> None:
        self._path, self._truth, self._about = path, truth, about
        self.save()

    def save(self) -> None:
        """Bring the file up to date."""
        truth = self._truth
        content = {
            **self._about,
            **{name: getattr(truth, name) for name in _TIMES},
            "sets": truth.sets,
            "whole_sets": truth.whole_sets,
            "readouts": truth.readouts,
            "whole_readouts": truth.whole_readouts,
            "datagrams": truth.datagrams,
            "packets": {kind: truth.total(kind) for kind in KINDS},
            "packets_by_module": dict(zip(KINDS, truth.packets.tolist(), strict=True)),
            "finished": truth.finished,
        }
        unfinished = self._path.with_name(self._path.name + ".part")
        unfinished.write_text(json.dumps(content) + "\n")
        os.replace(unfinished, self._path)

    def close(self) -> None:
        """Write the rest."""
        self.save()


def read_camera_truth(path: Path) -> CameraTruth:
    """What a camera has done so far with ``--truth``.

    Raises:
        OSError: there is no such file (yet).
    """
    content = json.loads(path.read_text())
    return CameraTruth(
        **{name: content[name] for name in _TIMES},
        sets=content["sets"],
        whole_sets=content["whole_sets"],
        packets=np.array([content["packets_by_module"][kind] for kind in KINDS], np.int64),
        finished=content["finished"],
    )
