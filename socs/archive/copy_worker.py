"""A process that copies files on this machine; :mod:`socs.archive.copier` starts and feeds it.

It reads requests from its standard input and answers on its standard output, in the order of the
jobs, each time it is done with one; in between it tells that it is still moving. All are frames
(:mod:`socs.frames`) of MessagePack. It ends when its input does, or its parent.
"""

from __future__ import annotations

import errno
import os
import secrets
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from socs.archive.moving import Job, NotTried, Placed, Refused
from socs.archive.storage import NOT_PLACED, Storage
from socs.dataroots import MISSING, UNREADABLE, DataRoots, Opener
from socs.db.fingerprint import md5_of
from socs.errors import PeerError, StorageUnavailable
from socs.frames import receive, send

CHANGED, BAD_COPY = "attempts_changed", "attempts_bad_copy"
SMALL = 32 << 20  # bytes; larger files are copied by other workers
CHUNK = 8 << 20  # bytes copied in one call
FLUSH = 256 << 20  # bytes after which a copy is flushed, so that no flush takes very long
TICK = 0.5  # s between two signs of life
IDLE = 1.0  # s without a request after which directories for temporary names are taken away
RESERVE = 64 << 20  # bytes free in the archive, with which small files go on
SPACE = {errno.ENOSPC, errno.EDQUOT}
# A terminal's Ctrl-C, and the end of a service, reach all its processes; the parent handles them.
TO_THE_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PART = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

Tick = Callable[[int], None]  # with the bytes copied


class Request(msgspec.Struct, array_like=True):
    """Copy ``jobs``, those up to ``largest`` bytes, into the archive of ``instance_id``."""

    data_dir: str
    instance_id: str
    file_mode: int
    directory_mode: int
    roots: list[str]
    largest: int | None
    jobs: list[Job]


class Moving(msgspec.Struct, frozen=True, tag=True):
    """Still copying: so many bytes of the file at hand are."""

    size: int


class Large(msgspec.Struct, frozen=True, tag=True):
    """The file is larger than this request wants to copy."""


Answer = Placed | Refused | NotTried | Large | Moving


