"""Hearing the feed of events of a PV monitor, until a signal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from socs.cli.epics_monitor import SiteOfMonitor
from socs.epics.feeds import EVENTS_FEED
from socs.epics.rows import Row

AWAY = "the router is away; events until it is back are told by `socs epics events`"


def follow(site: SiteOfMonitor, show: Callable[[Row], object]) -> None:
    """Call ``show`` for each event until SIGINT or SIGTERM; over breaks of the connection.

    Raises:
        BrokenPipeError: of ``show``: nobody reads any more.
    """
    # Loading them takes half a second, which commands that hear no feed do not need.
    from autobahn.twisted.wamp import ApplicationRunner, ApplicationSession  # noqa: PLC0415
    from twisted.internet import reactor as _reactor  # noqa: PLC0415

    reactor: Any = _reactor
    failures: list[Exception] = []

    def heard(message: Any) -> None:
        try:
            show(message[0])  # what was published, and the feed
        except Exception as error:  # noqa: BLE001  given to the caller
            failures.append(error)
            if reactor.running:
                reactor.stop()

    class Subscriber(ApplicationSession):
        """Subscribes, each time that it has joined."""

        async def onJoin(self, details: Any) -> None:
            await self.subscribe(heard, f"{site.address}.feeds.{EVENTS_FEED}")

        def onLeave(self, details: Any) -> None:
            print(f"socs: {AWAY}", file=sys.stderr, flush=True)
            super().onLeave(details)

    logging.getLogger("autobahn").setLevel(logging.CRITICAL)
    ApplicationRunner(site.url, site.realm).run(Subscriber, auto_reconnect=True)
    if failures:
        raise failures[0]
