"""Servers that are polled by two names, as their database is called by two."""

from __future__ import annotations

from socs.tango.limits import MAX_SHOWN
from socs.tango.names import parse_server


class Doubles:
    """Finds processes that answer by two names, poll by poll. Used by one thread."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}  # of the poll under way
        self._pairs: list[tuple[str, str]] = []
        self._last: list[tuple[str, str]] = []

    def note(self, server: str, identity: str) -> None:
        """``server`` has answered; ``identity`` tells its process from others, if not ""."""
        if identity:
            first = self._names.setdefault((parse_server(server).path, identity), server)
            if first != server:
                self._pairs.append((min(first, server), max(first, server)))

    def poll_over(self) -> None:
        """All servers have answered that do."""
        self._last, self._pairs, self._names = sorted(self._pairs), [], {}

    def troubles(self) -> list[str]:
        """What is to be told of the last poll; empty if there were none."""
        if not self._last:
            return []
        shown = "; ".join(f"{one} is {other}" for one, other in self._last[:MAX_SHOWN])
        more = f" and {len(self._last) - MAX_SHOWN} more" if len(self._last) > MAX_SHOWN else ""
        return [
            f"servers are polled twice, and all of their events counted twice ({shown}{more}): "
            "name their database in one way only"
        ]
