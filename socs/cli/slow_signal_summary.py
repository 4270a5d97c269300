"""What a file of readouts holds, and how it stands."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from socs.cli.extras import extra
from socs.cli.output import ranges, utc_of
from socs.errors import FileNotReady
from socs.part_files import PART
from socs.slow_signal.layout import ALL_PRESENT, MODULES, is_present

if TYPE_CHECKING:
    from socs.slow_signal.store import SSDataReader

LONG_STEP = 1.5  # times the usual step from TACK to TACK: readouts are missing there
AT_ONCE = 4096  # readouts whose modules are looked at

COMPLETE = "complete"
RECOVERED = "complete, recovered after a crash"
UNSETTLED = "complete, its journal not yet deleted"
GROWING = "being written"
LEFT = "left unfinished"


def of_file(path: Path) -> dict[str, Any]:
    """All of it. ``path`` is the name that the file has or will have, or that of its journal.

    Raises:
        ConfigError: libraries are missing.
        PeerError: it cannot be read, is damaged, or is no file of readouts.
    """
    with extra("slow-signal"):
        from socs.slow_signal.store import SSDataReader, formats, journal  # noqa: PLC0415
        from socs.slow_signal.store.naming import journal_of  # noqa: PLC0415
    final = path.with_name(path.name.removesuffix(journal.SUFFIX).removesuffix(PART))
    with SSDataReader(path, "raw") as reader:
        told = {"layout": reader.layout, **contents(reader)}
        recovered = formats.RECOVERED in reader.attrs
    kept = journal_of(final)
    if not kept.exists():
        size = _size(path)
        state: dict[str, Any] = {"state": RECOVERED if recovered else COMPLETE}
    else:
        is_there = final.exists()
        size = _size(final if is_there else kept)
        state = {"state": UNSETTLED} if is_there else _of_journal(kept, final)
    count = told["readouts"]
    sizes = {"size": size, "bytes_per_readout": round(size / count, 1) if count else None}
    return state | sizes | told


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise FileNotReady(f"cannot read {path}: {error.strerror}") from error


def _of_journal(path: Path, final: Path) -> dict[str, Any]:
    """How an unfinished file stands, and what would be made of it."""
    from socs.slow_signal.store.journal import JournalScan  # noqa: PLC0415  an extra

    with JournalScan(path) as scan:
        readouts = sum(block.readouts for block in scan.blocks)
        damaged = scan.is_damaged()
        torn = _size(path) - scan.end
    return {
        "state": GROWING if is_in_use(path) else LEFT,
        "journal": path.name,
        "journal_damaged": damaged,
        "journal_rest": torn,
        "recoverable_readouts": readouts,
        "recovered_as": final.name if readouts else None,
    }


def is_in_use(journal: Path) -> bool:
    """Is its writer still there? It holds a lock as long as it lives."""
    try:
        file = os.open(journal, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FileNotReady(f"cannot read {journal}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def contents(reader: SSDataReader) -> dict[str, Any]:
    """Numbers, times, TACKs and modules of the readouts."""
    count = len(reader)
    if not count:
        return {"readouts": 0}
    numbers, tacks, times, present = _columns(reader, count)
    complete = int(np.count_nonzero(present == ALL_PRESENT))
    seen = np.zeros(MODULES, np.int64)
    for start in range(0, count, AT_ONCE):
        seen += is_present(present[start : start + AT_ONCE]).sum(axis=0)
    return {
        "readouts": count,
        "complete": complete,
        "incomplete": count - complete,
        "first_number": int(numbers[0]),
        "last_number": int(numbers[-1]),
        "first_time": utc_of(int(times[0])),
        "last_time": utc_of(int(times[-1])),
        "first_tack": int(tacks[0]),
        "last_tack": int(tacks[-1]),
        **steps(tacks),
        "modules": seen.tolist(),
    }


def _columns(reader: SSDataReader, count: int) -> list[NDArray[Any]]:
    """Numbers, TACKs, times, and masks of the modules that are present: (n,) each."""
    names = ["number", "tack", "cpu_ns", "present"]
    if reader.layout == "native":
        return [reader.column(name, 0, count) for name in names]
    # Others have rows that are read as a whole: once, and not once for each column.
    pieces = []
    for start in range(0, count, AT_ONCE):
        rows = reader.readouts(start, start + AT_ONCE)
        pieces.append([rows[name].copy() for name in names])
    return [np.concatenate(column) for column in zip(*pieces, strict=True)]


def steps(tacks: NDArray[np.uint64]) -> dict[str, Any]:
    """Rate of the readouts, and where their TACKs jump.

    Returns:
        ``rate`` [Hz] (None if there is none), ``gaps`` where some seem to be missing, and
        ``resets`` where a TACK is not above the one before.
    """
    between = (tacks[1:] - tacks[:-1]).view(np.int64)
    onward = between[between > 0]
    usual = float(np.median(onward)) if onward.size else 0.0
    return {
        "rate": round(1e9 / usual, 3) if usual else None,
        "gaps": int(np.count_nonzero(onward > LONG_STEP * usual)),
        "resets": int(between.size - onward.size),
    }


def for_people(told: dict[str, Any]) -> dict[str, Any]:
    """``told``, with units, and the modules in words."""
    shown = dict(told)
    units = {"size": "bytes", "rate": "Hz", "first_tack": "ns", "last_tack": "ns"}
    for name, unit in units.items():
        if shown.get(name) is not None:
            shown[name] = f"{shown[name]} {unit}"
    if "modules" in shown:
        shown["modules"] = in_words(shown["modules"], shown["readouts"])
    return shown


def in_words(seen: list[int], count: int) -> str:
    """Which modules are in how many of ``count`` readouts."""
    always = [module for module in range(MODULES) if seen[module] == count]
    never = [module for module in range(MODULES) if not seen[module]]
    words = [
        f"{ranges(which)} {when}" for which, when in ((always, "always"), (never, "never")) if which
    ]
    words += [
        f"{module} in {100 * seen[module] / count:.2f} %"
        for module in range(MODULES)
        if 0 < seen[module] < count
    ]
    return "; ".join(words)
