"""Searching for who serves a name; the cap of :mod:`socs.epics.search.active` holds here, too."""

from __future__ import annotations

import asyncio
import ipaddress

from socs.closing import Closing
from socs.epics.cainfo.addresses import AddressLists
from socs.epics.cainfo.messages import Protocol
from socs.epics.search.active import ActiveSearch
from socs.epics.search.messages import is_name
from socs.epics.search.searcher import Outcome, Priority, SearchSettings
from socs.errors import ConfigError, OurError, PeerError

ANSWER_TIME = 0.4  # s; a second server that answers within it is found as well
ATTEMPTS = 4
LOOK_PERIOD = 2.0  # s between two looks whether the search is still there
DATAGRAMS_PER_SECOND, BURST = 50.0, 20


class NameSearch(Closing):
    """Searches of both protocols, for a loop of asyncio.

    Args:
        lists: where searches are sent.
    """

    def __init__(self, lists: AddressLists) -> None:
        self._lists = lists
        self._loop = asyncio.get_running_loop()
        self._searches: dict[Protocol, asyncio.Future[ActiveSearch]] = {}
        self._waiting: dict[tuple[Protocol, bytes], list[asyncio.Future[Outcome]]] = {}

    async def find(self, name: str, protocol: Protocol) -> list[str]:
        """``host:port`` of each server that has ``name``.

        Raises:
            PeerError: there is none.
            OurError: it cannot be searched for.
        """
        wanted = name.encode()
        if not is_name(wanted):
            raise PeerError("this cannot be a name")
        search = await self._search(protocol)
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting.setdefault((protocol, wanted), []).append(answer)
        search.ask([wanted], Priority.PAGE)
        while not answer.done():
            await asyncio.wait({answer}, timeout=LOOK_PERIOD)
            if not search.alive:
                raise OurError("searching ended: a defect in this program; see its log")
        outcome = answer.result()
        if not outcome.servers:
            raise PeerError(f"no server answered {outcome.attempts} searches")
        return [f"{ipaddress.IPv4Address(each.host)}:{each.port}" for each in outcome.servers]

    async def _search(self, protocol: Protocol) -> ActiveSearch:
        if protocol not in self._searches:
            self._searches[protocol] = asyncio.ensure_future(self._start(protocol))
        try:
            search = await asyncio.shield(self._searches[protocol])
        except ConfigError:
            self._searches.pop(protocol, None)  # a host name may be known later
            raise
        search.start()  # does nothing while it runs
        return search

    async def _start(self, protocol: Protocol) -> ActiveSearch:
        destinations = await asyncio.to_thread(self._lists.destinations, protocol)
        settings = SearchSettings(
            enabled=True,
            datagrams_per_second=DATAGRAMS_PER_SECOND,
            burst=max(BURST, len(destinations)),
            timeout=ANSWER_TIME,
            attempts=ATTEMPTS,
        )

        def tell(outcomes: list[Outcome]) -> None:
            self._loop.call_soon_threadsafe(self._take, protocol, outcomes)

        return ActiveSearch(protocol, settings, destinations, tell)

    def _take(self, protocol: Protocol, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            for answer in self._waiting.pop((protocol, outcome.name), ()):
                if not answer.done():
                    answer.set_result(outcome)

    def close(self) -> None:
        """Stop searching."""
        for made in self._searches.values():
            if made.done() and not made.cancelled() and made.exception() is None:
                made.result().close()
        self._searches.clear()
