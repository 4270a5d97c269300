"""What people write down of hosts: notes, groups, what should run there, who works on it.

Values are texts as people write them: hosts ``10.1.2.3``, ports ``CA:5064``, else keys of
applications as the tables show them. All of this is in the database and may take long. What is
wrong with a value is told with the name of the parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from socs.db.engine import Database
from socs.epics.monitor.asked_values import host_of, hosts_of, ignored_of, port_of, texts_of
from socs.epics.networks import host_text
from socs.epics.rows import Row
from socs.epics.store import groups, hosts, logs
from socs.epics.store.logs import LogEntry
from socs.errors import Malformed


class HostBook:
    """What people write down. Any thread may use it.

    Args:
        database: with the tables.
        on_expected: called when what is expected of hosts has changed.

    All methods raise `Malformed` for a value that cannot be taken, `NotAllowed` for a group that is
    not there, or there already, and `StorageUnavailable` while the database is away.
    """

    def __init__(
        self, database: Database, on_expected: Callable[[], object] = lambda: None
    ) -> None:
        self._database, self._on_expected = database, on_expected

    # -- the log ----------------------------------------------------------------------------------

    def note(self, host: str, text: str, user: str, now: float, *, needs_ack: bool = False) -> int:
        """Add a note to the log of a host; its id."""
        return logs.add_note(self._database, host_of(host), text, user, now, needs_ack=needs_ack)

    def logs(
        self,
        host: str | None = None,
        *,
        unacknowledged: bool = False,
        most: int = 50,
        before: int | None = None,
    ) -> list[Row]:
        """Entries of the log of one host or of all, newest first; ids less than ``before``."""
        select = logs.unacknowledged if unacknowledged else logs.select_logs
        number = None if host is None else host_of(host)
        return [_entry(each) for each in select(self._database, number, most=most, before=before)]

    def acknowledge(
        self, user: str, now: float, *, ids: list[int] | None = None, host: str | None = None
    ) -> int:
        """Acknowledge these entries, or all of a host; how many there were."""
        number = None if host is None else host_of(host)
        return logs.acknowledge(self._database, user, now, ids=ids, host=number)

    def open_entries(self) -> dict[int, int]:
        """How many entries of each host wait to be acknowledged."""
        return logs.count_unacknowledged(self._database)

    # -- groups -----------------------------------------------------------------------------------

    def groups(self) -> list[Row]:
        """All groups by name, with their hosts."""
        return [
            {
                "name": group.name,
                "description": group.description,
                "hosts": [host_text(host) for host in sorted(group.hosts)],
            }
            for group in groups.select_groups(self._database)
        ]

    def group_hosts(self, name: str) -> list[int]:
        """The hosts of one group."""
        for group in groups.select_groups(self._database):
            if group.name == name:
                return sorted(group.hosts)
        raise Malformed(f"group: there is no group {name!r}", "no_such_group")

    def create_group(self, name: str, description: str = "", hosts: Sequence[str] = ()) -> None:
        """Create a group with these hosts."""
        groups.create_group(self._database, name, description, hosts_of(hosts))

    def edit_group(
        self,
        name: str,
        *,
        new_name: str | None = None,
        description: str | None = None,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
    ) -> None:
        """Change a group; what is not given stays as it is."""
        coming, going = hosts_of(add, "add"), hosts_of(remove, "remove")
        groups.edit_group(
            self._database,
            name,
            new_name=new_name,
            description=description,
            add=coming,
            remove=going,
        )

    def delete_group(self, name: str) -> None:
        """Delete a group; its hosts stay in their others."""
        groups.delete_group(self._database, name)

    # -- what should be on a host -----------------------------------------------------------------

    def expect(
        self,
        host: str,
        user: str,
        now: float,
        *,
        applications: Sequence[str] = (),
        ports: Sequence[str] = (),
        ignored: Sequence[str] = (),
    ) -> None:
        """From now on these should be on a host, or may be, and nothing else counts any more."""
        hosts.expect(
            self._database,
            host_of(host),
            user,
            now,
            applications=texts_of(applications, "applications"),
            ports=[port_of(text) for text in texts_of(ports, "ports")],
            ignored=[ignored_of(text) for text in texts_of(ignored, "ignored")],
        )
        self._on_expected()

    def maintain(self, host: str, user: str, now: float, *, maintenance: bool) -> None:
        """Somebody begins or ends to work on a host."""
        hosts.maintain(self._database, host_of(host), user, now, maintenance=maintenance)
        self._on_expected()

    def describe(self, host: str, user: str, now: float, description: str) -> None:
        """Say what a host is for."""
        hosts.describe(self._database, host_of(host), user, now, description)

    def noted(self) -> dict[int, Mapping[str, Any]]:
        """What a host is for, who said so when, and its groups; of hosts of which anything is."""
        found: dict[int, dict[str, Any]] = {}
        for host, notes in hosts.select_notes(self._database).items():
            found[host] = {
                "description": notes.description,
                "set_by": notes.set_by,
                "set_at": notes.set_at,
            }
        for group in groups.select_groups(self._database):
            for host in group.hosts:
                found.setdefault(host, {}).setdefault("groups", []).append(group.name)
        return dict(found)


def _entry(entry: LogEntry) -> Row:
    return {**entry._asdict(), "host": host_text(entry.host)}
