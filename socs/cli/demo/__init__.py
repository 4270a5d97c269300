"""``socs demo``: the main jobs on this machine, with real input, watched and checked."""

from __future__ import annotations

import argparse
import json
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from socs.cli.demo.directory import DemoDirectory
from socs.cli.demo.numbers import comparisons, problems
from socs.cli.demo.run import FAULTS, LONGEST, STILL, Demo, DemoSettings
from socs.cli.demo.view import View, introduction, make_view
from socs.cli.demo.watch import Patience
from socs.errors import StorageError
from socs.options import fraction

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PERIOD = 0.2  # s between two looks at the numbers


def add_parser(commands: Any) -> None:
    """Add ``demo`` to ``commands`` (of ``add_subparsers``)."""
    text = (
        "Start a router, a pysmurf monitor, controller and archiver, and a source that writes "
        "files and announces them; a slow-signal builder, and a camera of 32 modules that sends "
        "packets to it; Tango device servers, and a monitor of their events; two EPICS IOCs, a "
        "client, a gateway that hears them, and a monitor of what they serve; show what becomes of "
        "all that; end with a comparison. Ends with status 1 if an announced file is not "
        "registered and archived exactly once with the right md5, if a value of the camera is not "
        "in an archived file, or if losses are not reported exactly. Everything is in one "
        "directory and bound to 127.0.0.1."
    )
    parser = commands.add_parser("demo", help="try the main job here", description=text)
    add = parser.add_argument
    add("--for", dest="seconds", type=_positive, metavar="SECONDS", help="end after this time [s]")
    add("--rate", type=_rate, default="50", metavar="HZ", help="files per second, or `burst` (50)")
    sizes = "size of the files [bytes] (4096)"
    add("--size", type=_size, default="4096", metavar="BYTES|MIN:MAX", help=sizes)
    drop = "fraction of the messages and packets to lose on purpose (0)"
    add("--drop", type=fraction, default=0.0, metavar="F", help=drop)
    twice = "fraction of the messages and packets to send twice on purpose (0)"
    add("--duplicate", type=fraction, default=0.0, metavar="F", help=twice)
    fault = "a fault to show; tango-slow: a subscriber takes its time, and loses events of a "
    fault += "burst; epics-ioc: an IOC is killed, and its process variables are lost"
    add("--fault", choices=FAULTS, default="", help=fault)
    where = "directory for all of it, begun anew each time (demo-site)"
    add("--dir", type=Path, default=Path("demo-site"), metavar="DIR", help=where)
    keep = "leave the files written, which are deleted after success (logs, table, archive stay)"
    add("--keep", action="store_true", help=keep)
    add("--json", action="store_true", help="print one JSON object at the end, and nothing else")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    settings = DemoSettings(args.rate, args.size, args.drop, args.duplicate, fault=args.fault)
    view = make_view(silent=args.json)
    with DemoDirectory(args.dir) as directory, StopSignals() as stop:
        with Demo(directory, settings) as demo:
            try:
                with stop.interrupting():
                    demo.start(view.tell)
            except KeyboardInterrupt:
                view.tell("interrupted before it ran: stopping what was started ...")
                raise
            view.tell(introduction(demo))
            view.tell(
                "Ctrl-C ends it." if args.seconds is None else f"It runs for {args.seconds:g} s."
            )
            with view:
                _watch(demo, view, stop, args.seconds)
                cut_short = _finish(demo, view, stop)
            numbers = demo.final_numbers()
            view.tell("stopping the agents and the router ...")
        found = problems(numbers)
        if not found and not args.keep:
            directory.remove_files()
    view.summarise(numbers)
    if found and cut_short:
        view.tell("Ctrl-C cut the waiting short: what is missing here was still on its way.")
    if args.json:
        print(json.dumps({"ok": not found, "problems": found, **numbers.as_json()}))
    return 1 if found else 0


def _watch(demo: Demo, view: View, stop: StopSignals, seconds: float | None) -> None:
    """Show the numbers until it is time to end."""
    while demo.source_runs and not stop.count:
        demo.watch()
        numbers = demo.numbers()
        view.show(numbers)
        if seconds is not None and numbers.seconds >= seconds:
            return
        time.sleep(PERIOD)


def _finish(demo: Demo, view: View, stop: StopSignals) -> bool:
    """Stop the source and wait for the rest; whether a further signal cut the waiting short."""
    before = stop.count
    view.tell("waiting until all that was announced is archived; Ctrl-C cuts this short ...")
    demo.stop_sources()
    patience = Patience(STILL, LONGEST)
    while not demo.settled() and stop.count == before:
        numbers = demo.numbers()
        if not patience.lasts(comparisons(numbers), time.monotonic()):
            break
        view.show(numbers)
        time.sleep(PERIOD)
    with suppress(StorageError):  # then nothing is registered, which the numbers say
        demo.compare()
    return stop.count != before


class StopSignals:
    """Counts signals that ask to end, instead of ending at once; a context manager."""

    def __init__(self) -> None:
        self.count = 0
        self._interrupting = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        for number in SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # started by nohup
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Inside, a signal raises KeyboardInterrupt; at once, if there was one before."""
        if self.count:
            raise KeyboardInterrupt
        self._interrupting = True
        try:
            yield
        finally:
            self._interrupting = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self._interrupting:
            self._interrupting = False
            raise KeyboardInterrupt


def _positive(text: str) -> float:
    number = _number(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return number


def _rate(text: str) -> str:
    if text != "burst":
        _positive(text)
    return text


def _size(text: str) -> str:
    smallest, _, largest = text.partition(":")
    if not re.fullmatch(r"\d+(:\d+)?", text) or int(largest or smallest) < int(smallest):
        raise argparse.ArgumentTypeError(f"{text!r} is not BYTES or MIN:MAX")
    return text


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
