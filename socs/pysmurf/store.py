"""From datagrams to the spool: the storing stage of the pysmurf stream.

Two threads meet here. The receiver's thread only puts copies of datagrams into a bounded queue
(:meth:`Ingest.take_in`). The ingest thread decodes them, checks their sequence numbers, and puts
the files they name into the spool *together with* the state of the sequence tracking, in one
transaction. So after a crash each message is either in the spool or shows up as a gap.

Only then are the other messages handed on.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any

from socs.counters import Counters
from socs.db.spool import FileEntry, Spool, SpoolFull
from socs.errors import PeerError, StorageUnavailable
from socs.problems import Problems, fitting
from socs.pysmurf.decode import FileAnnouncement, Message, decode
from socs.pysmurf.track import SequenceTracker

QUEUE_BYTES = 64 << 20  # memory for datagrams while the spool's disk is slow or full
DATAGRAM_OVERHEAD = 200  # bytes; what keeping a datagram costs beside its contents
GROUP = 2000  # datagrams per spool transaction, at most
SAVE_INTERVAL = 1.0  # s; sequence state is saved this often even when no file is announced
RETRY_INTERVAL = 0.5  # s between attempts to write to a spool that refuses
PUBLISHERS = 20  # publishers shown in the status, at most
STATUS_BYTES = 30_000  # of publishers in the status, as JSON
MAX_UNSAVED = 100_000  # files kept in memory for a spool that refuses; about 50 MB
SEQUENCE = {
    "sequence_lost",
    "sequence_late",
    "publisher_restarts",
    "joined_late",
    "streams_refused",
    "streams_forgotten",
    "publishers_forgotten",
    "states_unreadable",
    "messages_unnumbered",
}  # counters kept by the sequence tracking

Handler = Callable[[list[Message]], None]


def file_entry(message: Message) -> FileEntry:
    """What the files table needs of a message that names a file."""
    announced = message.payload
    assert isinstance(announced, FileAnnouncement)
    return FileEntry(
        path=announced.path,
        action=announced.action or announced.archive_name,
        timestamp=message.time if announced.timestamp is None else announced.timestamp,
        action_timestamp=announced.action_ts,
        format=announced.format or None,
        plot=announced.plot,
        pub_id=message.id,
        pysmurf_version=announced.pysmurf_version,
    )


class Ingest:
    """The queue and the ingest thread.

    Args:
        spool: takes the files and the state of ``tracker``.
        tracker: restored from ``spool`` by the caller.
        counters: must know :data:`socs.counters.PYSMURF` and ``FILES``.
        on_messages: gets the messages that name no file, in the ingest thread; must not block.
        problems: gets what is wrong with datagrams, and with the spool.
    """

    def __init__(
        self,
        spool: Spool,
        tracker: SequenceTracker,
        *,
        counters: Counters,
        on_messages: Handler,
        problems: Problems,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._spool, self._tracker, self._counters = spool, tracker, counters
        self._on_messages, self._problems = on_messages, problems
        self._queue: deque[tuple[bytes, str]] = deque()
        self._queue_bytes, self._queue_limit = 0, queue_bytes
        self._wake = threading.Condition()
        self._stopping = False
        self._unsaved: list[FileEntry] = []
        self._streams: dict[str, bytes] = {}
        self._totals = tracker.totals() | {"states_unreadable": 0}  # counted while restoring
        self._save_at = self._report_at = self._retry_at = 0.0  # monotonic [s]
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)
        self.publishers: list[dict[str, Any]] = []  # the worst first; renewed with each save
        self.problem: str | None = None  # why files cannot be spooled, or None
        self.defect: str | None = None  # what went wrong in this program

    # -- in the receiver's thread ---------------------------------------------------------------

    def take_in(self, datagrams: Sequence[bytes], senders: Sequence[tuple[int, int]]) -> int:
        """Queue datagrams; the number shed for want of room.

        ``senders`` are (host, port), host as an integer in host byte order.
        """
        names = [sender_name(host, port) for host, port in senders]
        size = sum(map(len, datagrams)) + DATAGRAM_OVERHEAD * len(datagrams)
        with self._wake:
            if self._queue_bytes + size > self._queue_limit:
                return len(datagrams)
            self._queue.extend(zip(datagrams, names, strict=True))
            self._queue_bytes += size
            self._wake.notify()
        return 0

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the ingest thread."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Work off the queue and stop; True if the thread ended in time."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Is the thread running?"""
        return self._thread.is_alive()

    @property
    def unsaved(self) -> int:
        """Files held in memory because the spool refuses them for now."""
        return len(self._unsaved)

    def _run(self) -> None:
        while True:
            try:
                group = self._next_group()
                if group:
                    self._handle(group)
                elif self._stopping:
                    break
                if self._unsaved or time.monotonic() >= self._save_at:
                    self._save()
            except Exception as error:  # noqa: BLE001  a defect: say so, and go on
                self.defect = f"ingest: {type(error).__name__}: {error}"
                self._problems.report("defect", self.defect, time.monotonic())
        self._give_up()

    def _next_group(self) -> list[tuple[bytes, str]]:
        with self._wake:
            if not self._queue and not self._stopping:
                self._wake.wait(RETRY_INTERVAL if self._unsaved else SAVE_INTERVAL)
            group = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
            freed = sum(len(data) for data, _ in group) + DATAGRAM_OVERHEAD * len(group)
            self._queue_bytes -= freed
        return group

    # -- one group of datagrams -----------------------------------------------------------------

    def _handle(self, group: Sequence[tuple[bytes, str]]) -> None:
        tally: Counter[str] = Counter()
        others = []
        announced = len(self._unsaved)
        now = time.time()
        for data, sender in group:
            try:
                message = decode(data)
            except PeerError as error:
                tally[error.cause] += 1
                self._problems.report(error.cause, f"{error} (from {sender})", time.monotonic())
                continue
            tally["messages_decoded"] += 1
            tally["nonfinite_values"] += message.nonfinite
            if self._tracker.feed(message, sender=sender, now=now).duplicate:
                tally["message_duplicate"] += 1
            else:
                tally[f"messages_{message.kind}"] += 1
                if message.kind == "file":
                    self._unsaved.append(file_entry(message))
                else:
                    others.append(message)
        self._counters.add_all(tally)
        self._count_sequences()
        if others:
            self._on_messages(others)
        if len(self._unsaved) > announced:
            self._save()

    def _count_sequences(self) -> None:
        totals = self._tracker.totals()
        self._counters.add_all(
            {name: totals[name] - self._totals[name] for name in totals if name in SEQUENCE}
        )
        self._totals = totals

    def _save(self) -> None:
        """Put files and sequence state into the spool as one unit; keep them if it refuses."""
        self._streams |= self._tracker.take_changes()
        self._save_at = time.monotonic() + SAVE_INTERVAL
        if time.monotonic() >= self._report_at:
            self._report_at = self._save_at
            self.publishers = fitting(self._tracker.report(PUBLISHERS), STATUS_BYTES)
        if time.monotonic() < self._retry_at:
            self._shed(MAX_UNSAVED)
            return
        if not self._unsaved and not self._streams:
            return
        try:
            self._spool.append(self._unsaved, now=time.time(), streams=self._streams)
        except SpoolFull as error:
            self._refused(str(error))
            self._shed(0)
            return
        except StorageUnavailable as error:
            self._refused(str(error))
            self._shed(MAX_UNSAVED)
            return
        self._counters.add("files_spooled", len(self._unsaved))
        self._unsaved, self._streams = [], {}
        if self.problem and not self._spool.is_full():
            self._problems.report("spool works again", "spooling files again", time.monotonic())
            self.problem = None

    def _refused(self, problem: str) -> None:
        self.problem = problem
        self._retry_at = time.monotonic() + RETRY_INTERVAL
        self._problems.report("spool refuses", f"not spooling files: {problem}", time.monotonic())

    def _shed(self, keep: int) -> None:
        """Drop all but the first ``keep`` files, and count them."""
        shed = len(self._unsaved) - keep
        if shed > 0:
            del self._unsaved[keep:]
            self._counters.add("files_shed", shed)

    def _give_up(self) -> None:
        """At the end: a last attempt at what the spool has refused so far."""
        self._retry_at = 0.0
        self._save()
        if self._unsaved:
            self._refused(f"{len(self._unsaved)} files are lost: run the task `rescan`")
        self._shed(0)


@lru_cache(maxsize=4096)
def sender_name(host: int, port: int) -> str:
    """``127.0.0.1:4711`` for an address in host byte order and a port."""
    return f"{IPv4Address(host)}:{port}"
