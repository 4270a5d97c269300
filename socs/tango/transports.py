"""By which way each stream travels: what the Tango database says, and what servers do.

Looked at now and then by a thread, which may wait for the database as long as it takes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any

from socs.errors import Malformed, SocsError
from socs.tango.endpoints import Endpoints, ask_endpoints
from socs.tango.installed import VARIABLE, database_hosts
from socs.tango.limits import MAX_LISTED
from socs.tango.multicast.configuration import OBJECT, Configuration
from socs.tango.multicast.lint import lint
from socs.tango.multicast.transport import transport_of
from socs.tango.names import parse_event, parse_server
from socs.tango.properties import PropertyStore

PERIOD = 300.0  # s between two looks; a new stream or a restart brings one at once
PREFIX = "Multicast"  # of the properties

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """How one stream travels.

    Attributes:
        transport: ``unicast``, or ``multicast to ADDRESS:PORT``, as the database says.
        endpoint: of the publisher's unicast events, as it tells it; "" if it does not.
        doubt: what does not fit together, or "".
    """

    transport: str
    endpoint: str = ""
    doubt: str = ""


def way_of(
    stream: str, streams: Iterable[str], configuration: Configuration, found: Endpoints | None
) -> Way:
    """The way of ``stream``.

    Args:
        stream: its name.
        streams: of all streams of the same publisher.
        configuration: of the database.
        found: what the publisher tells of its sockets; None if it does not.

    Raises:
        Malformed: one of them is no name of an event.
    """
    wanted = transport_of(stream, configuration)
    if found is None:
        return Way(str(wanted))
    any_wanted = any(transport_of(each, configuration).multicast for each in streams)
    doubt = ""
    if wanted.multicast and not found.multicast:
        doubt = (
            f"the properties say {wanted}, and the server sends nothing by multicast: it was "
            "started before that was written, has no PGM, or its only subscribers are on its host"
        )
    elif found.multicast and not any_wanted:
        doubt = (
            "the server sends some event by multicast, and the properties say that none does: "
            "they were changed after it was started"
        )
    return Way(str(wanted), found.event, doubt)


class Transports:
    """Looks every :data:`PERIOD` seconds, in a thread.

    Args:
        tango_host: ``host:port`` of the database; None for what ``TANGO_HOST`` says.
        streams: gives the streams that are monitored, by publisher (admin device).

    Raises:
        ConfigError: pytango is not installed.
    """

    def __init__(
        self, tango_host: str | None, streams: Callable[[], Mapping[str, list[str]]]
    ) -> None:
        self._host, self._streams = tango_host, streams
        self._store = PropertyStore(tango_host)
        usual = tango_host or os.environ.get(VARIABLE)
        self._usual = {"", *(database_hosts(usual) if usual else ())}
        self._look_now, self._stopping = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="tango-transports", daemon=True)
        self._ways: dict[str, Way] = {}
        self._findings: list[dict[str, Any]] = []
        self._problem = "not looked at yet"

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; a look that is under way ends by itself."""
        self._stopping = True
        self._look_now.set()

    def look_now(self) -> None:
        """Look at once."""
        self._look_now.set()

    def way(self, stream: str) -> Way | None:
        """Of a stream, by its full name; None if that is not known yet."""
        return self._ways.get(stream)

    def status(self) -> dict[str, Any]:
        """What is known, fit for JSON: findings about the properties, and streams in doubt.

        There are `MAX_LISTED` of each at most; ``left_out`` tells how many more there are.
        """
        doubts = [(stream, way.doubt) for stream, way in self._ways.items() if way.doubt]
        findings = self._findings
        return {
            "problem": self._problem,
            "findings": findings[:MAX_LISTED],
            "doubts": dict(doubts[:MAX_LISTED]),
            "left_out": {
                "findings": max(0, len(findings) - MAX_LISTED),
                "doubts": max(0, len(doubts) - MAX_LISTED),
            },
        }

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._look()
            except SocsError as error:
                self._problem = str(error)
            except Exception as error:
                self._problem = f"a defect: {error!r}"
                log.exception("a look at the ways of streams failed")
            self._look_now.wait(PERIOD)
            self._look_now.clear()

    def _look(self) -> None:
        by_publisher = self._streams()
        host_of = {publisher: self._host_of(publisher) for publisher in by_publisher}
        configurations, problems = self._read(sorted({"", *host_of.values()}))
        asked = [publisher for publisher, host in host_of.items() if host in configurations]
        endpoints = ask_endpoints(asked, self._host)
        ways: dict[str, Way] = {}
        found: list[dict[str, Any]] = []
        for host in sorted({"", *host_of.values()}):
            some = {name: by_publisher[name] for name in host_of if host_of[name] == host}
            if host in configurations:
                new = _ways(some, configurations[host], endpoints)
                found += _findings(host, configurations[host], new)
            else:  # what was known of it last
                streams = chain.from_iterable(some.values())
                new = {name: self._ways[name] for name in streams if name in self._ways}
            ways |= new
        self._problem = "; ".join(problems)
        self._findings = found
        self._ways = ways  # last: who sees them sees all of it

    def _host_of(self, publisher: str) -> str:
        """The database that a publisher is in, "" for the usual one."""
        host = parse_server(publisher).authority
        return "" if host in self._usual else host

    def _read(self, hosts: Sequence[str]) -> tuple[dict[str, Configuration], list[str]]:
        """What the databases say, and why some do not."""
        found, problems = {}, []
        for host in hosts:
            try:
                store = PropertyStore(host) if host else self._store
                found[host] = Configuration.of(store.read(OBJECT, PREFIX))
            except SocsError as error:
                problems.append(str(error))
        return found, problems


def _ways(
    publishers: Mapping[str, list[str]],
    configuration: Configuration,
    endpoints: Mapping[str, Endpoints],
) -> dict[str, Way]:
    """Of all streams of some publishers."""
    ways = {}
    for publisher, streams in publishers.items():
        for stream in streams:
            with suppress(Malformed):
                ways[stream] = way_of(stream, streams, configuration, endpoints.get(publisher))
    return ways


def _findings(
    host: str, configuration: Configuration, streams: Iterable[str]
) -> list[dict[str, Any]]:
    """What is wrong with the properties of a database, "" for the usual one."""
    return [
        {
            "severity": each.severity,
            "text": f"{host}: {each.text}" if host else each.text,
            "remedy": each.remedy,
        }
        for each in lint(configuration, streams=map(parse_event, streams))
    ]
