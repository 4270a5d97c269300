"""Runs a file writer that subscribes to a publisher, until it is told to end."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from socs.cli.ssdaq.pid_file import PidFile
from socs.cli.ssdaq.running import EndSignals
from socs.db.engine import Database, data_dir, mariadb_settings
from socs.db.registrar import RowConstants
from socs.errors import StorageError
from socs.slow_signal.register import FileRegister
from socs.slow_signal.settings import WriterSettings
from socs.slow_signal.ssdaq.receiving_writer import ReceivingFileWriter
from socs.slow_signal.store.naming import directory_and_name

LAST_FILE = 5.0  # s for which the end waits for the last file's row
PAUSE = 0.05  # s between looks for it
INSTANCE = "ssdaq-writer"  # in the files table, and the directory of the spool

log = logging.getLogger("ssdaq")


def write_files(
    settings: WriterSettings,
    instance: str = INSTANCE,
    *,
    pid_path: Path | None = None,
    up: Callable[[], object] = lambda: None,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Write what comes from a publisher until a signal comes; then complete the file at hand.

    Args:
        settings: of the files, and where the publisher is.
        instance: how it is called in the files table.
        pid_path: file that says that this process is *the* writer; None for none.
        up: called when it is subscribed.
        pause: see :meth:`.EndSignals.wait`.

    Raises:
        ConfigError: a setting is wrong, or there is a writer already.
    """
    with EndSignals() as signals:
        pid_file = PidFile(pid_path) if pid_path else None
        try:
            folder, _ = directory_and_name(settings.folder, settings.file_prefix)
            with _registering(folder, instance) as more:
                writer = ReceivingFileWriter(settings, report=log.warning, **more)
                with writer:
                    writer.start()
                    log.info("listens to %s:%s", settings.ip, settings.port)
                    up()
                    signals.wait(lambda: _troubles(writer), pause)
                _tell_end(writer)
        finally:
            if pid_file:
                pid_file.close()


def _troubles(writer: ReceivingFileWriter) -> list[str]:
    ended = [] if writer.alive else ["the writer has stopped by itself"]
    return ended + writer.files.troubles()


def _tell_end(writer: ReceivingFileWriter) -> None:
    status = writer.status()
    numbers = writer.files.counters.snapshot()
    names = "received", "missed", "malformed", "rounded"
    told = {name: status[name] for name in names} | {k: v for k, v in numbers.items() if v}
    log.info("ended; %s", ", ".join(f"{name} {number}" for name, number in told.items()))


@contextmanager
def _registering(folder: Path, instance: str) -> Iterator[dict[str, Any]]:
    """What the file writer tells of complete files: to the files table, if one is configured."""
    if mariadb_settings(os.environ) is None and not os.environ.get("SOCS_DATA_DIR"):
        log.info(
            "files are not registered, as no database is configured: "
            "set MYSQL_HOST and MYSQL_USER, or SOCS_DATA_DIR"
        )
        yield {}
        return
    spool_dir = data_dir().absolute() / instance
    database = Database({**os.environ, "SOCS_DATA_DIR": str(data_dir().absolute())})
    constants = RowConstants(site=socket.gethostname(), instance_id=instance, settle=0.0)
    try:
        register = FileRegister(spool_dir, database, [str(folder)], constants, report=log.warning)
        register.start()
        log.info("files are registered in %s", database.description)
        try:
            yield {"on_finished": register.finished, "on_settled": register.settled}
        finally:
            _stop(register)
    finally:
        database.close()


def _stop(register: FileRegister) -> None:
    """Let it register the last file, if the database is there."""

    def waiting(numbers: dict[str, int]) -> int:
        return numbers["files_pending"] + numbers["files_waiting"]

    try:
        until = time.monotonic() + LAST_FILE
        while waiting(register.numbers()) and not register.troubles():
            if time.monotonic() > until:
                break
            time.sleep(PAUSE)
    except StorageError as error:
        log.warning("registering: %s", error)
    try:
        left = waiting(register.stop())
    except StorageError as error:
        log.warning("registering: %s", error)
    else:
        if left:
            log.warning("%d files wait in the spool, to be registered at the next start", left)
