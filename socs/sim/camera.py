"""A camera: the packets of one or all of its 32 modules, from one process, with known truth.

Module m sends from the address that is m behind that of module 0 (127.0.1.100). All modules have
the same TACKs, multiples of the time from readout to readout. Counts change slowly
(:class:`~socs.sim.camera_walk.Walk`), and can be worked out again from seed, module and TACK. On
purpose packets are lost, doubled, overtaken or late, and
:class:`~socs.sim.camera_truth.CameraTruth` says how many.

From the command line: ``python -m socs.sim.camera --help``.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.closing import Closing
from socs.errors import ConfigError
from socs.options import fraction, numbers, whole
from socs.sim.camera_settings import ANY, FIRST_SOURCE, PORT, CameraSettings, Fates
from socs.sim.camera_truth import (
    DELAYED,
    DROPPED,
    DUPLICATED,
    REGULAR,
    REORDERED,
    CameraTruth,
    CameraTruthFile,
    aux_of,
)
from socs.sim.camera_walk import LENGTH, Walk
from socs.sim.datagram_sender import DatagramSender, own_address
from socs.sim.pacing import Repeat, run_paced
from socs.slow_signal.layout import MODULES, SIGN, USUAL_READOUTS, WIRE

SECOND = 10**9  # ns
TRUTH_RATE = 5.0  # Hz at which the truth file is renewed
SHOW_RATE = 4.0  # Hz at which somebody is told
LAST_PORT = 65_535
DESCRIPTION = "Play the modules of a camera: their slow-signal packets over UDP."


@dataclass
class _Held:
    """Packets that are sent later."""

    kind: int  # of KINDS
    due: int  # after this set
    memory: NDArray[np.uint8]
    modules: NDArray[np.intp]


class Camera(Closing):
    """Sends the packets of all modules, a set of them at a time.

    Args:
        settings: what is played.
        now: UNIX time [s].

    Attributes:
        truth: what was done so far.

    Raises:
        ConfigError: an address is wrong.
    """

    def __init__(self, settings: CameraSettings, now: float | None = None) -> None:
        now = time.time() if now is None else now
        self.settings = settings
        count, step = settings.readouts_per_packet, settings.step
        begin = settings.begin(now)
        self.truth = CameraTruth(
            settings.seed, settings.walk, count, begin, step, int(now * SECOND) - begin
        )
        self._fates = Fates(settings)
        self._held: deque[_Held] = deque()
        walk = Walk(settings.seed, settings.walk, settings.modules)
        self._cycle = walk.cycle
        # Packets lie in here as they are sent, but for their TACKs; the end is the beginning again.
        self._table = np.zeros((MODULES, walk.cycle + count - 1), WIRE)
        counts = walk.at(np.arange(self._table.shape[1])).transpose(1, 0, 2) ^ SIGN
        self._table["low"], self._table["high"] = counts[..., :32], counts[..., 32:]
        self._memory = self._table.reshape(-1).view(np.uint8)
        self._rows = np.arange(MODULES) * self._table.strides[0]
        self._length = count * WIRE.itemsize
        self._sender = DatagramSender(settings.host, settings.port, self._sources())

    def _sources(self) -> list[str | None]:
        """The address of each module."""
        if self.settings.source == ANY:
            return [None] * MODULES
        try:
            first = IPv4Address(self.settings.source)
            return [str(first + module) for module in range(MODULES)]
        except ValueError as error:
            raise ConfigError(f"source: {error}") from error

    def send_set(self) -> None:
        """Send the next packet of each module, and what was held back until now.

        Raises:
            ConfigError: the system refuses, because of an address as a rule.
        """
        truth, number = self.truth, self.truth.sets
        offset = self._write_tacks(number)
        fates = self._fates.of_set(number)
        regular = np.flatnonzero(fates == REGULAR)
        self._send(self._memory, self._rows[regular] + offset, regular)
        if len(regular) < MODULES:
            doubled = np.flatnonzero(fates == DUPLICATED).repeat(2)
            self._send(self._memory, self._rows[doubled] + offset, doubled)
            self._hold(REORDERED, fates, offset, number + 1)
            self._hold(DELAYED, fates, offset, number + self.settings.delay_sets)
        truth.record(fates)
        self._send_held(number)

    def finish(self) -> None:
        """Nothing else is to come: packets that are still delayed are dropped, and count as that.

        Raises:
            ConfigError: see :meth:`send_set`.
        """
        for held in self._held:
            if held.kind == DELAYED:
                self.truth.packets[DELAYED, held.modules] -= 1
                self.truth.packets[DROPPED, held.modules] += 1
                held.modules = held.modules[:0]
        self._send_held(math.inf)
        self.truth.finished = True

    def close(self) -> None:
        """Close the socket."""
        self._sender.close()

    def _write_tacks(self, number: int) -> int:
        """Write TACKs into the packets of a set; where these begin in each module's row [bytes]."""
        truth, count = self.truth, self.settings.readouts_per_packet
        first = truth.first_tack + number * count * truth.step
        at = first // truth.step % self._cycle
        tacks = first + np.arange(count) * truth.step
        self._table["tack"][:, at : at + count] = tacks
        self._table["aux"][:, at : at + count] = aux_of(tacks, truth.aux_ahead).T
        return int(at * WIRE.itemsize)

    def _send(
        self, memory: NDArray[np.uint8], offsets: NDArray[np.intp], modules: NDArray[np.intp]
    ) -> None:
        if len(modules):
            self._sender.send(memory, offsets, self._length, modules)

    def _hold(self, kind: int, fates: NDArray[np.intp], offset: int, due: int) -> None:
        modules = np.flatnonzero(fates == kind)
        if len(modules):
            places = self._rows[modules] + offset
            copies = self._memory[places[:, None] + np.arange(self._length)].reshape(-1)
            self._held.append(_Held(kind, due, copies, modules))

    def _send_held(self, number: float) -> None:
        """Send what is to come after set ``number``."""
        kept: deque[_Held] = deque()
        for held in self._held:
            if held.due > number:
                kept.append(held)
            else:
                offsets = np.arange(len(held.modules)) * self._length
                self._send(held.memory, offsets, held.modules)
        self._held = kept


