"""Hearing the feed of events of a PV monitor, until a signal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from socs.cli.epics_monitor import SiteOfMonitor
from socs.epics.monitor.feeds import EVENTS_FEED
from socs.epics.rows import Row
from socs.errors import SocsError

LATE = 3.0  # s until what was just told is in the database, too


def follow(
    site: SiteOfMonitor,
    show: Callable[[Row], object],
    catch_up: Callable[[], Sequence[Row]],
) -> None:
    """Call ``show`` for each event until SIGINT or SIGTERM; over breaks of the connection.

    Args:
        site: where the monitor is.
        show: gets events, some of them twice.
        catch_up: gives events that were not heard; called in a thread, after each connection.

    Raises:
        BrokenPipeError: of ``show``: nobody reads any more.
    """
    # Loading them takes half a second, which commands that hear no feed do not need.
    from autobahn.twisted.wamp import ApplicationRunner, ApplicationSession  # noqa: PLC0415
    from twisted.internet import reactor as _reactor  # noqa: PLC0415
    from twisted.internet.task import deferLater  # noqa: PLC0415
    from twisted.internet.threads import deferToThread  # noqa: PLC0415

    reactor: Any = _reactor
    failures: list[Exception] = []

    def tell(row: Row) -> None:
        try:
            show(row)
        except Exception as error:  # noqa: BLE001  given to the caller
            failures.append(error)
            if reactor.running:
                reactor.stop()

    class Subscriber(ApplicationSession):
        """Subscribes, each time that it has joined."""

        async def onJoin(self, details: Any) -> None:
            # A message is what was published, and the feed.
            await self.subscribe(lambda m: tell(m[0]), f"{site.address}.feeds.{EVENTS_FEED}")
            for pause in (0.0, LATE):
                await deferLater(reactor, pause, lambda: None)
                try:
                    for row in await deferToThread(catch_up):
                        tell(row)
                except SocsError as error:
                    print(f"socs: {error}", file=sys.stderr, flush=True)

        def onLeave(self, details: Any) -> None:
            print("socs: the router is away", file=sys.stderr, flush=True)
            super().onLeave(details)

    logging.getLogger("autobahn").setLevel(logging.CRITICAL)
    ApplicationRunner(site.url, site.realm).run(Subscriber, auto_reconnect=True)
    if failures:
        raise failures[0]
