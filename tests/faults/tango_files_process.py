"""A process that writes lines as fast as it can and registers the files, to be killed.

    python -m tests.faults.tango_files_process DIRECTORY RUN [--lines N]

Lines are ``{"run": RUN, "number": 0}`` and so on; files are below ``DIRECTORY/lines``. Its numbers
are in ``DIRECTORY/status.json``, renewed several times a second. SIGTERM ends it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from itertools import count
from pathlib import Path

from socs.db.engine import Database
from socs.db.finished_files import FileRegister
from socs.db.registrar import RowConstants
from socs.tango.store.series import KIND, SeriesSettings
from socs.tango.store.writer import LinesWriter

MAX_BYTES = 20_000  # files follow one another within a moment
QUEUE = 100_000  # bytes
PAUSE = 0.001  # s after each line


def note(directory: Path, writer: LinesWriter, register: FileRegister) -> None:
    status = {
        "numbers": writer.numbers(),
        "troubles": writer.troubles() + register.troubles(),
        "register": register.numbers(),
    }
    fresh = directory / "status.json.new"
    fresh.write_text(json.dumps(status))
    os.replace(fresh, directory / "status.json")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("run", type=int)
    options = parser.parse_args()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *arguments: ended.set())
    data = options.directory / "lines"
    database = Database(os.environ)
    register = FileRegister(
        KIND,
        options.directory / "spool",
        database,
        [str(data)],
        RowConstants("site", "monitor", settle=0.0),
    )
    writer = LinesWriter(
        SeriesSettings(data, max_bytes=MAX_BYTES),
        queue_bytes=QUEUE,
        on_finished=register.take,
        on_settled=register.settled,
    )
    register.start()
    writer.start()
    for number in count():
        writer.write(json.dumps({"run": options.run, "number": number, "x": "y" * 50}).encode())
        if number % 100 == 0:
            note(options.directory, writer, register)
        if ended.wait(PAUSE):
            break
    writer.close()
    register.stop()
    database.close()


if __name__ == "__main__":
    main()
