"""PVGateway: what is said on a network of EPICS, in summaries for monitors.

The work is done in :mod:`socs.epics`; this file wires it to OCS.
"""

from __future__ import annotations

import argparse
import ipaddress
import time
from collections.abc import Callable
from typing import Any

from ocs import ocs_agent
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread

from socs.agent import Reply, end_soon, line_logger, reply_of, run_agent, show_status
from socs.epics.gateway.feeds import LAST_WAIT, GatewayFeeds
from socs.epics.gateway.gateway import Gateway
from socs.epics.gateway.options import add_options, gateway_settings
from socs.epics.ports import HIGHEST_PORT
from socs.epics.search.searcher import Priority
from socs.epics.summary import Summary
from socs.errors import OurError

NOT_LISTENING = "Not listening: start the process listen first"
PRIORITIES = {priority.name.lower(): priority for priority in Priority}
HIGHEST_NUMBER = (1 << 63) - 1


def _are_names(names: list[Any]) -> bool:
    return bool(names) and all(isinstance(name, str) for name in names)


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(host))
    except ValueError:
        return False


class PVGateway:
    """Hears searches, answers, beacons and heartbeats, and tells monitors of them.

    Args:
        agent: the OCS agent.
        args: parsed options, see :func:`make_parser`.

    Raises:
        ConfigError: an option is wrong; the message names it.
    """

    def __init__(self, agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> None:
        self.agent = agent
        self.log = agent.log
        self._report = line_logger(agent.log)
        self.settings = gateway_settings(args)
        self.feeds = GatewayFeeds(agent)
        self.gateway: Gateway | None = None

    def _start(self) -> Gateway:
        patient = self.settings.source is not None and self.settings.speed == 0

        def offer(summary: Summary) -> None:
            self.feeds.offer(summary, gateway.under_way, patient=patient)

        gateway = Gateway(self.settings, offer, self._report)
        gateway.start()
        self.feeds.begin()
        self.gateway = gateway
        return gateway

    # -- operations -----------------------------------------------------------------------------

    @ocs_agent.param("_")
    @inlineCallbacks
    def listen(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Any:
        """listen()

        **Process** - Hears the traffic, and publishes a summary of it on the feed ``traffic``
        each ``--interval``. Started with the agent; ends by itself when a file is at its end.

        Notes:
            The session data tell how it listens and why, and hold every counter by name (see the
            counters reference)::

                >>> response.session['data']
                {'timestamp': 1700000000.0,
                 'gateway': 'pv-gateway-1',
                 'boot': '0123456789abcdef',
                 'networks': ['10.0.1.0/24'],
                 'source': {'way': 'sockets',
                            'ports': {'ca': 5064, 'pva': 5076, ...},
                            'reason': 'opens sockets, as it cannot capture (...)',
                            'left_out': {'beacons': 'a repeater has port 5065: ...'},
                            'warnings': ['answers of servers are not seen; for those, capture']},
                 'summaries': 1200,
                 'epoch': 1,
                 'searching': {'enabled': False, 'addresses': [], 'waiting': {}},
                 'asking': {'enabled': False, 'waiting': 0},
                 'counters': {'datagrams_received': 51500, 'kernel_drops': 0, ...},
                 'unaccounted': {},
                 'troubles': []}

            With a file, ``source`` is ``{'file': ..., 'speed': 1.0, 'at': 1600000000.0, 'ended':
            False, 'problem': ''}``. The session is *degraded* while ``troubles`` is not empty.

        """
        try:
            gateway = yield deferToThread(self._start)
        except OurError as error:
            return False, str(error)

        def then(status: dict[str, Any]) -> None:
            self.feeds.update(status["counters"], time.time())
            if gateway.finished and session.status == "running":
                session.set_status("stopping")  # the file is at its end

        try:
            yield show_status(session, gateway.status, "the network", then)
        finally:  # nobody listens beside a second run
            ended = gateway.finished
            yield self.close()
        status = yield deferToThread(gateway.status)  # with what became of the last summaries
        session.data = {"timestamp": time.time(), **status}
        session.degraded = bool(status["troubles"])
        self.feeds.update(status["counters"], time.time())
        return True, f"{self.settings.source} is at its end" if ended else "Stopped listening"

    @inlineCallbacks
    def close(self) -> Any:
        """Stop listening; the last summary says so, and the router may acknowledge it."""
        gateway = self.gateway
        if gateway is not None:
            yield deferToThread(gateway.stop)
            yield deferToThread(gateway.under_way.finish, LAST_WAIT)
            if self.gateway is gateway:
                self.gateway = None

    @ocs_agent.param("names", type=list, check=_are_names)
    @ocs_agent.param("priority", default="poll", choices=list(PRIORITIES))
    def search(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """search(names, priority='poll')

        **Task** - Searches for names on the network, by Channel Access and PV Access. Servers that
        answer are told in summaries, and names that none has. Refused unless ``--search`` is true.

        Parameters:
            names (list): Names of process variables.
            priority (str): ``page`` goes first (somebody looks at it), then ``beacon`` (their
                server changed), then ``poll``.

        Notes:
            How many are searched for now that were not before is in the session data::

                >>> response.session['data']
                {'timestamp': 1700000000.0, 'asked': 3}

        """

        def search(gateway: Gateway) -> str:
            asked = gateway.search(params["names"], PRIORITIES[params["priority"]])
            session.data = {"timestamp": time.time(), "asked": asked}
            return f"Searching for {asked} more names"

        return self._act(search)

    @ocs_agent.param("what", choices=["names", "lines"])
    @ocs_agent.param("host", type=str, check=_is_address)
    @ocs_agent.param("port", type=int, check=lambda port: 0 < port <= HIGHEST_PORT)
    @ocs_agent.param("sequence", type=int, check=lambda number: 0 <= number <= HIGHEST_NUMBER)
    @ocs_agent.param("server", default=0, type=int, check=lambda port: 0 <= port <= HIGHEST_PORT)
    def ask(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """ask(what, host, port, sequence, server=0)

        **Task** - Asks an application that sends heartbeats. What it answers is told in a summary.
        Refused unless ``--ask`` is true.

        Parameters:
            what (str): ``names`` that it serves, or ``lines`` that describe the sockets and
                processes of its host.
            host (str): Its IPv4 address.
            port (int): UDP port from which its heartbeats come.
            sequence (int): Number of its last heartbeat.
            server (int): TCP port of its server.

        """

        def ask(gateway: Gateway) -> str:
            host = int(ipaddress.IPv4Address(params["host"]))
            numbers = (params["port"], params["sequence"], params["server"])
            asked = gateway.ask(params["what"], host, *numbers)
            session.data = {"timestamp": time.time(), "asked": asked}
            return "It is being asked" if asked else "Not asked now: see the counters"

        return self._act(ask)

    @ocs_agent.param("_")
    def resync(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """resync()

        **Task** - Tells all names anew, as a monitor asks for that has missed a summary.

        """

        def resync(gateway: Gateway) -> str:
            gateway.resync()
            return "Names are told anew"

        return self._act(resync)

    def _act(self, act: Callable[[Gateway], str]) -> Reply:
        """Result of a Task that lets ``act`` do something with the gateway."""
        return reply_of(self.gateway, act, NOT_LISTENING)


def make_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of this agent, added to ``parser``."""
    parser = parser or argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    return parser


def build(agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> list[Any]:
    """Register the operations; returns what to call when the agent ends."""
    gateway = PVGateway(agent, args)
    agent.register_process("listen", gateway.listen, end_soon, blocking=False, startup=True)
    agent.register_task("search", gateway.search)
    agent.register_task("ask", gateway.ask)
    agent.register_task("resync", gateway.resync)
    return [gateway.close]


def main(args: list[str] | None = None) -> None:
    """Run the agent."""
    run_agent("PVGateway", make_parser, build, args)


if __name__ == "__main__":
    main()
