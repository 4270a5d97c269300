"""What people say of a host: what should be on it, who works on it, what it is for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from socs.db.engine import Database
from socs.db.transactions import in_transaction
from socs.epics.ports import HIGHEST_PORT
from socs.epics.store.logs import checked, checked_host
from socs.epics.store.tables import LONGEST_NAME, expected, hosts
from socs.epics.track.events import PROTOCOLS
from socs.epics.track.hosts import Expected, Port
from socs.errors import Malformed

_PORT = b"port:"
MOST_ITEMS = 1000  # of a host


class HostNotes(NamedTuple):
    """What is noted of a host: what it is for, whether and since when who works on it."""

    description: str
    maintenance: bool
    set_by: str
    set_at: float


def expect(
    database: Database,
    host: int,
    by: str,
    now: float,
    *,
    applications: Iterable[str] = (),
    ports: Iterable[Port] = (),
    ignored: Iterable[str | Port] = (),
) -> None:
    """From now on these should be on ``host``, or may be, and nothing else counts any more.

    Raises:
        Malformed: a value cannot be taken, or an item is both wanted and ignored.
    """
    wanted = {_item(item) for item in applications} | {_item(port) for port in ports}
    may = {_item(item) for item in ignored}
    if both := wanted & may:
        raise Malformed(f"expect: {sorted(both)[0]!r} is both expected and ignored")
    if len(wanted) + len(may) > MOST_ITEMS:
        raise Malformed(f"expect: {len(wanted) + len(may)} items are over {MOST_ITEMS}")
    common = {"host": checked_host(host), "set_by": checked(by, "by"), "set_at": now}
    rows = [common | {"item": item, "ignored": item in may} for item in sorted(wanted | may)]

    def act(connection: sa.Connection) -> None:
        connection.execute(sa.delete(expected).where(expected.c.host == host))
        if rows:
            connection.execute(expected.insert(), rows)

    in_transaction(database, act)


def maintain(database: Database, host: int, by: str, now: float, *, maintenance: bool) -> None:
    """``by`` begins or ends to work on ``host``.

    Raises:
        Malformed: a value cannot be taken.
    """
    _note(database, host, by, now, {"maintenance": maintenance})


def describe(database: Database, host: int, by: str, now: float, description: str) -> None:
    """Say what ``host`` is for.

    Raises:
        Malformed: a value cannot be taken.
    """
    text = checked(description, "description", empty=True)
    _note(database, host, by, now, {"description": text})


def select_expected(database: Database) -> dict[int, Expected]:
    """What should be on each host, as :class:`~socs.epics.track.hosts.Hosts` wants it."""
    sets: dict[int, tuple[set[str], set[Port], set[str | Port]]] = {}
    with database.read() as connection:
        for row in connection.execute(sa.select(expected)):
            applications, ports, ignored = sets.setdefault(row.host, (set(), set(), set()))
            item = _read(bytes(row.item))
            if row.ignored:
                ignored.add(item)
            elif isinstance(item, str):
                applications.add(item)
            else:
                ports.add(item)
        query = sa.select(hosts.c.host).where(hosts.c.maintenance.is_(True))
        maintained = set(connection.execute(query).scalars())
    return {
        host: _expected(*sets.get(host, (set(), set(), set())), maintenance=host in maintained)
        for host in sets.keys() | maintained
    }


def _expected(
    applications: set[str], ports: set[Port], ignored: set[str | Port], *, maintenance: bool
) -> Expected:
    return Expected(frozenset(applications), frozenset(ports), frozenset(ignored), maintenance)


def select_notes(database: Database) -> dict[int, HostNotes]:
    """What is noted of each host of which something is."""
    names = [hosts.c[name] for name in HostNotes._fields]
    with database.read() as connection:
        rows = connection.execute(sa.select(hosts.c.host, *names))
        return {row[0]: HostNotes(*row[1:]) for row in rows}


def _note(
    database: Database, host: int, by: str, now: float, values: dict[str, str | bool]
) -> None:
    changed = {**values, "set_by": checked(by, "by"), "set_at": now}
    row = {"host": checked_host(host), "description": "", "maintenance": False} | changed
    known = sa.select(hosts.c.host).where(hosts.c.host == host).with_for_update()

    def act(connection: sa.Connection) -> None:
        if connection.execute(known).first() is None:
            connection.execute(hosts.insert(), row)
        else:
            connection.execute(sa.update(hosts).where(hosts.c.host == host).values(changed))

    in_transaction(database, act)


def _item(item: str | Port) -> bytes:
    """The key of an application, or a port, as the table has it."""
    if isinstance(item, str):
        key = checked(item, "application").encode()
        if key.startswith(_PORT) or len(key) > LONGEST_NAME:
            raise Malformed(f"application: {item!r} is no key of one")
        return key
    protocol, port = item
    if protocol not in PROTOCOLS or not 0 < port <= HIGHEST_PORT:
        raise Malformed(f"port: {item!r} is no protocol and port")
    return b"%s%d:%d" % (_PORT, protocol, port)


def _read(item: bytes) -> str | Port:
    if not item.startswith(_PORT):
        return item.decode("utf-8", "backslashreplace")
    protocol, _, port = item.removeprefix(_PORT).partition(b":")
    return int(protocol), int(port)
