"""A file from its first readout to its final name.

::

    <name>.hdf5.journal   every readout, at once                      deleted when it is settled
    <name>.hdf5.part      HDF5, in batches                            renamed when it is complete
    <name>.hdf5           complete, never changed, replaces nothing

The unfinished HDF5 file can be made again from the journal, and is, when a disk was full or the
writer was killed.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tables
from numpy.typing import NDArray

from socs._version import __version__
from socs.closing import Closing
from socs.errors import ConfigError, PeerError, StorageUnavailable
from socs.part_files import part_of, sync_directory, take_name
from socs.slow_signal.layout import Readouts
from socs.slow_signal.store import blocks, formats, journal
from socs.slow_signal.store.hdf5_files import Hdf5File, NativeFile, PeerFile
from socs.slow_signal.store.journal import Head, Journal
from socs.slow_signal.store.naming import free_names, is_free, journal_of

SECOND = 1e9  # ns


class Completed(msgspec.Struct, frozen=True):
    """A file that is complete.

    Attributes:
        path: its final name, absolute.
        id: of the file, 32 hexadecimal digits; also one of its attributes.
        readouts: how many it holds.
        size: bytes.
        first_time, last_time: UTC of the first and the last readout, UNIX time [s]; that of the
            beginning of the file where readouts have no time.
        layout: of the file.
        recovered: its writer did not complete it; it holds what had been flushed.
    """

    path: str
    id: str
    readouts: int
    size: int
    first_time: float
    last_time: float
    layout: str
    recovered: bool = False


def new_head(
    layout: str,
    attributes: Mapping[str, Any] | None,
    filters: tables.Filters | None,
    now: float,
) -> Head:
    """The head of a new file. ``now`` is a UNIX time [s].

    Raises:
        ConfigError: no such layout, or an attribute that is neither text nor a number nor an array
            of numbers.
    """
    own = None
    if filters is not None:
        names = ("complevel", "complib", "shuffle", "bitshuffle", "fletcher32")
        own = {name: getattr(filters, name) for name in names}
    return Head(
        id=uuid.uuid4().hex,
        layout=formats.check_layout(layout),
        attributes={name: _plain(name, value) for name, value in (attributes or {}).items()},
        filters=own,
        started=now,
        writer=__version__,
    )


def _plain(name: str, value: Any) -> Any:
    """``value`` as JSON has it."""
    if isinstance(value, (str, bool, int, float)):
        return value
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"the attribute {name} is neither text nor a number nor numbers")
    return array.tolist()


class GrowingFile(Closing):
    """A file that readouts are added to.

    Args:
        path: its final name, if that stays free; in a directory that exists.
        head: see :func:`new_head`.

    Attributes:
        readouts: how many there are.
        problem: why it is not becoming an HDF5 file meanwhile, or None.

    Raises:
        FileExistsError: the name is taken.
        StorageUnavailable: the journal cannot be written.
    """

    def __init__(self, path: Path, head: Head) -> None:
        if not is_free(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        self.path = path
        self.journal = Journal.create(journal_of(path), head)
        self.readouts = 0
        self.problem: str | None = None
        self._hdf5: Hdf5File | None = None
        try:
            self._hdf5 = hdf5_file(part_of(path), head)
        except StorageUnavailable as error:
            self._do_without(error)

    def append(self, readouts: Readouts, residues: NDArray[np.float32] | None = None) -> None:
        """Add ``readouts`` (n,) and their residues (n, 32, 64): all of them, or none.

        Raises:
            StorageUnavailable: the journal cannot be written.
        """
        if not len(readouts):
            return
        self.journal.append(journal.READOUTS, blocks.pack(readouts, residues))
        self.readouts += len(readouts)
        if self._hdf5 is not None:
            try:
                self._hdf5.append(readouts, residues)
            except StorageUnavailable as error:
                self._do_without(error)

    def append_telescope(self, rows: NDArray[np.void]) -> None:
        """Add telescope data: ``rows`` (n,) of :data:`.formats.TELESCOPE`.

        Raises:
            StorageUnavailable: the journal cannot be written.
        """
        self.journal.append(journal.TELESCOPE, rows.tobytes())
        if self._hdf5 is not None:
            try:
                self._hdf5.append_telescope(rows)
            except StorageUnavailable as error:
                self._do_without(error)

    def _do_without(self, error: StorageUnavailable) -> None:
        """Go on with the journal alone, and leave the room to it."""
        self.problem = str(error)
        if self._hdf5 is not None:
            self._hdf5.abandon()
            self._hdf5 = None

    def size(self) -> int:
        """Bytes of the file, if it were completed now (within a percent or so)."""
        try:
            return self.journal.size if self._hdf5 is None else self._hdf5.size()
        except StorageUnavailable as error:
            self._do_without(error)
            return self.journal.size

    def complete(self) -> Completed:
        """Give it its final name. It may be tried again.

        Raises:
            StorageUnavailable: that failed; everything is in the journal.
        """
        if self._hdf5 is not None and not os.path.lexists(self._hdf5.path):  # it was deleted
            self._abandon()
        hdf5, self._hdf5 = self._hdf5, None
        completed = complete(self.journal, self.path, hdf5)
        self.path = Path(completed.path)
        return completed

    def settle(self) -> None:
        """Delete the journal: the file is complete, or empty, and whoever must know of it does.

        One that was damaged while it was needed is set aside.
        """
        self._abandon()
        self.journal.dispose()

    def close(self) -> None:
        """Leave it as it is, to be completed by :func:`.recovery.recover`."""
        self._abandon()
        self.journal.close()

    def _abandon(self) -> None:
        if self._hdf5 is not None:
            self._hdf5.abandon()
            self._hdf5 = None


def hdf5_file(path: Path, head: Head) -> Hdf5File:
    """An empty file of the layout that ``head`` names.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    return NativeFile(path, head) if head.layout == formats.NATIVE else PeerFile(path, head)


