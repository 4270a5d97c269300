"""Copying on one machine: worker processes for each data root, so that none waits for another.

A file server that hangs holds up the files of its own root, no others, and the archiver can be
stopped at any time. Small and large files have workers of their own.
"""

from __future__ import annotations

import queue
import select
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec

from socs.archive.copy_worker import SMALL, TO_THE_PARENT, Answer, Large, Moving, Request
from socs.archive.moving import Done, Job, NotTried, Placed, Refused
from socs.archive.storage import Storage
from socs.dataroots import UNREADABLE, DataRoots
from socs.frames import receive, send
from socs.workers import Process, Workers, stop_all

HANGING = "attempts_hanging"
HANG = 60.0  # s without a sign of life after which a worker hangs
SILENCE = 1 / 6  # of that time: after it, files that wait for the same workers are put off
CHUNK = 32  # jobs per request
ROOM = 512  # jobs for all workers together

_answer: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
Task = list[tuple[Job, Done]]


class _Workers(Workers[Task]):
    """Some worker processes, with a thread each; tasks go to whoever is free.

    Args:
        copier: whose workers they are.
        root: the data root whose files they copy.
        large: do they copy large files?
        number: how many.
    """

    def __init__(self, copier: Copier, root: str, *, large: bool, number: int) -> None:
        super().__init__("socs.archive.copy_worker", number=number, name="copy")
        self._copier, self._large = copier, large
        self.root = root
        self._stuck: list[Process] = []  # killed, and not dead yet
        self._moved_at = 0.0  # monotonic [s]; of the last sign of life
        self.current: dict[int, dict[str, Any]] = {}
        self._start_threads()

    def put(self, task: Task) -> None:
        """Take on ``task``; while nothing moves, it is put off."""
        if self.silent():
            self._answer_all(task, self._hanging())
        else:
            self._tasks.put(task)

    def hang(self) -> bool:
        """Is there a worker that even a signal does not end?"""
        with self._lock:
            self._stuck = [process for process in self._stuck if process.poll() is None]
            return bool(self._stuck)

    def silent(self) -> bool:
        """Has nothing moved for a while, though there is something to do?"""
        silence = time.monotonic() - self._moved_at
        return bool(self.current) and silence > self._copier.hang * SILENCE

    def _serve(self) -> None:
        process: Process | None = None
        while (task := self._next_task()) is not None:
            if self.hang():
                self._answer_all(task, self._hanging())
                continue
            try:
                process = self._running(process)
            except OSError as error:
                process = None
                why = NotTried(f"cannot start a process that copies: {error.strerror}")
                self._answer_all(task, why)
                continue
            pending = list(task)
            try:
                good = self._work(process, pending)
            except Exception as error:  # noqa: BLE001  a defect: say so, and go on with another
                text = f"copier: {type(error).__name__}: {error}"
                self._answer_all(pending, NotTried(text, everything=False))
                good = False
            if not good:
                self._end(process)
                process = None
        self._end(process)

    def _hanging(self) -> NotTried:
        return NotTried(self.complaint(), everything=False)

    def complaint(self) -> str:
        """What to tell when these workers hang."""
        return f"copying from {self.root or 'elsewhere'} to {self._copier.data_dir} hangs"

    def _end(self, process: Process | None) -> bool:
        dead = super()._end(process)
        if process is not None and not dead:
            with self._lock:
                self._stuck.append(process)
        return dead

    def _work(self, process: Process, pending: Task) -> bool:
        """Have ``pending`` done, which gets shorter; False if the process is not good any more."""
        request = self._copier.request([job for job, _ in pending], large=self._large)
        assert process.stdin is not None
        with suppress(OSError):  # it is gone: then there are no answers
            send(process.stdin, request)
        me = threading.get_ident()
        self._moved_at = time.monotonic()
        try:
            while pending:
                job, done = pending[0]
                self.current[me] = {"path": job.file.path, "bytes": 0}
                answer = self._await(process, me)
                if not isinstance(answer, Placed | Refused | NotTried | Large):
                    if not self._stopping.is_set():
                        self._give_up(process, pending, answer)
                    return False
                pending.pop(0)
                if isinstance(answer, Large):
                    self._copier.submit_large(self.root, job, done)
                else:
                    self._copier.answered(job, answer, done)
        finally:
            self.current.pop(me, None)
        return True

    def _await(self, process: Process, me: int) -> Placed | Refused | NotTried | Large | str:
        """The next outcome; or, as text, why there will not be one."""
        assert process.stdout is not None
        deadline = time.monotonic() + self._copier.hang
        answers = select.poll()  # which, unlike `select`, takes descriptors of any number
        answers.register(process.stdout, select.POLLIN)
        while True:
            ready = answers.poll(self._copier.hang * SILENCE * 1000)
            now = time.monotonic()
            if not ready and now >= deadline:
                return HANGING
            if not ready:
                self._relieve()
                continue
            self._moved_at, deadline = now, now + self._copier.hang
            frame = receive(process.stdout)
            try:
                answer = _answer.decode(frame or b"")
            except msgspec.MsgspecError:  # it has ended, or gone mad
                return UNREADABLE
            if not isinstance(answer, Moving):
                return answer
            self.current[me] = {**self.current[me], "bytes": answer.size}

    def _relieve(self) -> None:
        """While nothing moves, put off what waits: it would keep out files of other roots."""
        with suppress(queue.Empty):
            while self.silent() and not self._stopping.is_set():
                task = self._tasks.get_nowait()
                if task is None:  # the end, for another thread
                    self._tasks.put(None)
                    break
                self._answer_all(task, self._hanging())

    def _give_up(self, process: Process, pending: Task, cause: str) -> None:
        """The first of ``pending`` is to blame for the end of the process; the others are not."""
        with suppress(subprocess.TimeoutExpired):
            if cause != HANGING and -process.wait(1.0) in TO_THE_PARENT:
                self.put(pending)  # nobody is: it was ended before it could ignore that
                return
        (job, done), others = pending[0], pending[1:]
        if cause == HANGING:
            text = f"no sign of life for {self._copier.hang:.0f} s"
            self._answer_all(others, self._hanging())
        else:
            text = "its copier ended"
            self.put(others)
        self._copier.answered(job, Refused(cause, text), done)

    def _answer_all(self, task: Task, outcome: NotTried) -> None:
        for job, done in task:
            self._copier.answered(job, outcome, done)


