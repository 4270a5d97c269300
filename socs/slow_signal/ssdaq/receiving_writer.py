"""Files of readouts that come from a publisher: the file writer of SSDAQ, a program of its own.

It understands both layouts of messages. Those of ``seed`` have no time; their readouts get that at
which they came.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import zmq

from socs.closing import Closing
from socs.errors import ConfigError
from socs.problems import Problems
from socs.slow_signal import pixels, store
from socs.slow_signal.layout import READOUT, Readouts
from socs.slow_signal.listen import ANY
from socs.slow_signal.readout import MESSAGES, SECOND
from socs.slow_signal.settings import WriterSettings

BATCH = 256  # messages taken at once; 4 MB
HIGH_WATER_MARK = 20_000  # messages that may wait; 340 MB, 2000 s of a camera
PAUSE = 100  # ms without a message, after which a writer that is to end takes no more
LAST = 1.0  # s for which it takes what comes without a pause
FINE = 1e-3  # mV; by so much 32-bit amplitudes may differ from those of whole counts

log = logging.getLogger("ssdaq")


def readouts_of(messages: Sequence[bytes], now: float) -> tuple[Readouts, int, int]:
    """Readouts (n,) in ``messages``, how many messages were none, and how many lost precision.

    Amplitudes that are no whole numbers of counts are rounded to the nearest; no camera sends
    such. ``now`` [UNIX time, s] is the time of those that have none.
    """
    found: list[Readouts] = []
    rounded = 0
    for message in MESSAGES.values():
        alike = [each for each in messages if len(each) == message.itemsize]
        if not alike:
            continue
        packed = np.frombuffer(b"".join(alike), message)
        rows = np.zeros(len(packed), READOUT)
        rows["number"], rows["tack"] = packed["number"], packed["tack"]
        if "tacks" in (message.names or ()):
            rows["tacks"] = packed["tacks"]
            rows["cpu_ns"] = int(now * SECOND)
        else:
            rows["cpu_ns"] = packed["cpu_s"] * np.uint64(SECOND) + packed["cpu_ns"]
        rows["counts"], rows["present"], residues = pixels.count(packed["data"])
        if residues is not None:
            rounded += int((~(np.abs(residues) < FINE)).any(axis=(1, 2)).sum())
        found.append(rows)
    readouts = np.concatenate(found) if found else np.zeros(0, READOUT)
    return readouts, len(messages) - len(readouts), rounded


class ReceivingFileWriter(Closing):
    """Subscribes to a publisher, and writes what comes; in threads of its own.

    Args:
        settings: of the files, and where the publisher is; with ip ``0.0.0.0`` it waits for
            publishers of mode ``remote``.
        report: gets lines for the log, from any thread.
        more: other arguments of :class:`.SSFileWriter`, such as ``on_finished``.

    Attributes:
        files: the writer of files.
        received: readouts that came.
        missed: readouts that did not come, as their numbers tell.
        malformed: messages that were no readouts.
        rounded: readouts with amplitudes between two counts.

    Raises:
        ConfigError: a setting is wrong, or the address cannot be used.
    """

    def __init__(
        self,
        settings: WriterSettings,
        *,
        report: Callable[[str], None] = log.warning,
        **more: Any,
    ) -> None:
        self.received = self.missed = self.malformed = self.rounded = 0
        self.settings = settings
        self._next: int | None = None
        self._problems = Problems(report)
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.RCVHWM, HIGH_WATER_MARK)
        self._socket.set(zmq.LINGER, 0)
        self._socket.subscribe(b"")
        self._stopping = threading.Event()
        address = f"tcp://{settings.ip}:{settings.port}"
        try:
            if settings.ip == ANY:
                self._socket.bind(address)
            else:
                self._socket.connect(address)
            self.files: store.SSFileWriter = settings.writer(report=report, **more)
        except zmq.ZMQError as error:
            self._context.destroy(0)
            raise ConfigError(f"cannot listen to {address}: {error.strerror}") from error
        except BaseException:
            self._context.destroy(0)
            raise
        self._thread = threading.Thread(target=self._run, name="slow-signal-receiver", daemon=True)

    def start(self) -> None:
        """Take up what an earlier writer has left, and begin."""
        self.files.start()
        self._thread.start()

    def close(self, timeout: float = 10.0) -> None:
        """Take what has come, complete the file at hand, and end."""
        self._stopping.set()
        if self._thread.ident is None:
            self._context.destroy(0)
        else:
            self._thread.join(timeout)
        self.files.close(timeout)

    @property
    def alive(self) -> bool:
        """Are its threads running?"""
        return self._thread.is_alive() and self.files.alive

    def status(self) -> dict[str, Any]:
        """Where it stands, fit for JSON."""
        names = "received", "missed", "malformed", "rounded"
        return {**self.files.status(), **{name: getattr(self, name) for name in names}}

    # -- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        end = math.inf
        while time.monotonic() < end:
            if self._stopping.is_set():
                end = min(end, time.monotonic() + LAST)
            if self._socket.poll(PAUSE):
                self._take()
            elif self._stopping.is_set():
                break
        self._context.destroy(0)

    def _take(self) -> None:
        messages: list[bytes] = []
        try:
            while len(messages) < BATCH:
                messages.append(self._socket.recv(zmq.DONTWAIT))
        except zmq.Again:
            pass
        readouts, malformed, rounded = readouts_of(messages, time.time())
        self.malformed += malformed
        if malformed:
            self._problems.report(
                "malformed", f"{self.settings.ip} sends other than readouts", time.monotonic()
            )
        self.rounded += rounded
        if rounded:
            self._problems.report(
                "rounded", "amplitudes between two counts are rounded", time.monotonic()
            )
        if len(readouts):
            self._count(readouts)
            self.files.write(readouts)

    def _count(self, readouts: Readouts) -> None:
        self.received += len(readouts)
        numbers = readouts["number"].astype(np.int64)
        before = numbers[0] - 1 if self._next is None else self._next - 1
        steps = np.diff(numbers, prepend=before) - 1
        lost = int(steps[steps > 0].sum())  # a step back is a readout count that was reset
        self.missed += lost
        self._next = int(numbers[-1]) + 1
        if lost:
            self._problems.report(
                "missed", f"{lost} readouts did not come from the publisher", time.monotonic()
            )


class SSFileWriter(ReceivingFileWriter):
    """Writes what a publisher sends, as SSDAQ has it: ``start()``, and ``close()`` at the end.

    Args:
        file_prefix, folder, file_enumerator: see :class:`.WriterSettings`.
        ip, port: of the publisher.
        more: other fields of :class:`.WriterSettings`, such as ``layout``.

    Raises:
        ConfigError: a setting is wrong, or the address cannot be used.
    """

    def __init__(
        self,
        file_prefix: str,
        folder: str = "",
        file_enumerator: str | None = None,
        *,
        ip: str = WriterSettings.ip,
        port: int = WriterSettings.port,
        **more: Any,
    ) -> None:
        super().__init__(
            WriterSettings(file_enumerator, file_prefix, folder, ip, int(port), **more)
        )