def complete(
    source: Journal, path: Path, hdf5: Hdf5File | None = None, *, recovered: bool = False
) -> Completed:
    """Make the file of a journal.

    Args:
        source: the journal; it stays.
        path: the final name of the file, unless that is taken.
        hdf5: the file with everything that is in the journal; made here if it is None.
        recovered: the writer is gone.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    try:
        if hdf5 is None:
            hdf5 = hdf5_file(part_of(path), source.head)
            _fill(hdf5, source)
        if recovered:
            hdf5.set_attributes({formats.RECOVERED: True})
        hdf5.close()
        size = _sync(hdf5.path)
        hdf5.check()
        path = _place(hdf5.path, path, source)
    except StorageUnavailable:
        if hdf5 is not None:
            hdf5.abandon()
        raise
    moments = [ns / SECOND if ns > 0 else source.head.started for ns in hdf5.times]
    return Completed(
        path=str(path),
        id=source.head.id,
        readouts=hdf5.readouts,
        size=size,
        first_time=moments[0],
        last_time=moments[1],
        layout=source.head.layout,
        recovered=recovered,
    )


def _fill(hdf5: Hdf5File, source: Journal) -> None:
    """Put what is in the journal into ``hdf5``, and note if not all that was put in is there."""
    try:
        with source.scan() as scan:
            for block in scan.blocks:
                if block.kind == journal.READOUTS:
                    hdf5.append(*blocks.unpack(scan.data(block)))
                elif block.kind == journal.TELESCOPE:
                    hdf5.append_telescope(np.frombuffer(scan.data(block), formats.TELESCOPE))
            source.is_damaged |= scan.end < source.size
    except PeerError as error:
        raise StorageUnavailable(str(error)) from error


def _sync(path: Path) -> int:
    """Have the file on the disk; its size in bytes."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(file)
            return os.fstat(file).st_size
        finally:
            os.close(file)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path}: {error.strerror}") from error


def _place(part: Path, path: Path, source: Journal) -> Path:
    """Give ``part`` its final name, which is another one if ``path`` is taken."""
    try:
        while True:
            try:
                take_name(part, path)
                break
            except FileExistsError:
                path = next(free_names(path))
                source.rename(journal_of(path))  # the two always have the same name
    except OSError as error:
        raise StorageUnavailable(f"cannot name {path}: {error.strerror}") from error
    with suppress(OSError):  # it has its name: nothing that follows may have it named once more
        os.unlink(part)
    sync_directory(path.parent)
    return path
