"""Looking at a demo from outside: through OCS clients, the files table and the files themselves."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ocs.client_http import ControlClientError

from socs.cli.follow import Follower
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.errors import StorageError
from socs.sim.pysmurf_truth import Truth

POLL_PERIOD = 0.25  # s between two looks of a thread
PAGE = 500  # rows per query
STALE = 3.0  # s after which an answer no longer counts
RATE_SPAN = 5.0  # s over which the present rate is taken
NO_ANSWER = (ControlClientError, OSError, ValueError)  # requests' errors are OSErrors


class Watcher(threading.Thread):
    """Calls ``look`` again and again, until it is stopped."""

    def __init__(self, name: str, look: Callable[[], None]) -> None:
        super().__init__(name=f"demo-{name}", daemon=True)
        self._look = look
        self._stopping = threading.Event()

    def run(self) -> None:
        """The thread."""
        while not self._stopping.is_set():
            self._look()
            self._stopping.wait(POLL_PERIOD)

    def stop(self, timeout: float = 5.0) -> None:
        """End after the look at hand."""
        self._stopping.set()
        if self.is_alive():
            self.join(timeout)


class Status:
    """Session of an operation, as an OCS client sees it.

    Args:
        ask: gives the reply of ``OCSClient(...).<operation>.status()``; a router that hangs makes
            it hang too, so it is asked in a thread.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self._answer: tuple[float, dict[str, Any]] = (-STALE, {})

    def look(self) -> None:
        """Ask once."""
        try:
            session = self._ask().session
        except NO_ANSWER:
            return
        self._answer = (time.monotonic(), session or {})

    @property
    def fresh(self) -> bool:
        """Whether the last answer came within :data:`STALE`."""
        return time.monotonic() - self._answer[0] < STALE

    @property
    def session(self) -> dict[str, Any]:
        """The last answer."""
        return self._answer[1]

    @property
    def data(self) -> dict[str, Any]:
        """The session data of the last answer."""
        return self.session.get("data") or {}


@dataclass(frozen=True)
class Differences:
    """Between the table and what was announced.

    Attributes:
        missing: announced files without a row.
        surplus: rows without an announced file, or second rows of one.
        wrong: rows with another md5 than the source's.
    """

    missing: int = 0
    surplus: int = 0
    wrong: int = 0


class Verifier:
    """Follows the files table and computes the md5 of each file again, and of its copy.

    Args:
        environ: names the database.
        archive: directory that copies are in.
        instance_id: of the agent whose rows are looked at.

    Attributes:
        registered: rows seen.
        verified: rows with the md5 of their file.
        archived: rows whose path leads into the archive, to a copy with their md5.
        examples: paths of some rows that are wrong.
    """

    def __init__(self, environ: Mapping[str, str], archive: Path, instance_id: str) -> None:
        self._database = Database(environ)
        self._instance_id = instance_id
        self._follower = Follower()
        self._archive = archive
        self._not_archived: set[int] = set()
        self._wrong: set[int] = set()
        self.registered = self.verified = self.archived = 0
        self.examples: list[str] = []

    @property
    def wrong(self) -> int:
        """Rows with another md5 than their file or their copy, each once."""
        return len(self._wrong)

    def look(self) -> None:
        """Verify all rows that are new."""
        try:
            after = self._follower.after
            while True:
                page = self._page(after)
                for row in self._follower.fresh(page, time.monotonic()):
                    if row["instance_id"] == self._instance_id:
                        self._verify(row)
                if len(page) < PAGE:
                    break
                after = page[-1]["id"]
            self._follower.advance(time.monotonic())
            self._look_at_copies()
        except StorageError:
            return  # no table yet, or busy: next time

    def _look_at_copies(self) -> None:
        """Verify the copies that are new."""
        ids = sorted(self._not_archived)
        columns = files.table.c
        for start in range(0, len(ids), PAGE):
            query = sa.select(columns.id, columns.path, columns.md5sum).where(
                columns.id.in_(ids[start : start + PAGE]), columns.copied
            )
            with self._database.read() as connection:
                copied = list(connection.execute(query).mappings())
            for row in copied:
                self._not_archived.discard(row["id"])
                inside = self._archive in Path(row["path"]).parents
                self.archived += self._is_right(row) and inside

    def _page(self, after: int) -> list[Any]:
        with self._database.read() as connection:
            return files.select_files(connection, limit=PAGE, after_id=after)

    def _verify(self, row: Mapping[Any, Any]) -> None:
        self.registered += 1
        self._not_archived.add(row["id"])
        self.verified += self._is_right(row)

    def _is_right(self, row: Mapping[Any, Any]) -> bool:
        """Whether the file of ``row`` has the row's md5; else it is counted as wrong."""
        try:
            found = md5_of(Path(row["path"]))
        except OSError:
            found = b""
        if found == bytes(row["md5sum"]):
            return True
        self._wrong.add(row["id"])
        self.examples = [*self.examples, row["path"]][-5:]
        return False

    def compare(self, truth: Truth) -> Differences:
        """All rows of the agent against all that was announced, at the end.

        Raises:
            StorageError: the table cannot be read.
        """
        announced = dict(truth.announced)
        surplus = wrong = 0
        with self._database.read() as connection:
            written = sa.func.coalesce(copies.table.c.source, files.table.c.path)
            query = (
                sa.select(written, files.table.c.md5sum)
                .outerjoin_from(
                    files.table, copies.table, copies.table.c.file_id == files.table.c.id
                )
                .where(files.table.c.instance_id == self._instance_id)
            )
            for path, md5sum in connection.execute(query):
                md5 = announced.pop(path, None)
                surplus += md5 is None
                wrong += md5 is not None and md5 != bytes(md5sum).hex()
        return Differences(len(announced), surplus, wrong)

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def md5_of(path: Path) -> bytes:
    """MD5 of a file's contents, 16 bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.digest()


class FeedCount:
    """Counts the messages that ``ocs-client-cli listen --json`` writes to its log, by topic."""

    def __init__(self, log: Path) -> None:
        self._log, self._position, self._rest = log, 0, b""
        self.counts: Counter[str] = Counter()

    def look(self) -> None:
        """Count what is new."""
        try:
            with self._log.open("rb") as stream:
                stream.seek(self._position)
                new = stream.read()
        except FileNotFoundError:
            return
        self._position += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        self.counts.update(filter(None, map(_topic, lines)))


def _topic(line: bytes) -> str | None:
    """Agent and feed of a line of the listener; None for lines of other programs in its log."""
    try:
        topic = json.loads(line)["topic"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(topic).partition(".")[2].replace(".feeds.", " ")


class RateMeter:
    """Rate of a growing count over the last :data:`RATE_SPAN` seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def rate(self, count: int, now: float) -> float:
        """Per second; ``now`` in seconds on any one clock."""
        self._points.append((now, count))
        while now - self._points[0][0] > RATE_SPAN:
            self._points.popleft()
        then, before = self._points[0]
        return (count - before) / (now - then) if now > then else 0.0


class Patience:
    """How long to wait for something that changes on its way to its end.

    Args:
        still: how long it may be as it was [s].
        longest: how long it may take in all, from the first look [s].
    """

    def __init__(self, still: float, longest: float) -> None:
        self._still, self._longest = still, longest
        self._seen: object = None
        self._since = self._began = -1.0

    def lasts(self, seen: object, now: float) -> bool:
        """Whether to wait on; ``seen`` is what it is like ``now`` [s on any one clock]."""
        if self._seen is None:
            self._began = now
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now < min(self._since + self._still, self._began + self._longest)
