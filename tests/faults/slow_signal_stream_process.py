"""A slow-signal builder without OCS, as a program to be killed, filled up or measured.

It publishes, and with ``--directory DIR`` writes files below DIR/data and registers them in the
database of its environment. Fifty times a second it says in DIR/status.json where it stands. It
ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from socs.db.engine import Database
from socs.db.registrar import RowConstants
from socs.slow_signal.layout import MODULES
from socs.slow_signal.publish import PublisherSettings
from socs.slow_signal.register import FileRegister
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.slow_signal.stream import SlowSignalStream

PREFIX = "Camera"
LOOK = 0.02  # s between notes of where it stands


@contextmanager
def registering(directory: Path) -> Iterator[FileRegister]:
    """Registers files below ``directory/data``."""
    database = Database(os.environ, statement_timeout=5)
    constants = RowConstants("site", "builder", settle=0.0, workers=1)
    register = FileRegister(directory / "spool", database, [str(directory / "data")], constants)
    register.start()
    try:
        yield register
    finally:
        register.stop()
        database.close()


@contextmanager
def streaming(
    options: argparse.Namespace, register: FileRegister | None
) -> Iterator[SlowSignalStream]:
    """The stream, running."""
    ip, port = options.publish.rsplit(":", 1)
    publisher = PublisherSettings(
        "a", ip, int(port), layout=options.message, high_water_mark=options.high_water_mark
    )
    writer = None
    if options.directory:
        writer = WriterSettings(
            file_enumerator="order",
            file_prefix=PREFIX,
            folder=str(options.directory / "data"),
            filesize_lim=options.limit,
            flush_every=options.flush_every,
        )
    told = {} if register is None else {"on_finished": register.finished}
    if register is not None:
        told["on_settled"] = register.settled
    stream = SlowSignalStream(
        StreamSettings(
            listen_ip="0.0.0.0",
            listen_port=options.port,
            buffer_time=options.buffer_time,
            flush_time=options.flush_time,
            expected_modules=range(options.modules),
            publishers=[publisher],
            writer=writer,
        ),
        report=lambda text: print(text, flush=True),
        **told,
    )
    stream.start()
    try:
        yield stream
    finally:
        stream.stop(20)


def note(path: Path, stream: SlowSignalStream, register: FileRegister) -> None:
    """Where both stand, in a file that is always whole."""
    status = {"stream": stream.status(), "register": register.status()}
    path.with_suffix(".new").write_text(json.dumps(status))
    path.with_suffix(".new").rename(path)


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--publish", default="127.0.0.1:0", metavar="IP:PORT")
    parser.add_argument("--message", default="seed")
    parser.add_argument("--high-water-mark", type=int, default=100_000)
    parser.add_argument("--modules", type=int, default=MODULES, help="expected: so many")
    parser.add_argument("--buffer-time", type=float, default=4e9, help="ns")
    parser.add_argument("--flush-time", type=float, help="s")
    parser.add_argument("--limit", type=float, help="MiB of a file")
    parser.add_argument("--flush-every", type=float, default=1.0, help="s")
    options = parser.parse_args()
    register = None
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        register = (
            stack.enter_context(registering(options.directory)) if options.directory else None
        )
        stream = stack.enter_context(streaming(options, register))
        while not stop.wait(LOOK):
            if register is not None:
                note(options.directory / "status.json", stream, register)


if __name__ == "__main__":
    main()
