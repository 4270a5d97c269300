"""``SSReadoutAssembler`` and ``ZMQReadoutPublisher`` of SSDAQ, over :class:`.SlowSignalStream`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from socs.closing import Closing
from socs.errors import ConfigError
from socs.slow_signal.publish import Publisher, PublisherSettings
from socs.slow_signal.readout import DEFAULT_MESSAGE, SSReadout
from socs.slow_signal.settings import StreamSettings
from socs.slow_signal.ssdaq.control import ControlSocket, commands_of, control_path
from socs.slow_signal.ssdaq.outlet import CustomPublisher, Outlet
from socs.slow_signal.stream import SlowSignalStream

log = logging.getLogger("ssdaq")


class ZMQReadoutPublisher(Publisher):
    """Publishes readouts on a TCP port, for an assembler or for a program of one's own.

    Args:
        ip, port: where; see ``mode``.
        name: unique among the publishers of an assembler; with the port by default.
        logger: gets a line that tells where.
        mode: ``local``, ``outbound`` or ``remote``, see :class:`.PublisherSettings`.
        layout, high_water_mark: see there, too.

    Raises:
        ConfigError: an argument is wrong, or the address cannot be used.
    """

    def __init__(
        self,
        ip: str,
        port: int,
        name: str = "",
        logger: logging.Logger | None = None,
        mode: str = "local",
        *,
        layout: str = DEFAULT_MESSAGE,
        high_water_mark: int = PublisherSettings.high_water_mark,
    ) -> None:
        name = name or f"ZMQReadoutPublisher:{ip}:{port}"
        super().__init__(PublisherSettings(name, ip, int(port), mode, layout, high_water_mark))
        self.log = logger.getChild(name) if logger else log.getChild(name)
        self.log.info("publishes readouts at %s (%s)", self.endpoint, mode)

    def publish(self, readout: SSReadout) -> None:
        """Publish one readout; never waits. For one thread, and not while an assembler has it."""
        self.send([memoryview(readout.pack(self.settings.layout))])


class ReadoutAssembler(Closing):
    """A stream with what SSDAQ has beside it: custom publishers, and a control socket.

    Args:
        settings: of the stream.
        publishers: more of them: opened :class:`~socs.slow_signal.publish.Publisher`, or any
            objects with ``publish(readout)``, which are called in threads of their own
            (:class:`.Outlet`). They are closed with this, if they have ``close``.
        control: file of the control socket (:mod:`.control`); None for none.
        report: gets lines for the log, from any thread.

    Attributes:
        stream: what does the work.

    Raises:
        ConfigError: a setting is wrong, or an address is in use; the message names it.
    """

    def __init__(
        self,
        settings: StreamSettings,
        publishers: Sequence[Publisher | CustomPublisher] = (),
        *,
        control: Path | None = None,
        report: Callable[[str], None] = log.warning,
    ) -> None:
        for each in publishers:
            if not callable(getattr(each, "publish", None)):
                raise ConfigError(f"publishers: {each!r} has no method publish(readout)")
        self.publishers = list(publishers)
        self._control_at, self._report = control, report
        self._control: ControlSocket | None = None
        self._ended = threading.Event()
        self._outlets = [Outlet(p) for p in publishers if not isinstance(p, Publisher)]
        try:
            self.stream = SlowSignalStream(
                settings,
                opened=[p for p in publishers if isinstance(p, Publisher)],
                on_readouts=self._give_out if self._outlets else None,
                report=report,
            )
        except BaseException:
            self._close_rest()
            raise

    def _give_out(self, readouts: Any) -> None:
        for outlet in self._outlets:
            outlet.put(readouts)

    def start(self) -> None:
        """Start; returns at once.

        Raises:
            ConfigError: the control socket cannot be made.
        """
        if self._control_at:
            commands = commands_of(self.stream, self.status)
            self._control = ControlSocket(commands, self._control_at, self._report)
        for outlet in self._outlets:
            outlet.start()
        self.stream.start()

    def run(self) -> None:
        """Start, and wait until :meth:`close` is called elsewhere, or for Ctrl-C.

        Raises:
            ConfigError: the control socket cannot be made.
        """
        self.start()
        try:
            self._ended.wait()
        except KeyboardInterrupt:
            self.close()

    def close(self) -> None:
        """Give out every readout as it is, and end."""
        if self._ended.is_set():
            return
        if self._control is not None:
            self._control.close()
        self.stream.stop()
        self._close_rest()
        self._ended.set()

    def _close_rest(self) -> None:
        for outlet in self._outlets:
            outlet.close()
        for publisher in self.publishers:
            try:
                getattr(publisher, "close", lambda: None)()
            except Exception as error:  # of a publisher that is not ours
                self._report(f"closing {publisher!r}: {type(error).__name__}: {error}")
                log.debug("traceback of the publisher", exc_info=True)

    def status(self) -> dict[str, Any]:
        """What :meth:`.SlowSignalStream.status` has, and the custom publishers; fit for JSON."""
        found = self.stream.status()
        found["custom_publishers"] = [outlet.status() for outlet in self._outlets]
        return found


class SSReadoutAssembler(ReadoutAssembler):
    """Receives packets of the modules, and publishes the camera's readouts; as SSDAQ has it.

    Args:
        relaxed_ip_range, readout_tw, listen_ip, listen_port, buffer_length, buffer_time,
            packet_debug_stream_file: see :class:`.StreamSettings`; the defaults are those of this
            class in SSDAQ.
        publishers: :class:`ZMQReadoutPublisher`, or others, see :class:`ReadoutAssembler`.
        control: file of the control socket, by default that of all commands; None for none.
        report: gets lines for the log, from any thread.
        more: other fields of :class:`.StreamSettings`, such as ``flush_time``.

    Raises:
        ConfigError: a setting is wrong, or an address is in use; the message names it.
    """

    def __init__(  # noqa: PLR0917  in the order of SSDAQ
        self,
        relaxed_ip_range: bool = False,
        readout_tw: float = 1e5,
        listen_ip: str = "0.0.0.0",  # noqa: S104  as in SSDAQ
        listen_port: int = 2009,
        buffer_length: int = 1000,
        buffer_time: float = 1e10,
        publishers: Sequence[Publisher | CustomPublisher] = (),
        packet_debug_stream_file: str | None = None,
        *,
        control: Path | str | None = "",
        report: Callable[[str], None] = log.warning,
        **more: Any,
    ) -> None:
        settings = StreamSettings(
            listen_ip=listen_ip,
            listen_port=listen_port,
            relaxed_ip_range=relaxed_ip_range,
            readout_tw=readout_tw,
            buffer_time=buffer_time,
            buffer_length=buffer_length,
            packet_debug_stream_file=packet_debug_stream_file,
            **more,
        )
        super().__init__(
            settings,
            publishers,
            control=control_path() if control == "" else Path(control) if control else None,
            report=report,
        )
