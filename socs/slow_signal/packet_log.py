"""A text file with a line for each readout in each packet, to look for trouble on the network.

A line is ``TACK  UTC  module``: nanoseconds, nanoseconds since 1970 when the packet was taken from
the kernel, and 0 to 31. That is what SSDAQ writes into ``packet_debug_stream_file``.
"""

from __future__ import annotations

import logging
import queue
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from socs.closing import Closing
from socs.errors import ConfigError
from socs.slow_signal.decode import Packets

ROOM = 1000  # batches of packets that may wait; up to 64 packets each
SECOND = 1e9  # ns
STOPPING_TIMEOUT = 5.0  # s

_Batch = tuple[NDArray[np.uint64], NDArray[np.uint8], NDArray[np.uint8], int]

log = logging.getLogger(__name__)


class PacketLog(Closing):
    """Writes the lines in a thread of its own.

    Args:
        path: of the file; what it held is gone.

    Attributes:
        written: lines.
        dropped: readouts without a line, as the disk did not keep up or refused.

    Raises:
        ConfigError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.written = self.dropped = 0
        self.path = path
        self._batches: queue.Queue[_Batch | None] = queue.Queue(ROOM)
        try:
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise ConfigError(
                f"packet_debug_stream_file: cannot write {path}: {error.strerror}"
            ) from error
        self._thread = threading.Thread(target=self._run, name="slow-signal-packets", daemon=True)
        self._thread.start()

    def put(self, packets: Packets) -> None:
        """Have lines written for ``packets``; does not wait."""
        if not len(packets):
            return
        arrays = packets.tacks.copy(), packets.counts.copy(), packets.modules.copy()
        try:
            self._batches.put_nowait((*arrays, int(packets.received * SECOND)))
        except queue.Full:
            self.dropped += int(arrays[1].sum())

    def close(self) -> None:
        """Write what waits, for at most :data:`STOPPING_TIMEOUT`, and close the file."""
        with suppress(queue.Full):
            self._batches.put(None, timeout=STOPPING_TIMEOUT)
        self._thread.join(STOPPING_TIMEOUT)

    def status(self) -> dict[str, Any]:
        """Where it stands, fit for session data."""
        return {"path": str(self.path), "written": self.written, "dropped": self.dropped}

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            lines = _lines(*batch)
            try:
                self._write("".join(lines).encode())
                self.written += len(lines)
            except OSError as error:
                if not self.dropped:
                    log.warning("packet_debug_stream_file: %s", error.strerror)
                self.dropped += len(lines)
        with suppress(OSError):
            self._file.close()

    def _write(self, text: bytes) -> None:
        """Write all of ``text``; OSError if the disk does not take it."""
        while text:
            text = text[self._file.write(text) :]


def _lines(
    tacks: NDArray[np.uint64],
    counts: NDArray[np.uint8],
    modules: NDArray[np.uint8],
    received: int,
) -> list[str]:
    rows = zip(tacks.tolist(), counts.tolist(), modules.tolist(), strict=True)
    return [
        f"{tack}  {received}  {module}\n" for row, count, module in rows for tack in row[:count]
    ]
