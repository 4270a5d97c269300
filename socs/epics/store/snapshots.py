"""One snapshot after the other, and the newest that is whole taken up at the start.

::

    epics-snapshot-20261121T040000Z.0.npz         complete, never changed
    epics-snapshot-20261121T080000Z.0.npz.part    being written, or not yet handed over
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np

from socs.db.finished_files import FileKind
from socs.epics.accounts import snapshot
from socs.epics.accounts.inventory import Inventory
from socs.epics.accounts.snapshot import Columns
from socs.epics.store import snapshot_file, trackers
from socs.epics.store.periodic import PeriodicFiles, PeriodicSettings
from socs.epics.store.trackers import Trackers
from socs.epics.track.pvs import STATES
from socs.errors import Malformed, PeerError, StorageUnavailable
from socs.part_files import PART, part_of

KIND = FileKind(action="epics_snapshot", format="npz", marker_of=part_of)
ENDING = ".npz"
AHEAD = 3600.0  # s; a snapshot that is of a later time is of one to come
_UTC = "%Y%m%dT%H%M%SZ"
_TRACKERS, _TIME = "trackers", "time"

T = TypeVar("T")


@dataclass(frozen=True)
class SnapshotSettings(PeriodicSettings):
    """How snapshots are made; ``keep`` of the last ones stay."""

    WHAT: ClassVar[str] = "snapshots"

    prefix: str = "epics-snapshot-"
    period: float = 4 * 3600.0
    keep: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("keep", self.keep)


def gather(inventory: Inventory, state: Trackers, now: float) -> Columns:
    """All that is known, as copies: what happens later does not change them."""
    found = snapshot.columns(inventory)
    found[_TRACKERS] = np.frombuffer(trackers.packed(state), np.uint8)
    found[_TIME] = np.array([now])
    return found


def take_up(columns: Columns, inventory: Inventory, state: Trackers) -> float:
    """Put what `gather` gave into an inventory and trackers that are empty; when that was.

    Raises:
        Malformed: the columns do not fit; throw inventory and trackers away then.
    """
    try:
        trackers.unpack(state, columns[_TRACKERS].tobytes())
        snapshot.restore(inventory, columns)
        if int(inventory.state.max(initial=0)) >= len(STATES):
            raise Malformed("state: one that is none", "snapshot_malformed")
        return float(columns[_TIME][0])
    except (KeyError, ValueError, IndexError, TypeError, OverflowError) as error:
        text = f"snapshot: {type(error).__name__}: {error}"
        raise Malformed(text, "snapshot_malformed") from error


class Snapshots(PeriodicFiles[SnapshotSettings]):
    """The snapshots in ``settings.folder``. Blocks while it writes."""

    def write(self, columns: Columns, now: float) -> bool:
        """Write what `gather` gave; False if that failed, and `problem` says why.

        It is not due again before the next period, whatever became of it.
        """
        self._last = now
        done = self.recover() and self._attempt(lambda: self._write(columns, now))
        if done:
            self._remove_old(now)
        return done

    def recover(self) -> bool:
        """Hand over what an earlier run, or a refusal, left; False if that failed."""
        return self._attempt(self._recover)

    def paths(self, now: float = math.inf) -> list[Path]:
        """Complete snapshots, newest first.

        Those of a time to come were written while the clock was ahead, who knows when: they are the
        last ones. ``now`` is the UNIX time [s]; if it is left out, no time is to come.
        """

        to_come = "~" if now == math.inf else _utc(now + AHEAD)

        def newest(found: tuple[tuple[str, int], Path]) -> tuple[bool, tuple[str, int]]:
            return found[0][0] <= to_come, found[0]

        return [path for _, path in sorted(self._found(ENDING), key=newest, reverse=True)]

    def restore(self, take: Callable[[Columns], T], now: float = math.inf) -> T | None:
        """What ``take`` makes of the newest snapshot that is whole; None if there is none.

        Args:
            take: raises `Malformed` if the columns do not fit, and is called with earlier ones
                then; so it must begin with an inventory and trackers of its own each time.
            now: see `paths`.
        """
        for path in self.paths(now):
            try:
                return take(snapshot_file.read(path))
            except PeerError as error:
                self.counters.add("state_files_damaged")
                self._report(f"snapshot passed over: {error}")
        return None

    def _attempt(self, act: Callable[[], None]) -> bool:
        done = super()._attempt(act)
        if not done:
            self.counters.add("state_file_errors")
        return done

    def _write(self, columns: Columns, now: float) -> None:
        path = self._free_name(now)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnavailable(f"cannot make {path.parent}: {error.strerror}") from error
        snapshot_file.write(part_of(path), columns)
        self._finish(path, self._time_of(path))
        self.counters.add("state_files_written")

    def _recover(self) -> None:
        for _, part in sorted(self._found(ENDING + PART)):
            path = part.with_name(part.name.removesuffix(PART))
            try:
                complete = path.exists()
                if not complete:  # the program died while it was writing
                    part.unlink()
            except OSError as error:
                raise StorageUnavailable(f"{part}: {error.strerror}") from error
            if complete:
                self._finish(path, self._time_of(path))
                self.counters.add("state_files_recovered")

    def _remove_old(self, now: float) -> None:
        for path in self.paths(now)[self._settings.keep :]:
            try:
                path.unlink()
            except OSError as error:
                self._report(f"cannot remove {path}: {error.strerror}")
            else:
                self.counters.add("state_files_removed")

    def _found(self, ending: str) -> list[tuple[tuple[str, int], Path]]:
        """Files of ours with this ending, each after what orders them."""
        prefix = re.escape(self._settings.prefix)
        pattern = re.compile(rf"{prefix}(\d{{8}}T\d{{6}}Z)\.(\d{{1,9}}){re.escape(ending)}")
        try:
            names = [path.name for path in self._settings.folder.iterdir()]
        except OSError:
            return []
        matches = filter(None, map(pattern.fullmatch, names))
        return [((m[1], int(m[2])), self._settings.folder / m[0]) for m in matches]

    def _free_name(self, now: float) -> Path:
        utc = _utc(now)
        for number in count():
            name = f"{self._settings.prefix}{utc}.{number}{ENDING}"
            path = self._settings.folder / name
            if not path.exists() and not part_of(path).exists():
                return path
        raise AssertionError("numbers do not end")

    def _time_of(self, path: Path) -> float:
        utc = path.name.removeprefix(self._settings.prefix).split(".")[0]
        return datetime.strptime(utc, _UTC).replace(tzinfo=timezone.utc).timestamp()


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, timezone.utc).strftime(_UTC)
