"""What one poll tells people: what was published and received since the last one, and lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from socs.sections import Row, Section
from socs.tango.events import Event
from socs.tango.names import parse_event, parse_server
from socs.tango.track import EventTracker

MOST_ROWS = 200  # of one section

PUBLISHED = ("stream", "published", "rate", "number", "readers")
RECEIVED = ("subscriber", "stream", "received", "lost", "missed", "behind", "rate", "status")
AWAY = ("server", "state", "reason")
TIMES = ("server", "attribute", "times", "count", "mean", "min", "p50", "p90", "p99", "max")
TOLD = ("severity", "text")
MEASURED = ("push", "process", "latency")  # [us]


class Summary:
    """What changes from poll to poll of ``tracker``."""

    def __init__(self, tracker: EventTracker, most_rows: int = MOST_ROWS) -> None:
        self._tracker, self._most = tracker, most_rows
        self._published: dict[str, int] = {}
        self._received: dict[tuple[str, str], Row] = {}
        self._servers: dict[str, str] = {}  # what they are called in the tables
        self._streams: dict[str, str] = {}

    def sections(
        self, told: Iterable[Event], *, all_rows: bool = False, over: float | None = None
    ) -> list[Section]:
        """What is to be shown after a poll of which the tracker told ``told``.

        Args:
            told: by the tracker since the last call.
            all_rows: also streams and subscribers that are known and did not change. Then numbers
                are those since the beginning, else since the last call.
            over: with `all_rows`, rates are means over so long [s], not those of the last poll.
        """
        most = self._tracker.totals()["names_followed"]
        streams, links = self._tracker.streams(most), self._tracker.reconciliation(most)
        self._servers = short_names((row["server"] for row in self._tracker.servers()), path_of)
        names = (row["stream"] for row in chain(streams, links))
        self._streams = short_names(names, lambda name: parse_event(name).path)
        made = [
            self._away(),
            self._of_streams(streams, all_rows, over),
            self._of_links(links, all_rows, over),
            self._of_times(),
            self._section("events", TOLD, [{"severity": e.severity, "text": e.text} for e in told]),
        ]
        return [section for section in made if section.rows]

    def _section(self, title: str, columns: tuple[str, ...], rows: Sequence[Row]) -> Section:
        shown = rows[: self._most]
        return Section(title, columns, shown, len(rows) - len(shown))

    def _away(self) -> Section:
        rows = [
            {"server": self._servers[row["server"]], "state": row["state"], "reason": row["reason"]}
            for row in self._tracker.servers()
            if row["state"] != "up"
        ]
        return self._section("not answering", AWAY, rows)

    def _of_streams(self, all_of: Sequence[Row], all_rows: bool, over: float | None) -> Section:
        rows, before = [], self._published
        self._published = {}
        for row in all_of:
            name = row["stream"]
            self._published[name] = row["published"]
            new = row["published"] - before.get(name, 0)
            if all_rows or new or name not in before:
                count = row["published"] if all_rows else new
                rate = row["published"] / over if over else row["rate"]
                shown = {"stream": self._streams[name], "published": count, "rate": rate}
                rows.append({**row, **shown})
        return self._section("published", PUBLISHED, rows)

    def _of_links(self, all_of: Sequence[Row], all_rows: bool, over: float | None) -> Section:
        rows, before = [], self._received
        self._received = {}
        for row in all_of:
            key = row["subscriber"], row["stream"]
            self._received[key] = row
            last = before.get(key, {})
            new = {name: row[name] - last.get(name, 0) for name in ("received", "lost", "missed")}
            if all_rows or any(new.values()) or row["behind"] or key not in before:
                shown = {**row, **({} if all_rows else new)}
                shown["rate"] = row["received"] / over if over else row["rate"]
                shown["subscriber"] = self._servers[row["subscriber"]]
                shown["stream"] = self._streams[row["stream"]]
                rows.append(shown)
        return self._section("received", RECEIVED, rows)

    def _of_times(self) -> Section:
        rows = [
            {
                "server": self._servers[row["server"]],
                "attribute": row["attribute"] or "(all)",
                "times": times,
                **row[times],
            }
            for row in self._tracker.performance(self._most)
            for times in MEASURED
            if row.get(times) and row[times]["count"]
        ]
        return self._section("times [us]", TIMES, rows)


def path_of(server: str) -> str:
    """The admin device, without the database."""
    return parse_server(server).path


def short_names(names: Iterable[str], path: Callable[[str], str]) -> dict[str, str]:
    """``names`` without their databases, but where another one would be called the same."""
    full = set(names)
    times = Counter(map(path, full))
    return {name: path(name) if times[path(name)] == 1 else name for name in full}
