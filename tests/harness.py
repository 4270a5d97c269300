"""What several tests need: a stream without OCS, the source as a process, and the table's rows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.db.registrar import RowConstants
from socs.pysmurf.settings import StreamSettings
from socs.pysmurf.stream import PysmurfStream
from socs.sim.pysmurf_truth import Truth, read_truth


@contextmanager
def running_stream(
    directory: Path,
    environ: Mapping[str, str],
    *,
    constants: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Iterator[PysmurfStream]:
    """A stream that listens on a free port; files below ``directory/data``, table created."""
    (directory / "data").mkdir(exist_ok=True)
    database = Database(environ, statement_timeout=5)
    files.create_table(database)
    lines: list[str] = []
    stream = PysmurfStream(
        StreamSettings(
            **{
                "bind": "127.0.0.1",
                "port": 0,
                "allow": (),
                "roots": [str(directory / "data")],
                "spool_dir": directory / "spool",
            }
            | settings
        ),
        RowConstants("site", "monitor", **{"settle": 0.0} | dict(constants or {})),
        database,
        report=lines.append,
    )
    stream.log = lines
    stream.start()
    try:
        yield stream
    finally:
        stream.stop()
        database.close()


def source_command(directory: Path, port: int, *options: object) -> list[str]:
    """The command line of the simulated publisher; its truth is in ``directory/truth.json``."""
    return [
        *(sys.executable, "-m", "socs.sim.pysmurf_publisher"),
        *("--root", str(directory / "data"), "--port", str(port)),
        *("--truth", str(directory / "truth.json")),
        *map(str, options),
    ]


def run_source(directory: Path, port: int, *options: object) -> Truth:
    """Run the simulated publisher to its end, in a process of its own; what it really did."""
    subprocess.run(source_command(directory, port, *options), check=True, timeout=100)
    return read_truth(directory / "truth.json")


def rows(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """(path, md5 as hex) of all rows of the files table."""
    database = Database(environ)
    try:
        with database.read() as connection:
            query = sa.select(files.table.c.path, files.table.c.md5sum)
            return [(path, bytes(md5sum).hex()) for path, md5sum in connection.execute(query)]
    finally:
        database.close()
