"""A camera of 32 modules in a process of its own, for benchmarks: as fast as one can send.

Each module sends from an address of its own, 127.0.1.100 to .131, through one socket (IP_PKTINFO).
A set is one packet of each, sent in one burst. Counts are those of the readout's place in the
packet, TACKs go on from set to set.
"""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

from socs.slow_signal.layout import MODULES, WIRE
from socs.wire.recvmmsg import HEADER, NAME, PART
from tests.slow_signal_packets import FIRST_OCTET, NETWORK, STEP, T0, packet

READOUTS = 10  # in a packet
IP_PKTINFO = 8  # from <linux/in.h>
# struct cmsghdr, struct in_pktinfo, and room to the next multiple of 8
CONTROL = np.dtype(
    [
        ("length", "<u8"),
        ("level", "<i4"),
        ("type", "<i4"),
        ("interface", "<i4"),
        ("source", ">u4"),
        ("destination", ">u4"),
        ("room", "<u4"),
    ]
)
LONGEST_CALL = 8  # sets


class Camera:
    """The sending side. Everything the kernel needs for ``LONGEST_CALL`` sets is written once."""

    def __init__(self, port: int) -> None:
        rows = LONGEST_CALL * MODULES
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        contents = [packet(module, 0, READOUTS)[1] for module in range(MODULES)]
        self._wire = np.frombuffer(bytearray(b"".join(contents * LONGEST_CALL)), WIRE)
        self._wire = self._wire.reshape(LONGEST_CALL, MODULES, READOUTS)
        self._name = np.zeros(1, NAME)
        self._name["family"], self._name["port"] = socket.AF_INET, port
        self._name["host"] = 0x7F000001
        self._parts = np.zeros(rows, PART)
        self._parts["base"] = self._addresses(self._wire, WIRE.itemsize * READOUTS, rows)
        self._parts["length"] = WIRE.itemsize * READOUTS
        self._control = np.zeros(rows, CONTROL)
        self._control["length"] = 28
        self._control["type"] = IP_PKTINFO
        self._control["source"] = NETWORK + FIRST_OCTET + np.tile(np.arange(MODULES), LONGEST_CALL)
        self._headers = np.zeros(rows, HEADER)
        self._headers["name"] = self._name.ctypes.data
        self._headers["name_length"] = NAME.itemsize
        self._headers["parts"] = self._addresses(self._parts, PART.itemsize, rows)
        self._headers["part_count"] = 1
        self._headers["control"] = self._addresses(self._control, CONTROL.itemsize, rows)
        self._headers["control_length"] = CONTROL.itemsize
        self._readout = 0
        self._call = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]

    @staticmethod
    def _addresses(array: np.ndarray, distance: int, rows: int) -> np.ndarray:
        return array.ctypes.data + distance * np.arange(rows, dtype=np.uint64)

    def send(self, sets: int) -> None:
        """Send the next ``sets``, at most `LONGEST_CALL`, in one burst."""
        readouts = self._readout + np.arange(sets * READOUTS).reshape(sets, 1, READOUTS)
        self._wire["tack"][:sets] = self._wire["aux"][:sets] = T0 + STEP * readouts
        self._readout += sets * READOUTS
        left, at = sets * MODULES, self._headers.ctypes.data
        while left:
            sent = self._call(self._socket.fileno(), at, left, 0)
            if sent < 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            left -= sent
            at += sent * HEADER.itemsize

    def play(self, sets: int, rate: float) -> float:
        """Send ``sets`` at ``rate`` packets per second, 0 for flat out; how long it took [s].

        After a stall it goes on at the same rate, and does not make up for the time lost.
        """
        at_once = LONGEST_CALL if not rate or rate > 100_000 else 1
        period = at_once * MODULES / rate if rate else 0.0
        start = due = time.perf_counter()
        for sent in range(0, sets, at_once):
            while (now := time.perf_counter()) < due:
                if due - now > 0.0005:
                    time.sleep(due - now - 0.0003)
            due = max(due + period, now)
            self.send(min(at_once, sets - sent))
        return time.perf_counter() - start


@dataclass
class CameraProcess:
    """A `Camera` in another process, that sends on command."""

    port: int

    def __enter__(self) -> CameraProcess:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.camera_sender", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def begin(self, sets: int, rate: float = 0.0) -> None:
        """Start sending ``sets`` at ``rate`` packets per second, 0 for flat out."""
        print(sets, rate, file=self._process.stdin, flush=True)

    def end(self) -> float:
        """Wait until they are sent; how long that took [s]."""
        return float(self._process.stdout.readline())


def main(port: int) -> None:
    """Send what is asked for on the standard input, and answer how long it took."""
    camera = Camera(port)
    print("ready", flush=True)
    for line in sys.stdin:
        sets, rate = line.split()
        print(camera.play(int(sets), float(rate)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
