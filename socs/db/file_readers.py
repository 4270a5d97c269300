"""Worker processes that read files, so that nothing else waits for them.

A file server that hangs stops workers, never the monitor: each data root has workers of its own,
so the files of the other roots go on, and the monitor can be stopped at any time. It also keeps
hashing away from the interpreter lock of the process that receives datagrams.

A worker is this module run as a program. It reads requests from its standard input and answers
on its standard output; both are frames of a 4-byte big-endian length and MessagePack.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from socs.dataroots import UNREADABLE, DataRoots
from socs.db.fingerprint import SMALL, Fingerprint, TooLargeHere, fingerprint
from socs.errors import PeerError
from socs.frames import receive, send
from socs.workers import Process, Workers, stop_all

HANG = 30.0  # s; a request for small files that takes longer means that the file server hangs


class Request(msgspec.Struct, array_like=True):
    """Fingerprint ``files`` (path, and how it looked when it was last found growing)."""

    roots: list[str]
    settle: float
    largest: int | None
    files: list[tuple[str, str | None]]


class NotReady(msgspec.Struct, frozen=True, tag=True):
    """Why there is no fingerprint: a counter name and a text."""

    cause: str
    detail: str


class Large(msgspec.Struct, frozen=True, tag=True):
    """The file is larger than this request wants to read."""


class Found(msgspec.Struct, frozen=True, tag=True):
    """A fingerprint; see :class:`socs.db.fingerprint.Fingerprint`."""

    path: str
    modified: float
    md5sum: bytes


Answer = Found | NotReady | Large
Task = Callable[[Process | None], None]  # with none, if it could not be started

_answers = msgspec.msgpack.Decoder(list[Answer])
_request = msgspec.msgpack.Decoder(Request)


class FileReaders(Workers[Task]):
    """A few worker processes and the threads that talk to them.

    ``files`` is the number of files whose answers are still to come.

    Args:
        roots: where files may be read.
        settle: see :func:`socs.db.fingerprint.fingerprint`.
        workers: number of processes.
        name: name of the threads.
    """

    def __init__(self, roots: DataRoots, *, settle: float, workers: int, name: str) -> None:
        super().__init__("socs.db.file_readers", number=workers, name=name)
        self._roots, self._settle = [str(root) for root in roots.roots], settle
        self._busy_since: dict[int, float] = {}  # monotonic [s], by thread
        self.files = 0
        self._start_threads()

    def read(
        self,
        files: Sequence[tuple[str, str | None]],
        largest: int | None,
        done: Callable[[list[Answer]], None],
    ) -> None:
        """Fingerprint ``files``; ``done`` is called in another thread with one answer for each."""
        request = msgspec.msgpack.encode(Request(self._roots, self._settle, largest, list(files)))

        def task(process: Process | None) -> None:
            reply = None if process is None else _ask(process, request)
            if reply is not None:
                answers = _answers.decode(reply)
            elif self._stopping.is_set():
                return
            else:
                how = "could not be started" if process is None else f"ended ({process.wait()})"
                answers = [NotReady(UNREADABLE, f"the process that reads it {how}")] * len(files)
            done(answers)
            with self._lock:
                self.files -= len(files)

        with self._lock:
            self.files += len(files)
        self._tasks.put(task)

    def busy_for(self) -> float:
        """For how long the slowest request has been with a worker [s]; 0 without any."""
        with self._lock:
            since = min(self._busy_since.values(), default=None)
        return 0.0 if since is None else time.monotonic() - since

    def _serve(self) -> None:
        process: Process | None = None
        while (task := self._next_task()) is not None:
            try:
                process = self._running(process)
            except OSError:
                process = None
            with self._lock:
                self._busy_since[threading.get_ident()] = time.monotonic()
            task(process)
            with self._lock:
                del self._busy_since[threading.get_ident()]
        self._end(process)


class ReadersByRoot:
    """Readers for each data root, and for small and large files apart, started when needed.

    Args:
        roots: where files may be read.
        settle: see :func:`socs.db.fingerprint.fingerprint`.
        workers: processes of each kind.
    """

    def __init__(self, roots: DataRoots, *, settle: float, workers: int) -> None:
        def readers(name: str) -> FileReaders:
            return FileReaders(roots, settle=settle, workers=workers, name=name)

        # "" stands for paths that are below no root before links are followed.
        names = (*map(str, roots.roots), "")
        self._readers = {root: (readers("hash"), readers("hash-large")) for root in names}

    def root_of(self, path: str) -> str:
        """The root whose readers read ``path``."""
        return next((root for root in self._readers if path.startswith(f"{root}/")), "")

    def read(
        self,
        root: str,
        files: Sequence[tuple[str, str | None]],
        done: Callable[[list[Answer]], None],
        *,
        large: bool,
    ) -> None:
        """As :meth:`FileReaders.read`; files above ``SMALL`` are left alone unless ``large``."""
        self._readers[root][large].read(files, None if large else SMALL, done)

    def hangs(self, root: str) -> bool:
        """Does the file server of ``root`` leave us without an answer?"""
        return self._readers[root][0].busy_for() > HANG

    def hanging(self) -> list[str]:
        """The roots that hang."""
        return [root or "other directories" for root in self._readers if self.hangs(root)]

    def files(self) -> int:
        """Files whose answers are still to come, without those on a server that hangs."""
        pairs = (pair for root, pair in self._readers.items() if not self.hangs(root))
        return sum(small.files + large.files for small, large in pairs)

    def stop(self, timeout: float = 5.0) -> None:
        """Kill all workers; requests under way are not answered."""
        everyone = [readers for pair in self._readers.values() for readers in pair]
        stop_all(everyone, time.monotonic() + timeout)


def _ask(process: Process, request: bytes) -> bytes | None:
    """The answer to ``request``; None, and no process any more, if there is none."""
    assert process.stdin is not None
    assert process.stdout is not None
    reply = None
    with suppress(OSError):
        send(process.stdin, request)
        reply = receive(process.stdout)
    if reply is None:
        process.kill()
    return reply


def _answer(request: Request) -> list[Answer]:
    answers: list[Answer] = []
    with DataRoots(request.roots).opener() as opener:
        for path, seen in request.files:
            try:
                found: Fingerprint = fingerprint(
                    opener,
                    path,
                    now=time.time(),
                    settle=request.settle,
                    seen=seen,
                    largest=request.largest,
                )
            except TooLargeHere:
                answers.append(Large())
            except PeerError as error:
                answers.append(NotReady(error.cause, str(error)))
            else:
                answers.append(Found(found.path, found.modified, found.md5sum))
    return answers


def main() -> None:
    """Serve requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent to handle
    while (frame := receive(sys.stdin.buffer)) is not None:
        send(sys.stdout.buffer, msgspec.msgpack.encode(_answer(_request.decode(frame))))


if __name__ == "__main__":
    main()