class Copier:
    """Copies files into ``storage`` on this machine (:class:`socs.archive.moving.Mover`).

    Args:
        storage: the archive.
        roots: where files may be read.
        workers: processes for each root; large files have as many again.
        room: jobs that it takes on at a time.
        hang: s without a sign of life after which a worker hangs.
    """

    def __init__(
        self,
        storage: Storage,
        roots: DataRoots,
        *,
        workers: int = 2,
        room: int = ROOM,
        hang: float = HANG,
    ) -> None:
        self._storage, self._roots = storage, [str(root) for root in roots.roots]
        self.data_dir = storage.data_dir
        self.link_errors = 0  # there is no way to go
        self._room, self.hang = room, hang
        self._lock = threading.Lock()
        self._in_hand = 0
        self._cleaned = False  # of what an earlier life left
        self._workers = {
            root: tuple(
                _Workers(self, root, large=large, number=workers) for large in (False, True)
            )
            for root in (*self._roots, "")  # "": below no root before links are followed
        }

    def request(self, jobs: list[Job], *, large: bool) -> bytes:
        """A request for a worker."""
        storage = self._storage
        return msgspec.msgpack.encode(
            Request(
                storage.data_dir,
                storage.instance_id,
                storage.file_mode,
                storage.directory_mode,
                self._roots,
                None if large else SMALL,
                jobs,
            )
        )

    def room(self) -> int:
        """How many more jobs it would take on now."""
        return max(0, self._room - self._in_hand)

    def submit(self, jobs: Sequence[Job], done: Done) -> None:
        """Copy ``jobs``; see :class:`socs.archive.moving.Mover`."""
        if not self._cleaned and not self._in_hand:  # no temporary name is that of a worker here
            self._storage.clean()
            self._cleaned = bool(self._storage.timecodes())
        with self._lock:
            self._in_hand += len(jobs)
        by_root: dict[str, Task] = {}
        for job in jobs:
            by_root.setdefault(self._root_of(job.file.path), []).append((job, done))
        for root, task in by_root.items():
            for start in range(0, len(task), CHUNK):
                self._workers[root][False].put(task[start : start + CHUNK])

    def submit_large(self, root: str, job: Job, done: Done) -> None:
        """A worker for small files found that ``job`` is not for it."""
        self._workers[root][True].put([(job, done)])

    def _root_of(self, path: str) -> str:
        return next((root for root in self._roots if path.startswith(f"{root}/")), "")

    def answered(self, job: Job, outcome: Placed | Refused | NotTried, done: Done) -> None:
        """Pass on what became of ``job``."""
        with self._lock:
            self._in_hand -= 1
        done(job, outcome)

    def current(self) -> list[dict[str, Any]]:
        """What is being copied: ``{"path": str, "bytes": int}`` each."""
        return [
            dict(item)
            for pair in self._workers.values()
            for workers in pair
            for item in list(workers.current.values())
        ]

    def troubles(self) -> list[str]:
        """The file servers that hang."""
        everyone = self._workers.values()
        ended = not all(workers.alive for pair in everyone for workers in pair)
        return ["a thread that copies has ended"] * ended + [
            pair[0].complaint()
            for pair in everyone
            if any(workers.hang() or workers.silent() for workers in pair)
        ]

    def stop(self, timeout: float = 5.0) -> None:
        """Kill all workers; what is under way is to be done again."""
        everyone = [workers for pair in self._workers.values() for workers in pair]
        deadline = time.monotonic() + timeout
        stop_all(everyone, deadline)
        if any(workers.hang() for workers in everyone):
            return  # with the archive, perhaps; the next start cleans up
        cleaning = threading.Thread(target=self._storage.clean, name="copy-clean", daemon=True)
        cleaning.start()
        cleaning.join(max(0.0, deadline - time.monotonic()))
