"""PVMonitor: the state of every process variable, IOC application and host.

The work is done in :mod:`socs.epics`; this file wires it to OCS.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from ocs import OK, ocs_agent
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread

from socs.agent import end_soon, line_logger, run_agent, show_status, sleep
from socs.db.engine import Database
from socs.epics.knowledge.wishes import Wish
from socs.epics.monitor.feeds import MonitorFeeds
from socs.epics.monitor.gateway_calls import GatewayCalls
from socs.epics.monitor.monitor import PvMonitor
from socs.epics.monitor.options import add_options, monitor_settings
from socs.epics.monitor.pv_values import PvValues
from socs.epics.monitor.tasks import TASKS, MonitorTasks
from socs.epics.track.events import Event
from socs.errors import OurError

CALL_TIMEOUT = 30.0  # s for a Task of a gateway


class PVMonitor(MonitorTasks):
    """Knows what gateways tell, and answers questions about it.

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
        self._root = args.address_root
        self.settings = monitor_settings(args)
        self.database = Database()
        self.feeds = MonitorFeeds(agent, reactor.callLater)
        self.values = PvValues(self._report)
        self._closing = False
        self._calls: GatewayCalls | None = None
        self.pvs: PvMonitor | None = None
        for gateway in self.settings.gateways:
            topic = f"{self._root}.{gateway}.feeds.traffic"
            agent.subscribe_on_start(partial(self._on_traffic, gateway), topic)

    def _start(self) -> None:
        self.pvs = pvs = PvMonitor(
            self.settings,
            self.database,
            on_events=partial(reactor.callFromThread, self._on_events),
            on_wishes=partial(reactor.callFromThread, self._on_wishes),
            report=self._report,
        )
        self._calls = GatewayCalls(self._call, pvs.counters, self._on_refused, self._report)
        pvs.start()

    # -- feeds and gateways ---------------------------------------------------------------------

    def _on_traffic(self, gateway: str, /, *published: Any, **named: Any) -> None:
        """A gateway's feed: a pair of the message and the feed, unless somebody else publishes."""
        if self.pvs is not None:
            pair = published[0] if published else None
            message = pair[0] if isinstance(pair, list | tuple) and pair else pair
            self.pvs.put(gateway, message, time.time())

    def _on_events(self, events: Sequence[Event]) -> None:
        if self.pvs is not None:
            self.feeds.tell(events, self.pvs.counters)

    def _on_wishes(self, wishes: Sequence[Wish]) -> None:
        if self._calls is not None:
            self._calls.wish(wishes)

    def _on_refused(self, wish: Wish) -> None:
        pvs = self.pvs
        if pvs is not None:
            reactor.callInThread(pvs.refused, wish)

    @inlineCallbacks
    def _call(self, gateway: str, task: str, params: dict[str, Any]) -> Any:
        """Call a Task of a gateway: did it succeed, and what did it say."""
        yield sleep(0)  # so that a call that fails at once does not begin the next within itself
        call = partial(self.agent.call_op, f"{self._root}.{gateway}", task)
        for action in ("start", "wait"):
            made = call(action, params=params if action == "start" else None)
            reply = yield made.addTimeout(CALL_TIMEOUT, reactor)
            if not reply:
                return False, "it is not there"
            if reply[0] != OK:
                return False, str(reply[1])
        messages = [said for _, said in reply[2].get("messages", [])]
        return bool(reply[2].get("success")), messages[-2] if len(messages) > 1 else ""

    # -- the process ----------------------------------------------------------------------------

    @ocs_agent.param("_")
    @inlineCallbacks
    def monitor(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Any:
        """monitor()

        **Process** - Takes what gateways tell, knows the state of everything, and tells what
        happens. Started with the agent.

        Notes:
            The session data hold every counter by name (see the counters reference), the gateways,
            totals and rates, and why anything is held up::

                >>> response.session['data']
                {'timestamp': 1700000000.0,
                 'ready': True,
                 'gateways': [{'gateway': 'pv-gateway-1', 'state': 'LIVE', 'blind_since': None,
                               'summaries_missed': 0, 'clock_offset': -0.002, ...}],
                 'measures': {'pvs': 51500, 'pvs_online': 51000, 'pvs_lost': 12,
                              'requests_client_rate': 1200.0, ...},
                 'polling': {'enabled': False, 'running': False, 'rounds': 0, ...},
                 'snapshots': {'folder': '/data/epics', 'last': 1700000000.0, 'kept': 5, ...},
                 'counters': {'summaries_taken': 3600, 'ioc_events_stored': 120, ...},
                 'unaccounted': {},
                 'events_database': {'where': 'MariaDB ...', 'problem': None},
                 'database': {...},
                 'troubles': []}

            The session is *degraded* while ``troubles`` is not empty.

        """
        try:
            yield deferToThread(self._start)
        except OurError as error:
            return False, str(error)

        pvs, calls = self.pvs, self._calls

        def status() -> dict[str, Any]:
            found = pvs.status()
            return {**found, "troubles": found["troubles"] + calls.troubles()}

        def then(found: dict[str, Any]) -> None:
            if "measures" in found:
                self.feeds.update(found["measures"], found["counters"], time.time())

        try:
            yield show_status(session, status, self.settings.store.data_dir, then)
        finally:  # nothing monitors beside a second run
            yield self.close()
        return True, "Stopped monitoring"

    @inlineCallbacks
    def close(self) -> Any:
        """Stop monitoring; all that is known goes into a snapshot."""
        if self.pvs is None or self._closing:
            return
        self._closing = True
        self._calls.end()
        try:
            yield deferToThread(self._close_parts, self.pvs)
        except OurError as error:
            self._report(f"at the end: {error}")
        finally:
            self.pvs, self._closing = None, False

    def _close_parts(self, pvs: PvMonitor) -> None:
        self.values.close()
        pvs.close()


def make_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of this agent, added to ``parser``."""
    parser = parser or argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    return parser


def build(agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> list[Any]:
    """Register the operations; returns what to call when the agent ends."""
    monitor = PVMonitor(agent, args)
    agent.register_process("monitor", monitor.monitor, end_soon, blocking=False, startup=True)
    for task in TASKS:
        agent.register_task(task, getattr(monitor, task))
    return [monitor.close]


def main(args: list[str] | None = None) -> None:
    """Run the agent."""
    run_agent("PVMonitor", make_parser, build, args)


if __name__ == "__main__":
    main()
