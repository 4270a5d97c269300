"""What a gateway itself asks the network: searches for names, and questions to applications."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from socs.closing import Closing
from socs.counters import Counters
from socs.epics.accounts.sources import Keys
from socs.epics.applications.asker import Asker
from socs.epics.applications.conversations import Answered
from socs.epics.decode import heartbeat
from socs.epics.gateway.settings import GatewaySettings
from socs.epics.search.active import ActiveSearch
from socs.epics.search.searcher import Outcome, Priority
from socs.epics.search.udp_thread import SharedLimiter
from socs.epics.summary import MOST_TEXT, AnswerPart, Beat, Found
from socs.epics.track.events import CA, PVA
from socs.errors import NotAllowed, PeerError

DISCARD = 9  # a port to look up a route with; nothing is sent there


class Questions(Closing):
    """Searches and questions, each only if the settings switch it on.

    Args:
        settings: of the gateway.
        on_found, on_told: get results, from threads of this.
        report: gets lines for people.
        counters: where to count; must have those of ``EPICS_SEARCH`` and ``EPICS_ASKING``.

    Raises:
        ConfigError: a setting is not possible.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        on_found: Callable[[list[Found]], None],
        on_told: Callable[[list[AnswerPart]], None],
        *,
        report: Callable[[str], None],
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._on_found, self._on_told = on_found, on_told
        self._report, self._counters = report, counters
        self._searches: dict[str, ActiveSearch] = {}
        self._asker: Asker | None = None
        if settings.search.enabled:
            limiter = SharedLimiter(settings.search.datagrams_per_second, settings.search.burst)
            self._add_search("ca", CA, settings.ports.ca, limiter)
            self._add_search("pva", PVA, settings.ports.pva, limiter)
        if settings.ask.enabled:
            self._asker = Asker(
                settings.ask,
                self._on_answers,
                admit=settings.networks,
                on_problem=report,
                counters=counters,
            )

    def _add_search(
        self, protocol: Literal["ca", "pva"], number: int, port: int, limiter: SharedLimiter
    ) -> None:
        self._searches[protocol] = ActiveSearch(
            protocol,
            self._settings.search,
            [(address, port) for address in self._settings.search_addresses],
            lambda outcomes: self._on_outcomes(number, outcomes),
            admit=self._settings.networks,
            limiter=limiter,
            on_problem=self._report,
            counters=self._counters,
        )

    def start(self) -> None:
        """Bind, and ask.

        Raises:
            ConfigError: a socket cannot be bound.
        """
        for search in self._searches.values():
            search.start()
        if self._asker is not None:
            self._asker.start()

    def close(self) -> None:
        """Stop asking."""
        for search in self._searches.values():
            search.close()
        if self._asker is not None:
            self._asker.close()

    @property
    def ports(self) -> list[int]:
        """The UDP ports that were bound."""
        ports = [search.port for search in self._searches.values()]
        return ports if self._asker is None else [*ports, self._asker.port]

    def sources(self) -> Keys:
        """From where our searches come: the addresses from which Linux sends, with our ports."""
        found = set()
        for address in self._settings.search_addresses if self._searches else ():
            try:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                    probe.connect((address, DISCARD))
                    host = int.from_bytes(socket.inet_aton(probe.getsockname()[0]), "big")
            except OSError:
                continue  # there is no route now; who searches will tell
            found |= {host << 16 | port for port in self.ports}
        return np.array(sorted(found), np.uint64)

    def search(self, names: Iterable[str], priority: Priority) -> int:
        """See :meth:`socs.epics.gateway.gateway.Gateway.search`."""
        if not self._searches:
            raise NotAllowed("searching is off: see --search", "search_refused_off")
        wanted = [name.encode(errors="replace") for name in names]
        return max(search.ask(wanted, priority) for search in self._searches.values())

    def ask(
        self, what: Literal["names", "lines"], host: int, port: int, sequence: int, server: int
    ) -> bool:
        """See :meth:`socs.epics.gateway.gateway.Gateway.ask`."""
        if self._asker is None:
            raise NotAllowed("asking applications is off: see --ask", "asking_refused_off")
        ask = self._asker.ask_names if what == "names" else self._asker.ask_netstat
        return ask(host, port, sequence, server=server)

    def heard(self, beats: Sequence[Beat]) -> None:
        """Take note of heartbeats; applications answer who knows the number of their last one."""
        if self._asker is None:
            return
        for beat in beats:
            try:
                found = heartbeat.decode(beat.datagram) if beat.kind == "json" else None
            except PeerError:
                continue
            if isinstance(found, heartbeat.Heartbeat):
                self._asker.heard(beat.host, beat.port, found.sequence)

    def status(self) -> dict[str, Any]:
        """Fit for session data."""
        return {
            "searching": {
                "enabled": bool(self._searches),
                "addresses": list(self._settings.search_addresses),
                "waiting": {name: search.waiting for name, search in self._searches.items()},
            },
            "asking": {
                "enabled": self._asker is not None,
                "waiting": 0 if self._asker is None else self._asker.waiting,
            },
        }

    def _on_outcomes(self, protocol: int, outcomes: list[Outcome]) -> None:
        now, timeout = time.time(), self._settings.search.timeout
        self._on_found(
            [
                Found(
                    protocol,
                    outcome.name,
                    tuple((s.host, s.port, s.sender, s.guid) for s in outcome.servers),
                    outcome.attempts,
                    now - timeout * outcome.attempts,
                    now,
                )
                for outcome in outcomes
            ]
        )

    def _on_answers(self, answers: list[Answered]) -> None:
        now = time.time()
        self._on_told([part for each in answers for part in parts_of(each, now)])


def parts_of(answered: Answered, now: float) -> Iterator[AnswerPart]:
    """What is told of a conversation that ended ``now``, in parts that fit into summaries.

    There is one at least, as also silence is told. Only the last one says how it ended.
    """
    texts, first = answered.texts, 0
    ends = [*_ends(texts), len(texts)]
    for end in ends:
        yield AnswerPart(
            *(answered.what, answered.host, answered.port, texts[first:end], now),
            server=answered.server,
            ending=answered.ending if end == len(texts) else "",
            first=first,
            total=answered.total,
            skipped=answered.skipped,
        )
        first = end


def _ends(texts: Sequence[str]) -> Iterator[int]:
    """Before which texts a new part begins."""
    size = 0
    for place, text in enumerate(texts):
        size += len(text) + 1
        if size > MOST_TEXT and place:
            size = len(text) + 1
            yield place