# -- command line ---------------------------------------------------------------------------------


def main(args: list[str] | None = None) -> int:
    """Play until the packets are sent or somebody wants it to end."""
    parser = make_parser()
    try:
        print(play(parser.parse_args(args)))
    except ConfigError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def play(
    options: argparse.Namespace, show: Callable[[CameraTruth, float], object] | None = None
) -> str:
    """Play until the packets are sent, or a signal wants it to end; what was done, in a line.

    Args:
        options: those of :func:`add_options`.
        show: called now and then with what was done so far, and for how long [s].

    Raises:
        ConfigError: a setting is wrong.
    """
    stop_signals: list[int] = []
    with contextlib.ExitStack() as stack:
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.signal(number, lambda number, _frame: stop_signals.append(number))
            stack.callback(signal.signal, number, before)
        camera = stack.enter_context(Camera(settings_from(options)))
        truth, begin, others = camera.truth, time.monotonic(), []
        if options.truth:
            about = {"settings": {k: str(v) for k, v in vars(options).items() if not callable(v)}}
            record = stack.enter_context(CameraTruthFile(options.truth, truth, about))
            others.append(Repeat(record.save, TRUTH_RATE, begin))
        if show is not None:
            others.append(Repeat(lambda: show(truth, time.monotonic() - begin), SHOW_RATE, begin))
        sets = Repeat(camera.send_set, camera.settings.set_rate, begin)
        run_paced(sets, others, options.sets or None, lambda: bool(stop_signals))
        camera.finish()
        seconds = time.monotonic() - begin
    return (
        f"sent {truth.datagrams} datagrams in {seconds:.3f} s,"
        f" {truth.readouts} readouts, of these whole and in time {truth.whole_readouts}"
    )


def settings_from(options: argparse.Namespace) -> CameraSettings:
    """What the parsed options say.

    Raises:
        ConfigError: they cannot be.
    """
    host = options.to_host or options.host
    port = options.port if options.to_port is None else options.to_port
    modules = options.modules
    if modules is None:
        modules = range(MODULES)
        if options.source == ANY:
            modules = [int(own_address(host).rpartition(".")[2]) % 100]
    names = CameraSettings.__dataclass_fields__.keys() - {"modules", "host", "port"}
    return CameraSettings(
        host=host, port=port, modules=modules, **{name: getattr(options, name) for name in names}
    )


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m socs.sim.camera", description=DESCRIPTION)
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of :func:`play` to ``parser``."""

    def add(option: str, help: str, **settings: Any) -> None:
        default = " (default: %(default)s)" if settings.get("default") is not None else ""
        parser.add_argument(option, help=help + default, **settings)

    parser.add_argument("to_port", nargs="?", type=_port, metavar="PORT", help="same as --port")
    parser.add_argument("to_host", nargs="?", metavar="HOST", help="same as --host")
    add("--host", "send to this host", default="127.0.0.1")
    add("--port", "send to this UDP port", type=_port, default=PORT, metavar="N")
    modules = "modules to play, such as 5 or 0-7,31 (default: all, or the one of --source any)"
    add("--modules", modules, type=numbers(MODULES - 1), metavar="LIST")
    source = "address of module 0, to which the others' follow, or `any` for that of this machine"
    add("--source", source, default=FIRST_SOURCE, metavar="ADDRESS")
    number = {"type": whole(1), "metavar": "N"}
    add("--readouts-per-packet", "readouts per packet", default=USUAL_READOUTS, **number)
    add("--readout-rate", "readouts per second of TACKs", type=float, default=10.0, metavar="HZ")
    rate = (
        "packets per second of all modules, or `burst` for as fast as possible (default: as TACKs)"
    )
    add("--packet-rate", rate, type=_rate, metavar="HZ")
    add("--sets", "end after N packets of each module; 0: go on for ever", type=whole(0), default=0)
    add("--seed", "same seed: same counts, same faults", type=whole(0), default=0, metavar="N")
    add("--walk", "readouts until amplitudes go the same way back", default=LENGTH, **number)
    add("--first-tack", "TACK to begin with [ns] (default: UTC)", type=whole(0), metavar="NS")
    part: dict[str, Any] = {"type": fraction, "default": 0.0, "metavar": "F"}
    add("--drop", "fraction of packets that are not sent", **part)
    add("--duplicate", "fraction of packets that are sent twice", **part)
    add("--reorder", "fraction of packets that are sent after the module's next one", **part)
    add("--delay", "fraction of packets that are sent later by --delay-sets", **part)
    add("--delay-sets", "packets by which they are late", default=100, **number)
    silent = "modules that never send, such as 3,7"
    add("--silent", silent, type=numbers(MODULES - 1), default=(), metavar="LIST")
    add("--truth", "keep a record of what was really done (JSON)", type=Path, metavar="FILE")


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is not a port")
    return port


def _rate(text: str) -> float:
    rate = math.inf if text == "burst" else float(text)
    if not rate > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a rate")
    return rate


if __name__ == "__main__":
    sys.exit(main())
