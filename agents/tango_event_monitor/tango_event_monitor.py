"""TangoEventMonitor: who published Tango events, who received them, and who lost some.

The work is done in :mod:`socs.tango`; this file wires it to OCS.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ocs import ocs_agent
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread

from socs.agent import Reply, end_soon, line_logger, reply_of, run_agent, show_status
from socs.db.engine import Database
from socs.errors import ConfigError, OurError, StorageUnavailable
from socs.tango.events import Event
from socs.tango.feeds import TangoFeeds
from socs.tango.monitor import EventMonitor, View
from socs.tango.options import add_options, monitor_settings
from socs.tango.poll_log import PollLog

NOT_MONITORING = "Not monitoring: start the process monitor first"


def _are_names(names: list[Any]) -> bool:
    return bool(names) and all(isinstance(name, str) for name in names)


class TangoEventMonitor:
    """Asks device servers what they published and received, and tells who lost what.

    Args:
        agent: the OCS agent.
        args: parsed options, see :func:`make_parser`.

    Raises:
        ConfigError: an option or an environment variable is wrong; the message names it.
    """

    def __init__(self, agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> None:
        self.agent = agent
        self.log = agent.log
        self._report = line_logger(agent.log)
        self._poll_log = PollLog(lambda text: self.log.warn("{text}", text=text))
        self.settings = monitor_settings(args)
        self.database = Database()
        self.feeds = TangoFeeds(agent, args.feed_names)
        self._closing = False
        self.events: EventMonitor | None = None

    def _start(self) -> None:
        self.events = EventMonitor(
            self.settings,
            self.database,
            on_told=self._on_told,
            on_poll=self._on_poll,
            report=self._report,
        )
        self.events.start()

    def _on_told(self, told: Sequence[Event], offset: float) -> None:
        """In the poller's thread."""
        reactor.callFromThread(self._tell, told, offset)

    def _tell(self, told: Sequence[Event], offset: float) -> None:
        self._poll_log.take(told)
        if self.events is not None:
            self.feeds.tell(told, offset, self.events.counters)

    def _on_poll(self, view: View, numbers: Mapping[str, int]) -> None:
        """In the poller's thread."""
        reactor.callFromThread(self._poll_over, view, numbers, time.time())

    def _poll_over(self, view: View, numbers: Mapping[str, int], now: float) -> None:
        self._poll_log.poll_over()
        if not self.feeds.update(view, numbers, now) and self.events is not None:
            self.events.counters.add("polls_unpublished")

    # -- operations -----------------------------------------------------------------------------

    @ocs_agent.param("_")
    @inlineCallbacks
    def monitor(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Any:
        """monitor()

        **Process** - Polls device servers, and tells what becomes of their events. Started with
        the agent.

        Notes:
            The session data hold every counter by name (see the counters reference), a row for
            each server, stream, and subscriber of a stream, and why anything is held up::

                >>> response.session['data']
                {'timestamp': 1700000000.0,
                 'counters': {'events_published': 51500, 'events_lost': 12, ...},
                 'unaccounted': {},
                 'troubles': [],
                 'names': ['dserver/*'],
                 'servers': [{'server': 'tango://host:10000/dserver/pub/1', 'state': 'up', ...}],
                 'streams': [{'stream': 'tango://host:10000/lab/pub/1/val.change',
                              'rate': 10.0, 'published': 51500, ...}],
                 'reconciliation': [{'stream': 'tango://host:10000/lab/pub/1/val.change',
                                     'subscriber': 'tango://host:10000/dserver/sub/1',
                                     'status': 'level', 'received': 51488, 'lost': 12, ...}],
                 'performance': [],
                 'events': [{'kind': 'lost', 'text': 'subscriber ... lost 12 of ...', ...}],
                 'rows_left_out': {'streams': 0, 'reconciliation': 0, 'performance': 0},
                 'polling': {'polls': 100, 'last_poll': {'spread': 0.004, ...}, ...},
                 'writer': None}

            The session is *degraded* while ``troubles`` is not empty.

        """
        try:
            yield deferToThread(self._start)
        except OurError as error:
            return False, str(error)
        try:
            yield show_status(
                session,
                lambda: {**self.events.status(), "fieldless_names": self.feeds.names_refused},
                self.settings.spool_dir,
            )
        finally:  # nothing polls beside a second run
            yield self.close()
        return True, "Stopped monitoring"

    @inlineCallbacks
    def close(self) -> Any:
        """Stop monitoring; servers measure no times for us afterwards."""
        if self.events is not None and not self._closing:
            self._closing = True
            try:
                yield deferToThread(self.events.stop)
            except StorageUnavailable as error:
                self._report(f"at the end: {error}")
            finally:
                self.events, self._closing = None, False

    @ocs_agent.param("timeout", default=10.0, type=float, check=lambda seconds: seconds > 0)
    def query(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """query(timeout=10)

        **Task** - Polls all servers now.

        Parameters:
            timeout (float): Give up after so many seconds.

        Notes:
            The tables after that poll are in the session data::

                >>> response.session['data']
                {'servers': [...], 'streams': [...], 'reconciliation': [...], 'performance': []}

        """
        events = self.events
        if events is None:
            return False, NOT_MONITORING
        view = events.poll_now(params["timeout"])
        if view is None:
            return False, f"No poll was complete after {params['timeout']:g} s"
        session.data = {"timestamp": time.time(), **view}
        up = sum(row["state"] == "up" for row in view["servers"])
        return True, f"{up} of {len(view['servers'])} servers answered"

    @ocs_agent.param("_")
    def start_perf_mon(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """start_perf_mon()

        **Task** - Has servers measure times of pushes and callbacks, until ``stop_perf_mon`` or
        the end of this agent.

        """
        return self._switch(True)

    @ocs_agent.param("_")
    def stop_perf_mon(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """stop_perf_mon()

        **Task** - Has servers measure no times any more.

        """
        return self._switch(False)

    def _switch(self, on: bool) -> Reply:
        def switch(events: EventMonitor) -> str:
            events.set_performance(on)
            return f"Performance monitoring is being switched {'on' if on else 'off'}"

        return self._act(switch)

    @ocs_agent.param("names", type=list, check=_are_names)
    def add_devices(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """add_devices(names)

        **Task** - Monitors more servers, until the agent is started anew.

        Parameters:
            names (list): Devices, device servers, or patterns, as for ``--device``.

        """
        return self._act(lambda events: _told(events.add_names(params["names"])))

    @ocs_agent.param("names", type=list, check=_are_names)
    def remove_devices(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """remove_devices(names)

        **Task** - Monitors fewer servers, until the agent is started anew.

        Parameters:
            names (list): As they stand in ``names`` of the session data of ``monitor``.

        """
        return self._act(lambda events: _told(events.remove_names(params["names"])))

    @ocs_agent.param("_")
    def rotate_output(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """rotate_output()

        **Task** - Completes the file at hand, and registers it; the next line begins another.

        """

        def rotate(events: EventMonitor) -> str:
            if not events.rotate():
                raise ConfigError("No files are written: see --folder")
            return "The next line begins a new file"

        return self._act(rotate)

    def _act(self, act: Callable[[EventMonitor], str]) -> Reply:
        """Result of a Task that lets ``act`` do something with the monitor."""
        return reply_of(self.events, act, NOT_MONITORING)


def _told(names: Sequence[str]) -> str:
    return f"Monitoring {', '.join(names) or 'nothing'}"


def make_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of this agent, added to ``parser``."""
    parser = parser or argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    return parser


def build(agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> list[Any]:
    """Register the operations; returns what to call when the agent ends."""
    events = TangoEventMonitor(agent, args)
    agent.register_process("monitor", events.monitor, end_soon, blocking=False, startup=True)
    agent.register_task("query", events.query)
    agent.register_task("start_perf_mon", events.start_perf_mon)
    agent.register_task("stop_perf_mon", events.stop_perf_mon)
    agent.register_task("add_devices", events.add_devices)
    agent.register_task("remove_devices", events.remove_devices)
    agent.register_task("rotate_output", events.rotate_output)
    return [events.close]


def main(args: list[str] | None = None) -> None:
    """Run the agent."""
    run_agent("TangoEventMonitor", make_parser, build, args)


if __name__ == "__main__":
    main()
