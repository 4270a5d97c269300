"""A stream without OCS, as a program to be killed: ``stream_process DIR PORT [POINT COUNT]``.

It listens on PORT, registers files below DIR/data in the database of its environment, writes its
numbers to DIR/numbers.json ten times a second, and ends on SIGTERM. With POINT it kills itself
with SIGKILL when it reaches that point for the COUNT-th time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socs.db import pysmurf_files_manager as files
from socs.db.spool import Spool
from socs.db.spool_file import SpoolFile
from socs.pysmurf.stream import PysmurfStream
from tests.harness import running_stream

POINTS = ["spool write", "batch begun", "rows inserted", "committed", "trimming"]


def _dying(count: int) -> Callable[[], None]:
    """Something to call at a point: the COUNT-th call is the last thing this process does."""
    left = iter(range(count - 1, -1, -1))

    def reached() -> None:
        if next(left, 1) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def _die_at(point: str, count: int) -> None:
    reached = _dying(count)

    def after(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            reached()
            return result

        setattr(owner, name, wrapped)

    def before(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            reached()
            return original(*args, **kwargs)

        setattr(owner, name, wrapped)

    def at_statement(start: str) -> None:
        original = SpoolFile._open

        def wrapped(self: SpoolFile) -> Any:
            db = original(self)
            db.set_trace_callback(lambda text: reached() if text.startswith(start) else None)
            return db

        SpoolFile._open = wrapped

    {
        "spool write": lambda: at_statement("INSERT INTO entries"),
        "batch begun": lambda: after(Spool, "begin"),
        "rows inserted": lambda: after(files, "add_entries"),
        "committed": lambda: before(Spool, "finish"),
        "trimming": lambda: at_statement("DELETE FROM batch"),
    }[point]()


def _write_numbers(stream: PysmurfStream, path: Path) -> None:
    text = json.dumps({"numbers": stream.numbers(), "publishers": stream.ingest.publishers})
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def main(directory: str, port: str, point: str = "", count: str = "1") -> None:
    """Run until SIGTERM."""
    if point:
        _die_at(point, int(count))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    where = Path(directory)
    with running_stream(where, os.environ, port=int(port), constants={"batch": 100}) as stream:
        while not stop.wait(0.1):
            _write_numbers(stream, where / "numbers.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
