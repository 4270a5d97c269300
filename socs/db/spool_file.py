"""The file of a spool: opened by one process at a time, set aside when it is damaged."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
import uuid
from pathlib import Path

from socs.errors import ConfigError

VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received REAL NOT NULL,              -- UNIX time [s]
    file BLOB NOT NULL,                  -- FileEntry as JSON
    state INTEGER NOT NULL DEFAULT 0,    -- 0 queued, 1 waiting, 2 failed
    due REAL NOT NULL DEFAULT 0,         -- UNIX time [s] of the next attempt, when waiting
    attempts INTEGER NOT NULL DEFAULT 0,
    cause TEXT,                          -- counter name of the last attempt's outcome
    detail TEXT);
CREATE INDEX IF NOT EXISTS entries_at_rest ON entries (state, due) WHERE state > 0;
CREATE TABLE IF NOT EXISTS batch (
    number INTEGER PRIMARY KEY, ids TEXT NOT NULL, digest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS streams (key TEXT PRIMARY KEY, state BLOB NOT NULL);
"""


class SpoolFile:
    """The SQLite database at ``path``; its directory is made if it is missing.

    Attributes:
        db: the connection; transactions are the user's to begin and end.
        quarantined: where a damaged predecessor was put, or None.

    Raises:
        ConfigError: the directory cannot be used, another process has the file open, or it is of
            another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.quarantined: Path | None = None
        self._guard = self._claim()
        try:
            self.db = self._open_or_quarantine()
        except BaseException:
            os.close(self._guard)
            raise

    def close(self) -> None:
        """Close the file and let another process have it."""
        self.db.close()
        os.close(self._guard)

    def _claim(self) -> int:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            guard = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(
                f"cannot use the spool directory {self._path.parent} ({error.strerror}); "
                "set --data-dir to one that can be written"
            ) from error
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(guard)
            raise ConfigError(
                f"{self._path} is in use by another process; "
                "set --data-dir to a directory of its own for each agent"
            ) from error
        return guard

    def _open_or_quarantine(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.OperationalError as error:
            raise ConfigError(f"cannot open {self._path}: {error}") from error
        except sqlite3.DatabaseError:
            # Not a database any more. Keep it for a look, and go on with a new one.
            self.quarantined = self._path.with_name(f"spool.damaged-{time.time():.0f}.sqlite")
            self._path.rename(self.quarantined)
            for suffix in ("-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            return self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.executescript(SCHEMA)
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
            db.execute("INSERT OR IGNORE INTO meta VALUES ('version', ?)", (str(VERSION),))
            db.execute("INSERT OR IGNORE INTO meta VALUES ('spool_id', ?)", (uuid.uuid4().hex,))
            (version,) = db.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()
            if version != str(VERSION):
                raise ConfigError(
                    f"{self._path} is of version {version}, this program knows {VERSION}; "
                    "use the socs that wrote it until it is empty, or another --data-dir"
                )
        except BaseException:
            db.close()
            raise
        return db
