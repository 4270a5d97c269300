"""An honest source: writes real files and announces them like pysmurf's publisher.

:class:`Publisher` has the interface and the message format of ``Publisher`` in pysmurf
(``client/util/pub.py``), so that a script can use either.
:class:`~socs.sim.pysmurf_files.FileSource` writes files and announces them. With
:class:`LossyPublisher` some messages are lost or doubled on purpose, and
:class:`~socs.sim.pysmurf_truth.Truth` says which.

From the command line: ``python -m socs.sim.pysmurf_publisher --help``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from socs import __version__
from socs.closing import Closing
from socs.options import fraction
from socs.sim.pacing import Repeat, run_paced
from socs.sim.pysmurf_files import FileSource, WrittenFile
from socs.sim.pysmurf_truth import Truth, TruthFile

ENV_ROOT = "SMURFPUB_"
UDP_PORT = 8200
UDP_MAX_BYTES = 64_000  # beyond it the publisher sends a backend_error instead
NEVER_LOST = ("start", "stop")  # without them nobody could tell what is missing at the two ends


class Publisher(Closing):
    """Sends messages as pysmurf's publisher does.

    Args:
        script_id: name of the script, for the key ``script``.
        options: ``BACKEND`` (``null`` discards, ``udp`` sends; default ``null``), ``ID``,
            ``UDP_HOST`` (default ``localhost``) and ``UDP_PORT`` (default 8200). What is not here
            is looked up in the environment, as ``SMURFPUB_BACKEND`` and so on.
        env_root: prefix to use instead of ``SMURFPUB_``.

    Sends ``start`` at once and ``stop`` when it is closed or deleted.
    """

    def __init__(
        self,
        script_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        env_root: str | None = None,
    ) -> None:
        self._env_root = ENV_ROOT if env_root is None else env_root
        options = options or {}
        self.host = socket.gethostname()
        self.script_id = "undeclared" if script_id is None else script_id
        self.pub_id = self._option("ID", options, "undeclared")
        self.seq_no = 0
        self._action: str | None = None
        self._action_ts: str | None = None
        self._socket: socket.socket | None = None
        backend = self._option("BACKEND", options, "null")
        if backend == "udp":
            self._address = (
                socket.gethostbyname(self._option("UDP_HOST", options, "localhost")),
                int(self._option("UDP_PORT", options, UDP_PORT)),
            )
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        elif backend != "null":
            sys.stderr.write(f"{type(self).__name__}: no backend {backend!r}; discarding all\n")
        self._open = True
        self.log_start()

    def _option(self, key: str, options: Mapping[str, Any], default: Any) -> Any:
        return options[key] if key in options else os.getenv(self._env_root + key, default)

    def publish(self, data: Any, msgtype: str = "general") -> bool:
        """Send any JSON-able data; whether they were sent."""
        message = {
            "host": self.host,
            "id": self.pub_id,
            "script": self.script_id,
            "time": time.time(),
            "seq_no": self.seq_no,
            "type": msgtype,
            "payload": data,
        }
        self.seq_no += 1
        return self._send(json.dumps(message).encode(), msgtype)

    def _send(self, datagram: bytes, msgtype: str) -> bool:
        if self._socket is None:
            return False
        if len(datagram) > UDP_MAX_BYTES:
            error = f"Backend error: dropped large UDP packet ({len(datagram)} bytes)."
            sys.stderr.write(f"{type(self).__name__}: {error}\n")
            self.publish({"message": error}, "backend_error")
            return False
        self._socket.sendto(datagram, self._address)
        return True

    def log(self, message: str) -> bool:
        """Send a text, type ``log``."""
        return self.publish({"message": message}, "log")

    def log_start(self) -> bool:
        """Say that the script begins."""
        return self.publish({}, "start")

    def log_stop(self) -> bool:
        """Say that the script ends."""
        return self.publish({}, "stop")

    def register_file(
        self,
        path: str,
        type: str,
        format: str = "",
        timestamp: float | None = None,
        plot: bool = False,
    ) -> bool:
        """Announce a file.

        Args:
            path: full path.
            type: what the file is, e.g. ``tuning``.
            format: e.g. ``npy`` or ``txt``.
            timestamp: UNIX time [s] when it was created; now by default.
            plot: whether it is a plot.
        """
        announcement = {
            "path": path,
            "type": type,
            "format": format,
            "timestamp": time.time() if timestamp is None else timestamp,
            "action": self._action,
            "action_ts": self._action_ts,
            "plot": plot,
            "pysmurf_version": f"sim-{__version__}",
        }
        return self.publish(announcement, "data_file")

    @contextlib.contextmanager
    def set_action(self, action: str, action_ts: int | None = None) -> Iterator[None]:
        """Files announced inside belong to ``action``, begun at ``action_ts`` (UNIX time, now).

        Inside another one it does nothing: the outermost action counts.
        """
        if self._action is not None:
            yield
            return
        self._action = action
        # pysmurf writes the time as text
        self._action_ts = str(int(time.time()) if action_ts is None else action_ts)
        try:
            yield
        finally:
            self._action = self._action_ts = None

    def close(self) -> None:
        """Say ``stop`` and close the socket; nothing the second time."""
        if not self._open:
            return
        self._open = False
        self.log_stop()
        if self._socket is not None:
            self._socket.close()

    def __del__(self) -> None:
        if getattr(self, "_open", False):
            self.close()


class LossyPublisher(Publisher):
    """Loses and doubles messages on purpose (never ``start`` and ``stop``), and keeps the truth.

    Args:
        drop: probability that a message takes its number and is not sent.
        duplicate: probability that a message that is sent is sent twice.
        seed: the same seed makes the same choices.
    """

    def __init__(
        self,
        script_id: str | None = None,
        options: Mapping[str, Any] | None = None,
        env_root: str | None = None,
        *,
        truth: Truth,
        drop: float = 0.0,
        duplicate: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._truth, self._drop, self._duplicate = truth, drop, duplicate
        self._random = random.Random(f"fate {seed}")
        super().__init__(script_id, options, env_root)

    def _send(self, datagram: bytes, msgtype: str) -> bool:
        unlucky = self._random.random() < self._drop
        twice = self._random.random() < self._duplicate
        certain = msgtype in NEVER_LOST
        if (unlucky and not certain) or not super()._send(datagram, msgtype):
            self._truth.dropped[msgtype] += 1
            return False
        self._truth.sent[msgtype] += 1
        if twice and not certain:
            super()._send(datagram, msgtype)
            self._truth.duplicated[msgtype] += 1
        return True


# -- command line ---------------------------------------------------------------------------------


def main(args: list[str] | None = None) -> int:
    """Run a source until it has announced its files or is told to end."""
    parser = make_parser()
    options = parser.parse_args(args)
    if options.prepare and not options.files:
        parser.error("--prepare needs --files")
    stop_signals: list[int] = []
    truth = Truth()
    udp = {
        "BACKEND": "udp",
        "ID": options.id,
        "UDP_HOST": options.host,
        "UDP_PORT": options.port,
    }
    about = {"id": options.id, "script": options.script, "host": socket.gethostname()}
    with contextlib.ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, lambda number, _frame: stop_signals.append(number))
            stack.callback(signal.signal, number, before)
        record = TruthFile(options.truth, truth, about) if options.truth else None
        if record:
            stack.enter_context(record)
        publisher = LossyPublisher(
            options.script,
            udp,
            truth=truth,
            drop=options.drop,
            duplicate=options.duplicate,
            seed=options.seed,
        )
        with publisher:
            _announce(options, publisher, truth, record, lambda: bool(stop_signals))
        truth.finished = True
    print(
        f"sent {truth.sent.total()} messages in {truth.datagrams} datagrams, of these"
        f" {truth.sent['data_file']} files; dropped {truth.dropped.total()} on purpose"
    )
    return 0


def _announce(
    options: argparse.Namespace,
    publisher: Publisher,
    truth: Truth,
    record: TruthFile | None,
    stopped: Callable[[], bool],
) -> None:
    source = FileSource(publisher, options.root, truth=truth, seed=options.seed, size=options.size)
    prepared: list[WrittenFile] = []
    if options.prepare:
        while len(prepared) < options.files and not stopped():
            prepared.append(source.write())
        print(f"prepared {len(prepared)} files", flush=True)
        prepared.reverse()
    start = time.monotonic()
    files = Repeat(
        lambda: source.announce(prepared.pop() if prepared else source.write()),
        options.rate,
        start,
    )
    others = [
        Repeat(source.send_metadata, options.metadata_rate, start),
        Repeat(source.send_session, options.session_rate, start),
        Repeat(record.save if record else int, 5.0, start),
    ]
    run_paced(files, others, options.files or None, stopped)


def make_parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m socs.sim.pysmurf_publisher",
        description="Write files and announce them over UDP as pysmurf's publisher does.",
    )

    def add(option: str, help: str, **settings: Any) -> None:
        default = " (default: %(default)s)" if "default" in settings else ""
        parser.add_argument(option, help=help + default, **settings)

    add("--root", "write files below this directory", type=Path, required=True, metavar="DIR")
    add("--host", "send to this host", default="127.0.0.1")
    add("--port", "send to this UDP port", type=int, default=UDP_PORT, metavar="N")
    add("--id", "publisher id, as SMURFPUB_ID", default="smurf-sim")
    add("--script", "name of the script", default="file_source")
    rate = {"type": _rate, "metavar": "HZ"}
    files = "files per second, or `burst` for as fast as possible"
    add("--rate", files, default="10", **rate)
    add("--metadata-rate", "register values per second", default="0", **rate)
    add("--session-rate", "pairs of session data and log per second", default="0", **rate)
    add("--files", "end after N files; 0: go on for ever", type=int, default=0, metavar="N")
    size = {"type": _size, "metavar": "BYTES|MIN:MAX"}
    add("--size", "size of each file [bytes]", default="4096", **size)
    add("--prepare", "write all N files before announcing the first", action="store_true")
    part = {"type": fraction, "metavar": "F"}
    add(
        "--drop",
        "fraction of messages that take a number and are not sent",
        default="0",
        **part,
    )
    add("--duplicate", "fraction of messages that are sent twice", default="0", **part)
    add("--seed", "same seed: same contents, same messages lost", type=int, default=0, metavar="N")
    truth = (
        "keep a record of what was really done, renewed each second: counts (JSON) in FILE, md5 and"
        " path of each file in FILE.md5, of those not announced in FILE.unannounced.md5"
    )
    add("--truth", truth, type=Path, metavar="FILE")
    return parser


def _rate(text: str) -> float:
    rate = math.inf if text == "burst" else float(text)
    if not rate >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a rate")
    return rate


def _size(text: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    sizes = int(low), int(high or low)
    if not 0 <= sizes[0] <= sizes[1]:
        raise argparse.ArgumentTypeError(f"{text} is not BYTES or MIN:MAX")
    return sizes


if __name__ == "__main__":
    sys.exit(main())
