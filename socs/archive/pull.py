"""Files from another machine, pulled by rsync over ssh.

One rsync at a time brings a batch of files into a tree of temporary names (see
:mod:`socs.archive.staged`). Each is verified and gets its place as soon as it is whole, while
rsync goes on; what an interruption left half done is gone on with by the next call. A batch has
files of one day and one root, so that what holds up one root does not hold up others for long.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from socs.archive import staged
from socs.archive.moving import Done, Job, NotTried, Outcome, Refused
from socs.archive.pull_round import Batch, Entry, Interrupted, Round, outcome_of
from socs.archive.rsync import MAX_PATH, Rsync
from socs.archive.rsync_call import Calls, Stopped
from socs.archive.storage import STAGING, Storage
from socs.dataroots import OUTSIDE, UNREADABLE
from socs.errors import ConfigError, FileNotReady, NotAllowed, PeerError, StorageUnavailable
from socs.problems import printable

CLEAN_EVERY = 86_400.0  # s
STOP_TIMEOUT = 10.0  # s; a disk that hangs may hold the thread for longer
SMALLER = 3  # for each call that a file may have ended, its batches shrink by this power of two
MAX_SUSPECTED = 10_000  # such files that are remembered


class Pull:
    """Moves files from ``host`` into ``storage``; a :class:`~socs.archive.moving.Mover`.

    Args:
        storage: where they go.
        host, user, port, key, ssh_options: how ssh gets there; ``key`` is a path.
        roots: absolute paths of directories at the source; files elsewhere are refused.
        rsync_options: further options, each in one word.
        bandwidth_limit: KiB/s.
        files_per_batch: files of one rsync call, at most.
        timeout: s of silence after which a call is given up.
        report: called with a line for the log when something changes for the operator.

    Attributes:
        link_errors: calls of rsync that ended early because of the way to the source.

    Raises:
        ConfigError: an argument is wrong, or there is no rsync here.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        host: str,
        user: str | None = None,
        port: int | None = None,
        key: str | os.PathLike[str] | None = None,
        roots: Sequence[str | os.PathLike[str]],
        rsync_options: Sequence[str] = (),
        bandwidth_limit: int | None = None,
        files_per_batch: int = 200,
        timeout: float = 60.0,
        ssh_options: Sequence[str] = (),
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._rsync = Rsync(
            host=host,
            user=user,
            port=port,
            key=None if key is None else os.fspath(key),
            ssh_options=tuple(ssh_options),
            options=tuple(rsync_options),
            bandwidth_limit=bandwidth_limit,
            timeout=timeout,
        )
        if files_per_batch < 1:
            raise ConfigError(f"a batch of {files_per_batch} files brings nothing")
        if shutil.which("rsync") is None:
            raise ConfigError("rsync not found: apt install rsync")
        self._storage, self._size = storage, files_per_batch
        self._roots = checked_roots(roots)
        self._report = report
        self._changed = threading.Condition()
        self._queue: deque[Entry] = deque()
        self._batch: Batch | None = None
        self._round: Round | None = None
        self._calls = Calls()
        self._suspected: dict[str, int] = {}  # how many calls a file may have ended
        self._trouble: str | None = None
        self._clean_at = 0.0
        self.link_errors = 0
        self._thread = threading.Thread(target=self._run, name="pull", daemon=True)
        self._thread.start()

    # -- for others -----------------------------------------------------------------------------

    def room(self) -> int:
        """How many more jobs it would take on now."""
        with self._changed:
            in_hand = len(self._queue) + (len(self._batch.waiting) if self._batch else 0)
        return max(0, 2 * self._size - in_hand)

    def submit(self, jobs: Sequence[Job], done: Done) -> None:
        """Take on ``jobs``; ``done`` is called once for each, in threads of this mover."""
        with self._changed:
            self._queue.extend((job, done) for job in jobs)
            self._changed.notify()

    def current(self) -> list[dict[str, Any]]:
        """The files that rsync has begun: ``path`` at the source, and ``bytes`` here so far."""
        batch, round_ = self._batch, self._round
        if batch is None or round_ is None:
            return []
        try:
            begun = round_.tree.bytes(list(batch.waiting))
        except OSError:
            return []
        return [{"path": path, "bytes": size} for path, size in begun.items()]

    def troubles(self) -> list[str]:
        """Why files are not moved; empty when all is well."""
        round_, trouble = self._round, self._trouble
        if round_ is None or not self._calls.running:
            return [trouble] if trouble else []
        silent = time.monotonic() - round_.moved_at
        if round_.reached:
            trouble = None
        if silent > self._rsync.timeout / 2 and trouble is None:
            trouble = f"nothing has come from {self._rsync.address} for {silent:.0f} s"
        return [trouble] if trouble else []

    def stop(self) -> None:
        """Kill rsync and end; what has arrived of a file is kept for the next time."""
        self._calls.stop()
        with self._changed:
            self._changed.notify()
        self._thread.join(STOP_TIMEOUT)

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._calls.stopped:
            batch = self._next()
            if batch is not None:
                self._move(batch)
            if time.monotonic() >= self._clean_at:
                self._clean()

    def _next(self) -> Batch | None:
        """Wait for files; take a batch of them out of the queue. None when there is other work."""
        with self._changed:
            self._batch = None
            if not self._queue and not self._calls.stopped:
                self._changed.wait(max(0.0, self._clean_at - time.monotonic()))
            batch, refused = self._take()
            self._batch = batch
        for entry, outcome in refused:
            self._tell(entry, outcome)
        return batch

    def _take(self) -> tuple[Batch | None, list[tuple[Entry, Outcome]]]:
        """The files in the queue that go together with the first, and those that go nowhere."""
        batch: Batch | None = None
        group: tuple[str, str, int] | None = None
        refused: list[tuple[Entry, Outcome]] = []
        left: deque[Entry] = deque()
        for entry in self._queue:
            job = entry[0]
            try:
                source, root = source_of(job.file.path, self._roots)
            except PeerError as error:
                refused.append((entry, Refused(error.cause, str(error))))
                continue
            suspected = self._suspected.get(source, 0)
            if batch is None:
                batch = Batch(job.place.timecode, root, self._tell)
                group = job.place.timecode, root, suspected
            room = len(batch.waiting) < max(1, self._size >> SMALLER * suspected)
            if room and group == (job.place.timecode, root, suspected):
                batch.add(source, entry)
            else:
                left.append(entry)
        self._queue = left
        return batch, refused

    def _tell(self, entry: Entry, outcome: Outcome) -> None:
        if not self._calls.stopped:
            job, done = entry
            done(job, outcome)

    def _move(self, batch: Batch) -> None:
        """Bring a batch; whatever happens, each of its files gets an answer."""
        sources = set(batch.waiting)
        left: NotTried | Refused | None = None
        try:
            this = self._round = Round(self._storage, self._rsync, self._calls, batch)
            this.run()
            if this.reached:
                self._set_trouble(None)
        except Stopped:
            return
        except Interrupted as end:
            left = self._interrupted(batch, end)
        except (FileNotReady, StorageUnavailable) as error:
            left = outcome_of(error)
        except OSError as error:
            left = NotTried(f"cannot pull: {error}")
        except Exception as error:  # noqa: BLE001  a defect: say so, and go on with the others
            left = NotTried(f"pull: {type(error).__name__}: {error}")
        finally:
            self._round = None
        for source in sources - batch.waiting.keys():
            self._suspected.pop(source, None)
        if left is not None:
            self._set_trouble(left.detail)
            batch.answer_all(left)

    def _interrupted(self, batch: Batch, end: Interrupted) -> NotTried | Refused:
        """The answer for the files that an interrupted call has left.

        One file that ends each call it is in would hold up all others for ever. It is found in
        ever smaller batches of the files that were left.
        """
        self.link_errors += end.link
        if end.culprit is None:
            return end.left
        if len(batch.waiting) == 1:
            return end.culprit
        if len(self._suspected) > MAX_SUSPECTED:
            self._suspected.clear()
        for source in batch.waiting:
            self._suspected[source] = self._suspected.get(source, 0) + 1
        return end.left

    def _set_trouble(self, text: str | None) -> None:
        before, self._trouble = self._trouble, text
        if text is not None and before is None:
            self._report(f"not pulling: {printable(text)}")
        elif text is None and before is not None:
            self._report(f"pulling from {self._rsync.address} again")

    def _clean(self) -> None:
        """Remove parts of files that nobody asks for any more."""
        self._clean_at = time.monotonic() + CLEAN_EVERY
        removed = 0
        for timecode in self._storage.timecodes():
            directory = f"{self._storage.data_dir}/{timecode}/{STAGING}{self._storage.instance_id}"
            removed += staged.Tree(f"{directory}/{staged.NAME}").forget(time.time() - staged.KEPT)
            self._storage.leave(timecode)
        if removed:
            self._report(f"removed {removed} parts of files that nobody asks for any more")


