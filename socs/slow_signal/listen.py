"""Receiving readouts from a builder's publisher, in programs of one's own::

    listener = SSReadoutListener(ip="127.0.0.1", port=5555)
    listener.start()
    while (readout := listener.get_readout()) is not None:
        ...

It understands both layouts of messages, also from the builders that introduced them.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

import zmq

from socs.errors import ConfigError, Malformed
from socs.problems import Problems
from socs.slow_signal.readout import SSReadout

ANY = "0.0.0.0"  # noqa: S104  wait for builders that publish `remote`
ROOM = 10_000  # readouts kept for a program that is slower than the camera; 170 MB
END = b"end"


class SSReadoutListener(threading.Thread):
    """Thread that receives readouts.

    Args:
        port: of the publisher.
        ip: of the publisher; with ``0.0.0.0`` it waits for publishers of mode ``remote``.
        logger: for what goes wrong.
        room: readouts kept until they are asked for; of more, the oldest are dropped.

    Attributes:
        received: readouts received.
        dropped: readouts dropped because nobody asked for them in time.
        malformed: messages that were no readouts.

    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(
        self,
        port: int = 5555,
        ip: str = "127.0.0.101",
        logger: logging.Logger | None = None,
        *,
        room: int = ROOM,
    ) -> None:
        super().__init__(name=f"readout-listener-{ip}:{port}", daemon=True)
        self.log = logger or logging.getLogger(__name__)
        self._problems = Problems(self.log.warning)
        self._readouts: queue.Queue[SSReadout | None] = queue.Queue(room)
        self.received = self.dropped = self.malformed = 0
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.SUBSCRIBE, b"")
        self._socket.set(zmq.LINGER, 0)
        self._control = self._context.socket(zmq.PAIR)
        self._other_end = self._context.socket(zmq.PAIR)
        self._control.bind("inproc://end")
        self._other_end.connect("inproc://end")
        self._lock = threading.Lock()
        self._closed = False
        address = f"tcp://{ip}:{port}"
        try:
            if ip == ANY:
                self._socket.bind(address)
            else:
                self._socket.connect(address)
        except zmq.ZMQError as error:
            self._context.destroy(0)
            raise ConfigError(f"cannot listen to {address}: {error.strerror}") from error

    def run(self) -> None:
        """The thread; started with ``start()``."""
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._control, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._control in ready:
                break
            self._take(self._socket.recv())
        self._context.destroy(0)
        self._put(None)

    def _take(self, message: bytes) -> None:
        try:
            readout = SSReadout.from_bytes(message)
        except Malformed as error:
            self.malformed += 1
            self._problems.report("malformed", str(error), time.monotonic())
            return
        self.received += 1
        self._put(readout)

    def _put(self, readout: SSReadout | None) -> None:
        while True:
            try:
                self._readouts.put_nowait(readout)
            except queue.Full:
                try:
                    self._readouts.get_nowait()
                    self.dropped += 1
                except queue.Empty:
                    pass
            else:
                return

    def get_readout(self, block: bool = True, timeout: float | None = None) -> SSReadout | None:
        """The next readout; None once the listener is closed.

        Args:
            block: wait for one.
            timeout: at most so long [s].

        Raises:
            queue.Empty: there was none in time.
        """
        readout = self._readouts.get(block, timeout)
        if readout is None:
            self._readouts.put(None)  # for all who ask later
        return readout

    def close(self) -> None:
        """End the thread, and forget what was not asked for; ``get_readout`` then gives None."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._other_end.send(END)
        if self.is_alive():
            self.join()
        else:  # never started
            self._context.destroy(0)
        while True:
            try:
                self._readouts.get_nowait()
            except queue.Empty:
                break
        self._readouts.put(None)
