"""What one poll tells people: what was published and received since the last one, and lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
        made = [
            self._away(),
            self._of_streams(all_rows, over),
            self._of_links(all_rows, over),
            self._of_times(),
            self._section("events", TOLD, [{"severity": e.severity, "text": e.text} for e in told]),
        ]
        return [section for section in made if section.rows]

    def _section(self, title: str, columns: tuple[str, ...], rows: Sequence[Row]) -> Section:
        shown = rows[: self._most]
        return Section(title, columns, shown, len(rows) - len(shown))

    def _away(self) -> Section:
        rows = [
            {"server": path_of(row["server"]), "state": row["state"], "reason": row["reason"]}
            for row in self._tracker.servers()
            if row["state"] != "up"
        ]
        return self._section("not answering", AWAY, rows)

    def _of_streams(self, all_rows: bool, over: float | None) -> Section:
        rows, before = [], self._published
        self._published = {}
        for row in self._tracker.streams(self._tracker.totals()["names_followed"]):
            name = row["stream"]
            self._published[name] = row["published"]
            new = row["published"] - before.get(name, 0)
            if all_rows or new or name not in before:
                count = row["published"] if all_rows else new
                rate = row["published"] / over if over else row["rate"]
                shown = {"stream": parse_event(name).path, "published": count, "rate": rate}
                rows.append(row | shown)
        return self._section("published", PUBLISHED, rows)

    def _of_links(self, all_rows: bool, over: float | None) -> Section:
        rows, before = [], self._received
        self._received = {}
        for row in self._tracker.reconciliation(self._tracker.totals()["names_followed"]):
            key = row["subscriber"], row["stream"]
            self._received[key] = row
            last = before.get(key, {})
            new = {name: row[name] - last.get(name, 0) for name in ("received", "lost", "missed")}
            if all_rows or any(new.values()) or row["behind"] or key not in before:
                shown = {**row, **({} if all_rows else new)}
                shown["rate"] = row["received"] / over if over else row["rate"]
                shown["subscriber"] = path_of(row["subscriber"])
                shown["stream"] = parse_event(row["stream"]).path
                rows.append(shown)
        return self._section("received", RECEIVED, rows)

    def _of_times(self) -> Section:
        rows = [
            {
                "server": path_of(row["server"]),
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
