"""One batch of files from another machine: rsync is called, and each file gets its answer."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence

from socs.archive import staged
from socs.archive.moving import Done, Job, NotTried, Outcome, Placed, Refused
from socs.archive.rsync import (
    COMPLETE,
    MISUSED,
    TIMED_OUT,
    Message,
    Rsync,
    items,
    last_words,
    messages,
    names,
    same,
)
from socs.archive.rsync_call import Call, Calls
from socs.archive.side_by_side import side_by_side
from socs.archive.storage import Storage
from socs.dataroots import MISSING, NOT_REGULAR, UNREADABLE
from socs.errors import FileNotReady, StorageUnavailable
from socs.problems import printable

CHANGED, BAD_COPY, HANGING = "attempts_changed", "attempts_bad_copy", "attempts_hanging"
PERIOD = 0.05  # s between two looks for files that have arrived
PROGRESS = 1.0  # s between two looks whether rsync still reads
RESERVE = 64 << 20  # bytes free in the archive, with which small files go on
MAX_WORDS = 300  # characters of what ssh or rsync said
SPACE = {errno.ENOSPC, errno.EDQUOT}
NO_HOST_KEY = "Host key verification failed"
SLOWEST_READ = 10 << 20  # bytes/s at which the source reads a file to compare it, at the least

Entry = tuple[Job, Done]


class Interrupted(Exception):
    """A call of rsync ended early, and ``left`` is the answer for what it has left.

    Args:
        left: the answer.
        link: the way to the source is at fault.
        culprit: one file among those left is to blame; the answer for it, once it is found.
    """

    def __init__(
        self, left: NotTried, *, link: bool = True, culprit: NotTried | Refused | None = None
    ) -> None:
        super().__init__(left.detail)
        self.left, self.link, self.culprit = left, link, culprit


class Batch:
    """Files of one day and one root that wait for an answer, by their path at the source.

    Args:
        tell: passes an answer on; several threads call it.
    """

    def __init__(self, timecode: str, root: str, tell: Callable[[Entry, Outcome], None]) -> None:
        self.timecode, self.root, self.tell = timecode, root, tell
        self.waiting: dict[str, list[Entry]] = {}

    def add(self, source: str, entry: Entry) -> None:
        """Add a file; several entries may want the same one."""
        self.waiting.setdefault(source, []).append(entry)

    def answer(self, source: str, outcome: Outcome) -> None:
        """Give all who want ``source`` this answer."""
        for entry in self.waiting.pop(source, []):
            self.tell(entry, outcome)

    def answer_all(self, outcome: Outcome) -> None:
        """Give all who wait this answer."""
        for source in list(self.waiting):
            self.answer(source, outcome)


def outcome_of(error: FileNotReady | StorageUnavailable) -> NotTried | Refused:
    """The answer for a file that met ``error`` in the archive."""
    if isinstance(error, FileNotReady):
        return Refused(error.cause, str(error))
    return NotTried(str(error))


class Round:
    """Brings the files of ``batch`` into ``storage``.

    Attributes:
        tree: where they arrive.
        reached: the source has been reached.
        moved_at: when rsync was last seen to read something (monotonic, s).

    Raises:
        StorageUnavailable, FileNotReady: the directory for temporary names cannot be made.
    """

    def __init__(self, storage: Storage, rsync: Rsync, calls: Calls, batch: Batch) -> None:
        self._storage, self._rsync, self._calls, self._batch = storage, rsync, calls, batch
        self.tree = staged.Tree(f"{storage.staging(batch.timecode)}/{staged.NAME}")
        self._doubtful: dict[str, tuple[bytes, int]] = {}  # whole, with an MD5 nobody wants; size
        self._copying = threading.Lock()
        self._came = False  # anything from the root?
        self.reached = False
        self.moved_at = time.monotonic()

    def run(self) -> None:
        """Answer for each file of the batch.

        Raises:
            Interrupted: a call of rsync ended early; the rest of the batch waits.
            Stopped: the same, because it was stopped.
            OSError: of the directory for temporary names, or no process can be started.
        """
        sources = list(self._batch.waiting)
        try:
            self._find()
            if self._batch.waiting:
                self._conclude(*self._transfer())
        finally:
            self.tree.prune(sources)
            self._storage.leave(self._batch.timecode)

    # -- files that are here --------------------------------------------------------------------

    def _find(self) -> None:
        """Answer for files that are in their place, or have arrived before."""
        waiting = self._batch.waiting
        self.tree.resume(waiting)
        for source in list(waiting):
            self._calls.check()
            waiting[source] = [entry for entry in waiting[source] if not self._adopted(entry)]
            if not waiting[source]:
                del waiting[source]
                self.tree.remove(source)  # its second name, after a crash
            elif self.tree.kind(source) == stat.S_IFREG:
                self._place(source, fresh=False)

    def _adopted(self, entry: Entry) -> bool:
        """Is it in its place already? Then that is the answer; so is an error."""
        job = entry[0]
        try:
            found = self._storage.find(job.place, job.file.md5sum)
        except (FileNotReady, StorageUnavailable) as error:
            self._batch.tell(entry, outcome_of(error))
            return True
        if found is not None:
            self._batch.tell(entry, Placed(*found, adopted=True))
        return found is not None

    def _collect(self) -> None:
        """Verify and place what has arrived."""
        arrived = [
            source
            for source in self._batch.waiting
            if source not in self._doubtful and self.tree.kind(source) == stat.S_IFREG
        ]
        if arrived:
            self._came = self.reached = True
            side_by_side(self._place_fresh, arrived, "pull-place")

    def _place_fresh(self, source: str) -> None:
        self._calls.check()
        self._place(source, fresh=True)

    def _place(self, source: str, *, fresh: bool) -> None:
        """Give the whole file to those who want what it is.

        Args:
            fresh: it has just come, so the source cannot be what others want.
        """
        try:
            with self._storage.translated(self.tree.path(source)):
                md5sum, size = self.tree.seal(
                    source, self._storage.file_mode, tick=self._calls.check
                )
        except (FileNotReady, StorageUnavailable) as error:
            self._batch.answer(source, outcome_of(error))
            return
        waiting = self._batch.waiting
        right = [entry for entry in waiting[source] if entry[0].file.md5sum == md5sum]
        waiting[source] = [entry for entry in waiting[source] if entry not in right]
        for number, entry in enumerate(right, 1):
            self._batch.tell(entry, self._put(source, entry[0], size, last=number == len(right)))
        if not waiting[source]:
            del waiting[source]
        elif not fresh:
            self.tree.remove(source)
        elif right:
            self._batch.answer(source, _changed(md5sum, size))
        else:
            self._doubtful[source] = md5sum, size

    def _put(self, source: str, job: Job, size: int, *, last: bool) -> Outcome:
        """Give the whole file, or a copy of it unless this is the ``last`` use, its place."""
        try:
            with self._storage.translated(self.tree.path(source)):
                if last:
                    return self._placed(self.tree.path(source), job, size)
                with self._copying:
                    return self._placed(self.tree.another(source), job, size)
        except FileNotReady as error:
            if last:
                self.tree.remove(source)
            return outcome_of(error)
        except StorageUnavailable as error:  # it stays, for the next time
            return outcome_of(error)

    def _placed(self, part: str, job: Job, size: int) -> Placed:
        return Placed(self._storage.put(part, job.place, job.file.md5sum), size)

    # -- calls of rsync -------------------------------------------------------------------------

    def _transfer(self) -> tuple[int, bytes]:
        """Have the files brought; exit code and messages."""
        command = self._rsync.pulling(self.tree.directory)
        with self._calls.start(command, names(self._batch.waiting)) as call:
            code = self._watch(call, self._rsync.timeout, self._collect)
            said = call.said()
        self._collect()
        return code, said

    def _watch(self, call: Call, timeout: float, tick: Callable[[], object]) -> int:
        """Wait for the end of ``call``, or until rsync has been silent for ``timeout`` s.

        ``tick`` is called now and then.
        """
        read: int | None = 0
        look_at = self.moved_at = time.monotonic()
        while not call.wait(PERIOD):
            tick()
            now = time.monotonic()
            if now < look_at:
                continue
            before, read, look_at = read, call.read(), now + PROGRESS
            if read is None or read != before:
                self.moved_at = now
            elif now - self.moved_at > timeout:
                return TIMED_OUT
        return call.code

    def _ask(self, paths: Sequence[str], *, checksum: bool, size: int = 0) -> dict[str, str]:
        """What rsync would do with ``paths``, of ``size`` bytes in all, see :func:`items`."""
        timeout = self._rsync.timeout + size / SLOWEST_READ
        command = self._rsync.comparing(self.tree.directory, checksum=checksum, timeout=timeout)
        with self._calls.start(command, names(paths)) as call:
            code, said = self._watch(call, timeout, self._calls.check), call.said()
        if code not in COMPLETE:
            raise self._interruption(code, said, [])
        return items(said)

    def _interruption(self, code: int, said: bytes, local: Sequence[Message]) -> Interrupted:
        """Why a call has ended early."""
        if local:
            return self._interruption_here(local[0])
        where, words = self._rsync.address, printable(last_words(said), MAX_WORDS)
        if code == TIMED_OUT:
            text = f"rsync on {where} says nothing any more: does a disk hang there?"
            return Interrupted(NotTried(text, everything=False), culprit=Refused(HANGING, text))
        if code in MISUSED:
            return Interrupted(NotTried(f"rsync refuses to run: {words}: check --rsync-options"))
        remedy = "check --host, --user, --ssh-port, --ssh-key"
        if NO_HOST_KEY in words:
            remedy = "is its key, the right one, in ~/.ssh/known_hosts of the archiver's user?"
        return Interrupted(NotTried(f"cannot reach {where}: {words}: {remedy}"))

    def _interruption_here(self, message: Message) -> Interrupted:
        """Why a call has ended early, when that was an error in the archive."""
        left = NotTried(self._local(message).detail)
        if message.errno in SPACE:
            source = message.path[len(self.tree.directory) :]
            held = self.tree.bytes([source]).get(source, 0)
            if self._storage.free() + held >= RESERVE:  # without this one there is space
                self.tree.drop(source)
                left = NotTried(f"no space left for {source}: {held} bytes fit", everything=False)
                return Interrupted(left, link=False, culprit=left)
        return Interrupted(left, link=False)

    # -- answers --------------------------------------------------------------------------------

    def _conclude(self, code: int, said: bytes) -> None:
        """Answer for the files that did not come, or came otherwise than announced."""
        told = list(messages(said))
        local = [message for message in told if message.path.startswith(self.tree.directory)]
        gone = self._refuse({message.path: message for message in told})
        if code not in COMPLETE:
            raise self._interruption(code, said, local)
        self.reached = True
        if self._doubtful:
            self._compare()
        if gone:
            self._miss(gone)
        for source in list(self._batch.waiting):
            self._batch.answer(source, self._left(source, local))

    def _refuse(self, told: dict[str, Message]) -> list[str]:
        """Answer for files of which rsync says what is wrong; returns those that are missing."""
        gone = []
        for source in list(self._batch.waiting):
            message = told.get(source)
            if message is None or source in self._doubtful:
                continue
            if message.kind == "missing":
                gone.append(source)
            else:
                self._batch.answer(source, self._verdict(message))
        return gone

    def _verdict(self, message: Message) -> Outcome:
        if message.kind == "not_regular":
            return Refused(NOT_REGULAR, "not a regular file")
        if message.kind == "unverified":
            return Refused(BAD_COPY, "what came differs from what rsync read")
        reason = os.strerror(message.errno)
        if message.kind == "detached":
            return NotTried(f"{self._batch.root} on {self._rsync.address}: {reason}", False)
        return Refused(UNREADABLE, f"cannot be read: {reason}")

    def _compare(self) -> None:
        """Tell files that were changed after they were announced from bad copies of good ones."""
        size = sum(size for _, size in self._doubtful.values())
        found = self._ask(list(self._doubtful), checksum=True, size=size)
        for source, (md5sum, size) in self._doubtful.items():
            self.tree.remove(source)
            if same(found.get(source)):
                self._batch.answer(source, _changed(md5sum, size))
            else:
                text = f"the copy ({size} bytes) differs from the file as it is now"
                self._batch.answer(source, Refused(BAD_COPY, text))

    def _miss(self, gone: Sequence[str]) -> None:
        """Answer for missing files, if their root is there."""
        root = self._batch.root
        if not self._came and not any(
            path.startswith(f"{root}/") and path != f"{root}/"
            for path in self._ask([f"{root}/"], checksum=False)
        ):
            text = f"{root} on {self._rsync.address} is absent or empty: is it mounted there?"
            outcome: Outcome = NotTried(text, everything=False)
        else:
            outcome = Refused(MISSING, f"there is no such file on {self._rsync.address}")
        for source in gone:
            self._batch.answer(source, outcome)

    def _left(self, source: str, local: Sequence[Message]) -> Outcome:
        """The answer for a file that did not come though rsync has nothing against it."""
        if self.tree.kind(source) == stat.S_IFDIR:
            return Refused(NOT_REGULAR, "a directory")
        if local:
            return self._local(local[0])
        return Refused(UNREADABLE, "rsync has not brought it, nor said why: see --rsync-options")

    def _local(self, message: Message) -> NotTried | Refused:
        """The answer for a file that met an error in the archive."""
        try:
            with self._storage.translated(message.path):
                raise OSError(message.errno, os.strerror(message.errno))
        except (FileNotReady, StorageUnavailable) as error:
            return outcome_of(error)


def _changed(md5sum: bytes, size: int) -> Refused:
    text = f"the file has other contents now: MD5 {md5sum.hex()}, {size} bytes"
    return Refused(CHANGED, text, md5sum)