class _Copying:
    """One request's surroundings."""

    def __init__(self, request: Request, tick: Tick) -> None:
        self._storage = Storage(
            request.data_dir,
            request.instance_id,
            file_mode=request.file_mode,
            directory_mode=request.directory_mode,
            tick=lambda: tick(0),
        )
        self._roots = DataRoots(request.roots)
        self._largest = request.largest
        self._tick = tick
        self._timecodes: set[str] = set()

    def opener(self) -> Opener:
        """Opens the files of the request."""
        return self._roots.opener()

    def copy(self, job: Job, opener: Opener) -> Placed | Refused | NotTried | Large:
        """Copy, verify and place one file."""
        try:
            found = self._storage.find(job.place, job.file.md5sum)
            if found is not None:
                return Placed(*found, adopted=True)
            source = opener.open(job.file.path)
            try:
                return self._copy_open(job, source)
            finally:
                os.close(source)
        except StorageUnavailable as error:
            return NotTried(str(error))
        except PeerError as error:
            if error.cause == MISSING and (why := self._roots.why_absent(job.file.path)):
                return NotTried(why, everything=False)
            return Refused(error.cause, str(error))

    def _copy_open(self, job: Job, source: int) -> Placed | Refused | NotTried | Large:
        status = os.fstat(source)
        if self._largest is not None and status.st_size > self._largest:
            return Large()
        part, copy = self._open_part(job)
        try:
            outcome = self._fill(source, copy, status.st_size, os.path.dirname(part))
            if outcome is None:
                with self._storage.translated(part):
                    os.fchmod(copy, self._storage.file_mode)
                    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
                    os.fsync(copy)
                outcome = self._compare(job, source, copy)
            if outcome is None:
                path = self._storage.put(part, job.place, job.file.md5sum)
                return Placed(path, os.fstat(copy).st_size)
            return outcome
        finally:
            os.close(copy)
            with suppress(OSError):
                os.unlink(part)

    def _open_part(self, job: Job) -> tuple[str, int]:
        """A new file with a temporary name: its path and descriptor."""
        timecode = job.place.timecode
        self._timecodes.add(timecode)
        # Of this process alone: one left behind by a killed archiver may still be at work.
        name = f"part-{job.file.id}-{os.getpid()}-{secrets.token_hex(4)}"
        part = f"{self._storage.staging(timecode)}/{name}"
        with suppress(OSError):
            return part, os.open(part, _PART, 0o600)
        self._storage.leave(timecode)  # another worker took the directory away, empty as it was
        self._storage.staging(timecode)
        with self._storage.translated(part):
            return part, os.open(part, _PART, 0o600)

    def leave(self) -> None:
        """Take the directories for temporary names away that nobody uses now."""
        for timecode in self._timecodes:
            self._storage.leave(timecode)

    def _fill(self, source: int, copy: int, size: int, where: str) -> Refused | NotTried | None:
        """Copy the contents; None when they are copied."""
        done = flushed = 0
        try:
            while count := os.sendfile(copy, source, done, CHUNK):
                done += count
                if done - flushed >= FLUSH:
                    os.fdatasync(copy)
                    flushed = done
                self._tick(done)
        except OSError as error:
            if error.errno in SPACE:
                return self._no_space(size, where)
            if error.errno == errno.EFBIG:
                text = f"{where} takes no file of {size} bytes: {error.strerror}"
                return Refused(NOT_PLACED, text)
            with self._storage.translated(where):
                os.fdatasync(copy)  # is it the archive?
            return Refused(UNREADABLE, f"cannot be read: {error.strerror}")
        return None

    def _no_space(self, size: int, where: str) -> NotTried:
        free = self._storage.free()
        text = f"no space left for {size} bytes in {where} ({free} bytes are free)"
        return NotTried(text, everything=free < RESERVE)

    def _compare(self, job: Job, source: int, copy: int) -> Refused | None:
        """None if the copy is what was announced; else why not."""

        def md5(descriptor: int) -> bytes:
            return md5_of(descriptor, os.fstat(descriptor).st_size, lambda: self._tick(0))

        if md5(copy) == job.file.md5sum:
            return None
        try:
            now = md5(source)
        except OSError as error:
            return Refused(UNREADABLE, f"cannot be read: {error.strerror}")
        if now == job.file.md5sum:
            return Refused(BAD_COPY, "the copy differs from the file")
        size = os.fstat(source).st_size
        return Refused(CHANGED, f"MD5 is now {now.hex()}, size {size} bytes", now)


class _SignsOfLife:
    """Tells the parent now and then that a copy moves; ends with the parent."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._next = time.monotonic() + TICK

    def __call__(self, size: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + TICK
            if os.getppid() != self._parent:
                os._exit(0)  # no one will hear of it; the next archiver begins afresh
            tell(Moving(size))


def tell(answer: Answer) -> None:
    """One frame to the parent."""
    send(sys.stdout.buffer, msgspec.msgpack.encode(answer))


def main() -> None:
    """Serve requests until standard input ends."""
    for number in TO_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    decoder = msgspec.msgpack.Decoder(Request)
    tick = _SignsOfLife()
    copying: _Copying | None = None
    with suppress(BrokenPipeError):
        while (frame := _next_request(copying)) is not None:
            request = decoder.decode(frame)
            copying = _Copying(request, tick)
            with copying.opener() as opener:
                for job in request.jobs:
                    tell(copying.copy(job, opener))


def _next_request(last: _Copying | None) -> bytes | None:
    """Wait for it; the surroundings of the ``last`` one are tidied up when that takes long."""
    if last is not None and not select.select([sys.stdin], [], [], IDLE)[0]:
        last.leave()
    return receive(sys.stdin.buffer)


if __name__ == "__main__":
    main()
