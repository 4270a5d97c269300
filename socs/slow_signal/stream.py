"""The whole way of the slow signal, wired together: socket, decode, assemble, publish, store.

::

    udp-receiver thread     kernel -> decode -> assemble -> ZMQ (never waits)
                                                         -> queue of the file writer (never waits)
    slow-signal-clock       what is due though nothing comes; a summary each second
    slow-signal-files       queue -> journal -> HDF5

Knows nothing of OCS, so that it can be tested, measured and killed without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zmq

from socs.counters import (
    SLOW_SIGNAL,
    SLOW_SIGNAL_CONSERVATION,
    SLOW_SIGNAL_FILES,
    SLOW_SIGNAL_FILES_CONSERVATION,
    SLOW_SIGNAL_STREAM,
    SLOW_SIGNAL_STREAM_CONSERVATION,
    UDP,
    Counters,
    imbalances,
)
from socs.errors import ConfigError
from socs.problems import Problems
from socs.slow_signal.assemble import Assembler
from socs.slow_signal.decode import MAX_READOUTS, Packets, decode
from socs.slow_signal.layout import READOUT, READOUT_BYTES, Readouts
from socs.slow_signal.packet_log import PacketLog
from socs.slow_signal.publish import Publisher, Publishers
from socs.slow_signal.seconds import Sample, Second
from socs.slow_signal.settings import StreamSettings, WriterSettings
from socs.slow_signal.store import Completed, SSFileWriter
from socs.wire.udp import Batch, UdpReceiver

MAX_DATAGRAM = MAX_READOUTS * READOUT_BYTES  # bytes
# Much of the work is done once for each batch, however small. To let packets gather saves a quarter
# of the CPU at 40 000 packets/s; a readout is 1 s old anyway when its packet comes.
BATCH = 512  # packets
GATHER = 0.002  # s
TICK = 0.1  # s between looks for what is due
LATE = 1.0  # s; a tick so late leaves the receiver as long to take what has come meanwhile
SECOND = 1.0  # s that a summary covers
EQUATIONS = (
    *SLOW_SIGNAL_CONSERVATION,
    *SLOW_SIGNAL_STREAM_CONSERVATION,
    *SLOW_SIGNAL_FILES_CONSERVATION,
)

Tell = Callable[[Completed], object]

log = logging.getLogger(__name__)


class SlowSignalStream:
    """Receives packets of a camera's modules; publishes and stores its readouts.

    All methods may be called from any thread.

    Args:
        settings: what the site configures.
        on_second: called with a summary of each second, in a thread of the stream; must not block.
        on_finished, on_settled: called with each complete file, see :class:`.SSFileWriter` and
            :mod:`.registration`.
        on_readouts: called with the readouts that are published, by one thread at a time; must
            neither wait nor raise, nor change them.
        opened: publishers to be used besides those of the settings; closed with the stream.
        report: gets lines for the log, from any thread.
        context: of ZMQ; the process's own if omitted.

    Raises:
        ConfigError: a setting is wrong; the message names it.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        on_second: Callable[[Second], object] = lambda second: None,
        on_finished: Tell = lambda completed: None,
        on_settled: Tell = lambda completed: None,
        on_readouts: Callable[[Readouts], object] | None = None,
        opened: Sequence[Publisher] = (),
        report: Callable[[str], None] = lambda text: None,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        self.settings = settings
        self.counters = Counters(UDP, SLOW_SIGNAL, SLOW_SIGNAL_STREAM, SLOW_SIGNAL_FILES)
        self._on_second, self._report = on_second, report
        self._on_readouts = on_readouts
        self._tell = {"on_finished": on_finished, "on_settled": on_settled}
        self._problems = Problems(report)
        # Held while readouts are put together and given on, by one thread at a time.
        self._turn = threading.Lock()
        self._assembler = Assembler(settings.assembler)
        self._sample = Sample()
        self._writers: list[SSFileWriter] = []  # the last one is that in use, if `_writes`
        self._writes = False
        self._changing_writer = threading.Lock()
        self._told: dict[str, int] = {}
        self._since = time.monotonic()
        self._last: Second | None = None
        self._started = False
        self._stopping = threading.Event()
        self._clock = threading.Thread(target=self._run, name="slow-signal-clock", daemon=True)
        self.receiver = UdpReceiver(
            settings.listen_ip,
            settings.listen_port,
            self._take_in,
            allow=settings.allow,
            max_datagram=MAX_DATAGRAM,
            receive_buffer=settings.receive_buffer,
            batch=BATCH,
            gather=GATHER,
            on_problem=report,
            counters=self.counters,
        )
        try:
            self.receiver.open()
        except ConfigError as error:
            raise ConfigError(f"cannot listen (listen_ip, listen_port, allow): {error}") from error
        try:
            self.publishers = Publishers(settings.publishers, context, opened)
        except BaseException:
            self.receiver.stop()
            raise
        self._packet_log: PacketLog | None = None
        try:
            if settings.packet_debug_stream_file:
                self._packet_log = PacketLog(Path(settings.packet_debug_stream_file))
            if settings.writer is not None:
                self._writers.append(self._new_writer(settings.writer))
                self._writes = True
        except BaseException:
            self.receiver.stop()
            self.publishers.close()
            if self._packet_log is not None:
                self._packet_log.close()
            raise

    def start(self) -> None:
        """Start all threads, the last first, so that whatever is received has a place to go."""
        self._started = True
        for writer in self._writers:
            writer.start()
        self._clock.start()
        self.receiver.start()

    def stop(self, timeout: float = 10.0) -> dict[str, int]:
        """Take what the kernel holds, give on every readout as it is, complete the file at hand.

        Args:
            timeout: for each, the receiver and the file writer [s]. What the writer does not get
                done, the next start does.

        Returns:
            The last :meth:`numbers`.
        """
        self.receiver.stop(timeout)
        if self._packet_log is not None:
            self._packet_log.close()
        self._stopping.set()
        if self._clock.is_alive():
            self._clock.join(timeout)
        with self._turn:
            self._give_on(self._assembler.flush())
        with self._changing_writer:
            for writer in self._writers:
                writer.close(timeout)
        self._tell_second(time.monotonic())
        with self._turn:
            self.publishers.close()
        return self.numbers()

    # -- what an operator does ------------------------------------------------------------------

    def reset_readout_count(self) -> None:
        """The next readout is number 1, and begins a new file."""
        with self._turn:
            self._assembler.reset_readout_count()

    def set_publishing(self, wanted: bool) -> None:
        """Publish readouts, or only count and store them."""
        with self._turn:
            self.publishers.enabled = wanted

    def new_file(self) -> bool:
        """Begin a new file with the next readout; False if no files are written."""
        with self._turn:
            if self._writes:
                self._writers[-1].new_file()
            return self._writes

    def set_writer(self, settings: WriterSettings | None, timeout: float = 10.0) -> None:
        """Write other files from here on, or none. No readout is lost between the two.

        Args:
            settings: of the files; None for none.
            timeout: to wait for the files until now to be completed [s]; after it that goes on.

        Raises:
            ConfigError: a setting is wrong; all is as it was.
        """
        with self._changing_writer:
            writer = None if settings is None else self._new_writer(settings)
            with self._turn:
                former = self._writers[-1] if self._writes else None
                self._writes = writer is not None
                if writer is not None:
                    self._writers.append(writer)  # what is written waits in its queue
            if former is not None:
                former.close(timeout)
            if writer is not None and self._started and not self._stopping.is_set():
                writer.start()
            with self._turn:
                self._writers = [each for each in self._writers if each is writer or each.alive]

    def _new_writer(self, settings: WriterSettings) -> SSFileWriter:
        return settings.writer(counters=self.counters, report=self._report, **self._tell)

    # -- the way of the data --------------------------------------------------------------------

    def _take_in(self, batch: Batch) -> None:
        """In the receiver's thread: everything up to publishing."""
        packets = decode(batch, relaxed=self.settings.relaxed_ip_range)
        self.counters.add_all(packets.totals())
        if packets.refused:
            self._report_refused(batch, packets)
        if self._packet_log is not None:
            self._packet_log.put(packets)
        with self._turn:
            self._give_on(self._assembler.feed(packets, time.monotonic()))

    def _report_refused(self, batch: Batch, packets: Packets) -> None:
        for cause, row in packets.examples.items():
            size, sender = batch.sizes[row], batch.sender(row)
            text = f"refused a packet of {size} bytes from {sender}: {cause}"
            self._problems.report(cause, text, time.monotonic())

    def _give_on(self, readouts: Readouts) -> None:
        """Publish and store ``readouts`` (n,). Call with the turn."""
        if not len(readouts):
            return
        try:
            self.publishers.publish(readouts)
        except zmq.ZMQError as error:
            self.counters.add("publish_errors", len(readouts))
            self._problems.report("publish", f"cannot publish: {error}", time.monotonic())
        if self._on_readouts is not None and self.publishers.enabled:
            self._on_readouts(readouts)
        if self._writes:
            self._writers[-1].write(readouts)
        else:
            self.counters.add("readouts_unstored", len(readouts))
        self._sample.add(readouts)

    # -- the clock ------------------------------------------------------------------------------

    def _run(self) -> None:
        told = due = resume = time.monotonic()
        while not self._stopping.wait(TICK):
            now = time.monotonic()
            if now > due + LATE:  # all of us were held up, and packets wait in the kernel
                resume = now + LATE
            if now >= resume:
                with self._turn:
                    self._give_on(self._assembler.tick(now))
            due = now + TICK
            if now >= told + SECOND:
                told = max(told + SECOND, now - SECOND)  # once a second on average
                self._tell_second(now)

    def _tell_second(self, now: float) -> None:
        try:
            self._last = self._sum_up(now)
            self._on_second(self._last)
        except Exception as error:
            self.counters.add("seconds_untold")
            if self._problems.report("second", f"a summary failed: {error!r}", now):
                log.exception("a summary of a second failed")

    def _sum_up(self, now: float) -> Second:
        """What was there since this was called last."""
        with self._turn:
            sample, self._sample = self._sample, Sample()
        numbers = self.numbers()
        before, self._told = self._told, numbers
        counted = self.counters.snapshot()
        changes = {name: numbers[name] - before.get(name, 0) for name in counted}
        since, self._since = self._since, now
        return Second(
            time=time.time(),
            duration=now - since,
            readouts=changes["readouts_out"],
            complete=changes["readouts_complete"],
            amplitudes=sample.amplitudes(),
            preview=sample.preview(),
            changes={name: change for name, change in changes.items() if change > 0},
        )

    # -- what an operator sees ------------------------------------------------------------------

    def numbers(self) -> dict[str, int]:
        """All counters and gauges by name (:mod:`socs.counters`)."""
        self.receiver.stats()  # brings the kernel's drops up to date
        with self._turn:
            writers = [writer.status() for writer in self._writers]
            return {
                **self.counters.snapshot(),
                **self._assembler.totals(),
                **self.publishers.numbers(),
                "readouts_queued": sum(w["queued_bytes"] for w in writers) // READOUT.itemsize,
                "readouts_unflushed": sum(w["waiting"] for w in writers),
            }

    def troubles(self) -> list[str]:
        """Why this stream is degraded; empty when all is well."""
        with self._turn:
            found = list(self._assembler.troubles().values())
            writers = list(self._writers)
        for writer in writers:
            found += writer.troubles()
        if self._started and not self._stopping.is_set():
            parts = {"receiver": self.receiver.alive, "clock": self._clock.is_alive()}
            found += [f"the {name} has stopped by itself" for name in parts if not parts[name]]
        return found

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see, fit for session data (JSON)."""
        numbers = self.numbers()
        with self._turn:
            modules = self._assembler.modules()
            writer = self._writers[-1].status() if self._writes else None
        return {
            "counters": numbers,
            "unaccounted": imbalances(numbers, EQUATIONS),
            "troubles": self.troubles(),
            "listening": {
                "address": f"{self.receiver.address}:{self.receiver.port}",
                "method": self.receiver.method,
                "receive_buffer_bytes": self.receiver.receive_buffer_granted,
            },
            "publishing": self.publishers.enabled,
            "publishers": self.publishers.status(),
            "writer": writer,
            "packet_log": self._packet_log.status() if self._packet_log else None,
            "modules": modules,
            "rate": self._last.rate if self._last else 0.0,
        }
