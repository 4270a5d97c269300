"""Stream and files table together: what a builder is, whoever runs it.

::

    packets -> SlowSignalStream -> ZMQ
                                -> files -> FileRegister -> spool -> files table
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from socs.dataroots import DataRoots
from socs.db.engine import Database
from socs.db.registrar import RowConstants
from socs.db.spool import DEFAULT_QUOTA
from socs.errors import ConfigError
from socs.slow_signal.register import FileRegister
from socs.slow_signal.seconds import Second
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.slow_signal.store import Completed
from socs.slow_signal.store.naming import directory_and_name
from socs.slow_signal.stream import SlowSignalStream


@dataclass(frozen=True)
class BuilderSettings:
    """What a site configures.

    Attributes:
        stream: everything up to the files.
        constants: what goes into every row of the files table, and how files are read.
        spool_dir: directory of the spool.
        spool_quota: bytes on disk that the spool may use.
        roots: directories below which files may be written; empty for that of the writer.
        create_table: create the files table if it is missing.
        pub_id: value of that column.
        writer: of the files that an operator can switch on, if the stream begins without.

    Raises:
        ConfigError: the writer's folder is not below ``roots``.
    """

    stream: StreamSettings
    constants: RowConstants
    spool_dir: Path
    spool_quota: int = DEFAULT_QUOTA
    roots: tuple[str, ...] = ()
    create_table: bool = True
    pub_id: str | None = None
    writer: WriterSettings = field(default_factory=WriterSettings)

    def __post_init__(self) -> None:
        if self.stream.writer is not None:
            if not self.roots:
                object.__setattr__(self, "roots", (os.path.abspath(self.stream.writer.folder),))
            self.check_folder(self.stream.writer)

    def check_folder(self, writer: WriterSettings) -> None:
        """May files be written there?

        Raises:
            ConfigError: no.
        """
        if not self.roots:
            raise ConfigError("no files can be written: set --folder or --data-root, and restart")
        directory, _ = directory_and_name(writer.folder, writer.file_prefix)
        if not DataRoots(self.roots).contain(os.path.realpath(directory)):
            raise ConfigError(
                f"folder {writer.folder}, file_prefix {writer.file_prefix}: outside --data-root "
                f"{', '.join(self.roots)}"
            )


class Builder:
    """Puts readouts together, publishes and writes them, and registers the files.

    All methods may be called from any thread.

    Args:
        settings: what a site configures.
        database: holds the files table.
        on_second: see :class:`.SlowSignalStream`.
        report: gets lines for the log, from any thread.

    Raises:
        ConfigError: a setting is wrong; the message names it.
        StorageUnavailable: the spool's disk refuses.
    """

    def __init__(
        self,
        settings: BuilderSettings,
        database: Database,
        *,
        on_second: Callable[[Second], object] = lambda second: None,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings
        self._writer = settings.stream.writer or settings.writer  # as changed by an operator
        self.register: FileRegister | None = None
        if settings.roots:
            self.register = FileRegister(
                settings.spool_dir,
                database,
                settings.roots,
                settings.constants,
                pub_id=settings.pub_id,
                spool_quota=settings.spool_quota,
                create_table=settings.create_table,
                report=report,
            )
        try:
            self.stream = SlowSignalStream(
                settings.stream,
                on_second=on_second,
                on_finished=self._finished,
                on_settled=self._settled,
                report=report,
            )
        except BaseException:
            if self.register is not None:
                self.register.close()
            raise

    def start(self) -> None:
        """Start everything; packets are taken from here on."""
        if self.register is not None:
            self.register.start()
        self.stream.start()

    def stop(self, timeout: float = 8.0) -> None:
        """Give on every readout, complete the file at hand, and register what is ready.

        Args:
            timeout: of each part [s]. What is not done then, the next start does.

        Raises:
            StorageUnavailable: the spool's disk refuses; all is stopped, though.
        """
        self.stream.stop(timeout)
        if self.register is not None:
            self.register.stop(timeout)

    def _finished(self, completed: Completed) -> None:
        if self.register is not None:
            self.register.finished(completed)

    def _settled(self, completed: Completed) -> None:
        if self.register is not None:
            self.register.settled(completed)

    def set_writer(self, enabled: bool, changes: Mapping[str, Any]) -> str:
        """Write files or none, with other settings than until now; in words what is done.

        Args:
            enabled: write files.
            changes: fields of :class:`.WriterSettings` with new values; the others stay.

        Raises:
            ConfigError: a setting is wrong; all is as it was.
        """
        if not enabled:
            self.stream.set_writer(None)
            return "Writing no files"
        writer = dataclasses.replace(self._writer, **changes)
        self.settings.check_folder(writer)
        self.stream.set_writer(writer)
        self._writer = writer
        return f"Writing {writer.layout} files {os.path.join(writer.folder, writer.file_prefix)}*"

    def retry_failed(self, cause: str | None = None) -> int:
        """Queue files again that could not be registered; how many.

        Raises:
            StorageUnavailable: the spool's disk refuses.
        """
        return 0 if self.register is None else self.register.retry_failed(cause)

    def introduction(self) -> list[str]:
        """Lines for the log that say what it does where."""
        stream, receiver = self.settings.stream, self.stream.receiver
        published = ", ".join(each.endpoint for each in self.stream.publishers)
        files = "no files are written (--folder)"
        if stream.writer is not None:
            place = os.path.join(stream.writer.folder, stream.writer.file_prefix)
            files = f"writing {stream.writer.layout} files {place}*"
        return [
            f"listening on {receiver.address}:{receiver.port} ({receiver.method}, receive buffer "
            f"{receiver.receive_buffer_granted} bytes)",
            f"publishing at {published}" if published else "publishing nowhere (--publish)",
            files,
        ]

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see, fit for session data (JSON).

        Raises:
            StorageUnavailable: the spool's disk refuses.
        """
        stream = self.stream.status()
        return stream if self.register is None else self.register.status_with(stream)
