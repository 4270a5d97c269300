"""Looking at archived copies: are they there, and are they what was announced?

Files are read from the disk rather than from memory, where the system allows to ask for it: what
was written lately is otherwise compared with itself.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from contextlib import suppress

import msgspec

from socs.closing import Closing
from socs.db.copies import ALTERED, LOST
from socs.db.fingerprint import md5_of

RIGHT, UNREADABLE = "right", "unreadable"
THREADS = 4
PERIOD = 0.5  # s; those who wait for outcomes hear something as often
GROUP_FILES, GROUP_BYTES = 64, 16 << 20  # handed to a thread at once

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Record(msgspec.Struct, frozen=True):
    """What the tables say of an archived copy.

    ``path`` is absolute; ``state`` and ``size`` [bytes] are those of the table of copies, where
    there is a row. ``rehash``: do not believe it for having the right size.
    """

    file_id: int
    path: str
    md5sum: bytes
    state: str | None = None
    size: int | None = None
    rehash: bool = True


class Examined(msgspec.Struct, frozen=True):
    """What was found at the path of ``record``.

    ``verdict`` is right, lost, altered or unreadable; ``detail`` says why. ``size`` and ``md5sum``
    are those of the file, as far as they were looked at.
    """

    record: Record
    verdict: str
    detail: str = ""
    size: int | None = None
    md5sum: bytes | None = None


class _Stopped(Exception):
    """Nobody waits for the outcome any more."""


class Examiners(Closing):
    """Threads that look at many copies at once.

    Args:
        data_dir: the archive; links inside it may lead to other places in it.
        threads: how many.
    """

    def __init__(self, data_dir: str, threads: int = THREADS) -> None:
        self._data_dir = data_dir
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hash")
        self._stopping = threading.Event()

    def close(self) -> None:
        """End the threads; what they are at is given up."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def run(self, records: Iterable[Record]) -> Iterator[list[Examined]]:
        """Look at the copies of ``records``; the outcomes come in their order, a few at a time.

        An empty list comes about every :data:`PERIOD` while there is nothing to tell yet.
        """
        ahead: deque[Future[list[Examined]]] = deque()
        for group in _groups(records):
            ahead.append(self._pool.submit(self._examine, group))
            if len(ahead) > 2 * self._threads:
                yield from self._first(ahead)
        while ahead:
            yield from self._first(ahead)

    def _first(self, ahead: deque[Future[list[Examined]]]) -> Iterator[list[Examined]]:
        while True:
            try:
                outcomes = ahead[0].result(timeout=PERIOD)
            except NotDone:
                yield []
            else:
                ahead.popleft()
                yield outcomes
                return

    def _examine(self, group: Sequence[Record]) -> list[Examined]:
        outcomes = []
        with suppress(_Stopped):
            for record in group:
                self._tick()
                outcomes.append(examine(record, self._data_dir, self._tick))
        return outcomes

    def _tick(self) -> None:
        if self._stopping.is_set():
            raise _Stopped


def _groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    group: list[Record] = []
    size = 0
    for record in records:
        group.append(record)
        size += (record.size or 0) if record.rehash else 0
        if len(group) >= GROUP_FILES or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def examine(record: Record, data_dir: str, tick: Callable[[], object] = lambda: None) -> Examined:
    """Look at the file of ``record``, in the archive ``data_dir``; ``tick`` is called now and then.

    Only what is really gone is lost. Behind a directory that cannot be read, a disk with errors, or
    a link to something that is not mounted the file may well be whole.
    """
    try:
        return _looked_at(record, data_dir, tick)
    except (FileNotFoundError, NotADirectoryError):
        link = _dangling_link(record.path, data_dir)
        if link is None:
            return Examined(record, LOST, "there is no such file")
        why = f"the link {link} leads nowhere (is it mounted?)"
    except OSError as error:
        why = error.strerror or str(error)
    except ValueError:
        why = "no file can have this path"  # it holds a NUL
    return Examined(record, UNREADABLE, why)


def _looked_at(record: Record, data_dir: str, tick: Callable[[], object]) -> Examined:
    path = record.path
    if "/." in path and os.path.normpath(path) != path:
        return Examined(record, UNREADABLE, "the path has dots for directories")
    if not record.rehash:
        status = os.stat(path)
        if record.size in {None, status.st_size} and stat.S_ISREG(status.st_mode):
            return Examined(record, RIGHT, size=status.st_size)
    return _compare(record, data_dir, tick)


def _compare(record: Record, data_dir: str, tick: Callable[[], object]) -> Examined:
    descriptor = _opened(record.path, data_dir)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Examined(record, UNREADABLE, "not a regular file")
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        found = md5_of(descriptor, status.st_size, tick)
    finally:
        os.close(descriptor)
    if found == record.md5sum:
        return Examined(record, RIGHT, size=status.st_size, md5sum=found)
    detail = f"its MD5 is {found.hex()}, its size {status.st_size} bytes"
    return Examined(record, ALTERED, detail, status.st_size, found)


def _opened(path: str, data_dir: str) -> int:
    """Open ``path``; a link only if it leads to another place in the archive."""
    try:
        return os.open(path, _OPEN)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    real = os.path.realpath(path)
    if not real.startswith(f"{os.path.realpath(data_dir)}/"):
        raise OSError(errno.EXDEV, f"a link to {real}, outside the archive")
    return os.open(real, _OPEN)


def _dangling_link(path: str, data_dir: str) -> str | None:
    """The link at or above ``path`` that leads nowhere."""
    while path not in {data_dir, "/"}:
        if os.path.lexists(path):
            return path if os.path.islink(path) and not os.path.exists(path) else None
        path = os.path.dirname(path)
    return None