def checked_roots(roots: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Directories at the source, the longest first.

    Raises:
        ConfigError: none is given, or one is not an absolute path below ``/``.
    """
    if not roots:
        raise ConfigError("--data-root names no directory")
    cleaned = []
    for root in [os.fspath(root) for root in roots]:
        parts = [part for part in root.split("/") if part not in {"", "."}]
        if not root.startswith("/") or not parts or ".." in parts:
            raise ConfigError(f"--data-root {root}: give an absolute path below /")
        cleaned.append("/" + "/".join(parts))
    return tuple(sorted(cleaned, key=len, reverse=True))


def source_of(path: str, roots: Sequence[str]) -> tuple[str, str]:
    """``path`` without empty and ``.`` components, and which of ``roots`` it lies below.

    Links at the source are not looked at: that machine decides what its names lead to.

    Raises:
        NotAllowed: it lies below none of them.
        FileNotReady: it is too long.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not path.startswith("/") or "\0" in path or ".." in parts:
        raise NotAllowed("not an absolute path without '..'", OUTSIDE)
    source = "/" + "/".join(parts)
    try:
        length = len(os.fsencode(source))
    except UnicodeEncodeError as error:
        raise NotAllowed("no file can have this name", OUTSIDE) from error
    if length > MAX_PATH:
        raise FileNotReady(f"its path is longer than {MAX_PATH} bytes", UNREADABLE)
    for root in roots:
        if source.startswith(f"{root}/"):
            return source, root
    raise NotAllowed("outside --data-root", OUTSIDE)
