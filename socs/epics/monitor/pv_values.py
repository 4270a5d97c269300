"""What servers themselves say of process variables that a monitor knows.

Who has a name is known mostly, so the server is asked at once, and nobody is searched for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from socs.closing import Closing
from socs.epics.cainfo import AddressLists, ChannelInfo, Question
from socs.epics.cainfo.messages import PROTOCOLS
from socs.epics.monitor.asked_values import one_of
from socs.epics.monitor.pv_search import PvSearch
from socs.epics.track.events import PROTOCOLS as NAMES

MOST_TIME = 30.0  # s that somebody may wait


class PvValues(Closing):
    """Asks servers; the process that does so is started by the first question.

    Args:
        report: gets sentences for people.
    """

    def __init__(self, report: Callable[[str], None] = lambda text: None) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._info: ChannelInfo | None = None

    def ask(
        self,
        search: PvSearch,
        names: Iterable[str],
        *,
        protocol: str | None = None,
        timeout: float = 5.0,
        most_elements: int = 100,
    ) -> list[dict[str, Any]]:
        """What is told of each name, see :class:`socs.epics.cainfo.PvInfo`.

        Args:
            search: knows servers.
            names: of process variables, known or not.
            protocol: ``ca`` or ``pva``; None for that of the server that is known, else ``ca``.
            timeout: for each name [s].
            most_elements: of a long value.

        Raises:
            ConfigError: a package is missing.
            Malformed: there is no such protocol.
        """
        if protocol is not None:
            one_of(protocol, PROTOCOLS, "protocol")
        questions = [_question(search, name, protocol) for name in names]
        with self._lock:
            if self._info is None:
                self._info = ChannelInfo(AddressLists.from_environ(os.environ), self._report)
            info = self._info
        return info.ask(questions, min(timeout, MOST_TIME), most_elements)

    def close(self) -> None:
        """End the process that asks."""
        with self._lock:
            info, self._info = self._info, None
        if info is not None:
            info.close()


def _question(search: PvSearch, name: str, protocol: str | None) -> Question:
    record = name.partition(".")[0]
    known = search.server(record)
    if known is None or (protocol is not None and NAMES[known[0]].lower() != protocol):
        return Question(name, "pva" if protocol == "pva" else "ca")
    return Question(name, "ca" if NAMES[known[0]] == "CA" else "pva", known[1])
