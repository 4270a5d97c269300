"""What cannot be made gives back all that it had already: spools, threads, readers' processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from socs.db.engine import Database
from socs.db.finished_files import FileRegister
from socs.db.registrar import RowConstants
from socs.db.spool import Spool
from socs.epics.monitor import store as monitor_store
from socs.epics.store.event_spool import EventSpool
from socs.errors import StorageUnavailable
from socs.slow_signal import builder
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.tango import monitor
from socs.tango.polling.settings import PollSettings
from socs.tango.store.series import SeriesSettings

CONSTANTS = RowConstants("site", "instance")


def make_builder(directory: Path, database: Database) -> None:
    writer = WriterSettings(folder=str(directory / "files"))
    stream = StreamSettings(writer=writer)
    builder.Builder(builder.BuilderSettings(stream, CONSTANTS, directory), database)


def make_event_monitor(directory: Path, database: Database) -> None:
    poll = PollSettings(names=("dserver/pub/1",), state_dir=directory)
    files = SeriesSettings(folder=directory / "files")
    settings = monitor.MonitorSettings(poll, CONSTANTS, directory, files=files)
    monitor.EventMonitor(settings, database)


def make_monitor_store(directory: Path, database: Database) -> None:
    settings = monitor_store.StoreSettings(directory, directory / "files", CONSTANTS)
    try:
        monitor_store.MonitorStore(settings, database)
    finally:
        EventSpool(directory).close()  # nobody has it


@pytest.mark.parametrize(
    ("make", "module", "last"),
    [
        (make_builder, builder, "SlowSignalStream"),
        (make_event_monitor, monitor, "LinesWriter"),
        (make_monitor_store, monitor_store, "DailyStatistics"),
        (make_monitor_store, monitor_store, "FileRegister"),
    ],
)
@pytest.mark.parametrize("ailing", [False, True])
def test_a_part_that_cannot_be_made_leaves_nothing_of_the_others(
    make: Callable[[Path, Database], None],
    module: object,
    last: str,
    ailing: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That no threads are left is seen after each test; the spool's disk may refuse besides."""

    def fail(*_: object, **__: object) -> None:
        if ailing:
            monkeypatch.setattr(FileRegister, "numbers", refuse)
        raise StorageUnavailable("the last part")

    def refuse(self: FileRegister) -> None:
        raise StorageUnavailable("the disk")

    monkeypatch.setattr(module, last, fail)
    database = Database({"SOCS_DATA_DIR": str(tmp_path)})
    with pytest.raises(StorageUnavailable, match="the last part"):
        make(tmp_path, database)
    Spool(tmp_path).close()  # nobody has it
    database.close()
