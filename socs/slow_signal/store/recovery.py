"""What writers that were killed have left: completed here, as far as it was flushed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import tables

from socs.appending import InUse
from socs.errors import FileNotReady, Malformed, PeerError, StorageUnavailable
from socs.part_files import part_of
from socs.slow_signal.store import blocks, formats
from socs.slow_signal.store.growing import SECOND, Completed, complete
from socs.slow_signal.store.hdf5 import reading
from socs.slow_signal.store.journal import SUFFIX, Head, Journal, JournalScan, set_aside

Tell = Callable[[str], object]


def recover(folder: str | os.PathLike[str], *, tell: Tell = print) -> list[Completed]:
    """Complete the files in ``folder`` whose writers are gone. Nobody else is told of them.

    Args:
        folder: where the journals are.
        tell: gets a line about each journal that is damaged.

    Raises:
        StorageUnavailable: a file cannot be written.
    """
    done = []
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
        with suppress(InUse):
            found = recover_one(path, tell=tell)
            if found is not None:
                done.append(found[0])
                found[1].dispose()
    return done


def recover_one(path: Path, *, tell: Tell) -> tuple[Completed, Journal] | None:
    """Complete the file whose journal is ``path``.

    A journal without readouts is deleted. One whose beginning is damaged is set aside as
    ``<path>.damaged-<UNIX time>``, for a person to look at. One that is damaged further on yields
    the readouts before that, and is set aside when it is disposed of.

    Returns:
        The file, and its journal. Dispose of that when those who must know of the file do; until
        then the file is found again.

    Raises:
        InUse: another process is writing it.
        StorageUnavailable: it cannot be completed now.
    """
    try:
        journal = Journal.take_over(path)
    except FileNotReady as error:
        raise StorageUnavailable(str(error)) from error
    except Malformed as error:
        if os.path.getsize(path):
            tell(f"{error}; it is now {set_aside(path).name}")
        else:
            path.unlink()  # killed before anything was written
        return None
    try:
        final = path.with_name(path.name.removesuffix(SUFFIX))
        with JournalScan(path) as scan:
            journal.is_damaged = scan.is_damaged()
            readouts = sum(block.readouts for block in scan.blocks)
            if journal.is_damaged:
                tell(f"{path} is damaged; {readouts} readouts before that are good")
            if readouts and _is_made_of(final, journal.head):
                return _completed(final, scan), journal
        with suppress(OSError):
            part_of(final).unlink()
        if readouts:
            return complete(journal, final, recovered=True), journal
        journal.dispose()
        return None
    except BaseException:
        journal.close()
        raise


def _is_made_of(path: Path, head: Head) -> bool:
    """Is ``path`` the file of this journal? It has its name only if it is complete."""
    try:
        with reading(path), tables.open_file(str(path)) as file:
            attributes = file.get_node(f"/{formats.GROUP}/{formats.READOUT_TABLE}").attrs
            return formats.FILE_ID in attributes and attributes[formats.FILE_ID] == head.id
    except PeerError:
        return False


def _completed(path: Path, scan: JournalScan) -> Completed:
    """What is known of the complete file ``path``, from its journal."""
    filled = [block for block in scan.blocks if block.readouts]
    first, _ = blocks.unpack(scan.data(filled[0]))
    last, _ = blocks.unpack(scan.data(filled[-1]))
    moments = [int(ns) / SECOND for ns in (first["cpu_ns"][0], last["cpu_ns"][-1])]
    return Completed(
        path=str(path),
        id=scan.head.id,
        readouts=sum(block.readouts for block in filled),
        size=path.stat().st_size,
        first_time=moments[0] if moments[0] > 0 else scan.head.started,
        last_time=moments[1] if moments[1] > 0 else scan.head.started,
        layout=scan.head.layout,
    )
