"""The whole way of announced files, wired together: socket, ingest, spool, registrar, table.

Knows nothing of OCS, so that it can be tested, measured and killed without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from socs.counters import CONSERVATION, FILES, PYSMURF, UDP, Counters, imbalances
from socs.dataroots import DataRoots
from socs.db.engine import Database
from socs.db.pysmurf_files_manager import ensure_table
from socs.db.registrar import RegisteredFiles, Registrar, RowConstants
from socs.db.spool import Spool
from socs.errors import ConfigError
from socs.problems import Problems
from socs.pysmurf.limits import MAX_DATAGRAM
from socs.pysmurf.settings import StreamSettings
from socs.pysmurf.store import Handler, Ingest
from socs.pysmurf.track import SequenceTracker
from socs.wire.udp import Batch, UdpReceiver

LAST_FILES = 5  # registered files shown in the status


class PysmurfStream:
    """Receives announcements and registers the files.

    Args:
        settings: what the site configures.
        constants: what goes into every row, and how files are read.
        database: holds the files table.
        on_messages: gets the messages that name no file, in the ingest thread; must not block.
        report: gets lines for the log, from any thread.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """

    def __init__(
        self,
        settings: StreamSettings,
        constants: RowConstants,
        database: Database,
        *,
        on_messages: Handler = lambda messages: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.counters = Counters(UDP, PYSMURF, FILES)
        problems = Problems(report)
        self._database = database
        self._last_files: list[str] = []
        self.receiver = UdpReceiver(
            settings.bind,
            settings.port,
            self._take_in,
            allow=settings.allow,
            max_datagram=MAX_DATAGRAM,
            receive_buffer=settings.receive_buffer,
            on_problem=report,
            counters=self.counters,
        )
        roots = DataRoots(settings.roots)
        try:
            self.receiver.open()
        except ConfigError as error:
            options = "--udp-address, --udp-port, --allow-sender"
            raise ConfigError(f"cannot listen ({options}): {error}") from error
        try:
            self.spool = Spool(settings.spool_dir, quota=settings.spool_quota)
        except BaseException:
            self.receiver.stop()
            raise
        if self.spool.quarantined:
            report(f"the spool was damaged; it is kept as {self.spool.quarantined}, look at it")
        self._at_start = sum(self.spool.counts().values())
        tracker = SequenceTracker()
        tracker.restore(self.spool.streams())
        self.ingest = Ingest(
            self.spool,
            tracker,
            counters=self.counters,
            on_messages=on_messages,
            problems=problems,
        )
        self.registrar = Registrar(
            self.spool,
            database,
            roots,
            constants,
            counters=self.counters,
            prepare=lambda: ensure_table(database, create=settings.create_table),
            on_registered=self._registered,
            report=report,
        )

    def _take_in(self, batch: Batch) -> int:
        return self.ingest.take_in(batch.datagrams(), batch.senders())

    def take_in_one(self, data: bytes, sender: tuple[str, int]) -> None:
        """Take in one datagram that did not come through the socket; ``sender`` as (host, port)."""
        host, port = sender
        shed = self.ingest.take_in([data], [(int(IPv4Address(host)), port)])
        self.counters.add_all(
            {"datagrams_received": 1, "datagrams_accepted": 1 - shed, "queue_full": shed}
        )

    def start(self) -> None:
        """Start all threads, the last first, so that whatever is received has a place to go."""
        self.registrar.start()
        self.ingest.start()
        self.receiver.start()

    def stop(self) -> dict[str, int]:
        """Stop receiving, put what was received into the spool, finish the batch at hand.

        Returns:
            The last :meth:`numbers`.

        Raises:
            StorageUnavailable: the spool's disk does not tell them; all is stopped, though.
        """
        self.receiver.stop()
        self.ingest.stop()
        self.registrar.stop()
        try:
            return self.numbers()
        finally:
            self.spool.close()

    def _registered(self, rows: RegisteredFiles) -> None:
        self._last_files = [row[0] for row in rows[-LAST_FILES:]]

    def retry_failed(self, cause: str | None = None) -> int:
        """Queue failed files again; how many."""
        return self.spool.retry(cause=cause, now=time.time())

    def discard_failed(self, cause: str) -> int:
        """Forget the files that failed for ``cause``, which then have no row; how many."""
        count = self.spool.discard(cause=cause)
        self.counters.add("files_discarded", count)
        return count

    # -- what an operator sees ------------------------------------------------------------------

    def numbers(self) -> dict[str, int]:
        """All counters and gauges by name (:mod:`socs.counters`)."""
        self.receiver.stats()  # brings the kernel's drops up to date
        counts = self.spool.counts()
        return {
            **self.counters.snapshot(),
            "files_pending": counts["queued"],
            "files_waiting": counts["waiting"],
            "files_failed": counts["failed"],
            "files_unsaved": self.ingest.unsaved,
            "files_at_start": self._at_start,
        }

    def troubles(self) -> list[str]:
        """Why this stream is degraded; empty when all is well."""
        parts = (self.receiver, self.ingest, self.registrar)
        ended = [f"{type(part).__name__} has stopped by itself" for part in parts if not part.alive]
        found = [text for text in (self.ingest.problem, self.ingest.defect) if text]
        return ended + found + self.registrar.troubles()

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see, fit for session data (JSON)."""
        numbers = self.numbers()
        return {
            "counters": numbers,
            "unaccounted": imbalances(numbers, CONSERVATION),
            "troubles": self.troubles(),
            "listening": {
                "address": f"{self.receiver.address}:{self.receiver.port}",
                "method": self.receiver.method,
                "receive_buffer_bytes": self.receiver.receive_buffer_granted,
            },
            "backlog": numbers["files_pending"] + numbers["files_waiting"],
            "last_files": self._last_files,
            "publishers": self.ingest.publishers,
            **self.registrar.status(),
        }
