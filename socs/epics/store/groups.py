"""Groups of hosts, made by people. A host may be in any number of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from socs.db.engine import AlreadyStored, Database
from socs.epics.store.logs import checked, checked_host
from socs.epics.store.tables import LONGEST_GROUP, groups, members
from socs.errors import NotAllowed


@dataclass(frozen=True)
class Group:
    """A group: its name, what it is for, and the hosts in it."""

    name: str
    description: str
    hosts: frozenset[int]


def select_groups(database: Database, host: int | None = None) -> list[Group]:
    """All groups by name, or those that ``host`` is in."""
    query = (
        sa.select(groups.c.name, groups.c.description, members.c.host)
        .join_from(groups, members, groups.c.id == members.c.group_id, isouter=True)
        .order_by(groups.c.name)
    )
    found: dict[tuple[str, str], set[int]] = {}
    with database.read() as connection:
        for name, description, member in connection.execute(query):
            hosts = found.setdefault((name, description), set())
            if member is not None:
                hosts.add(member)
    made = [Group(name, text, frozenset(hosts)) for (name, text), hosts in found.items()]
    return [group for group in made if host is None or host in group.hosts]


def create_group(
    database: Database, name: str, description: str = "", hosts: Iterable[int] = ()
) -> None:
    """Create a group with ``hosts``.

    Raises:
        Malformed: name, description or a host cannot be taken.
        NotAllowed: there is a group of this name.
    """
    name = checked(name, "group", LONGEST_GROUP)
    row = {"name": name, "description": checked(description, "description", empty=True)}
    wanted = {checked_host(host) for host in hosts}
    with _once(name), database.begin() as connection:
        connection.execute(groups.insert(), row)
        _put_in(connection, _id_of(connection, name), wanted)


def edit_group(
    database: Database,
    name: str,
    *,
    new_name: str | None = None,
    description: str | None = None,
    add: Iterable[int] = (),
    remove: Iterable[int] = (),
) -> None:
    """Change a group; what is not given stays as it is.

    Raises:
        Malformed: a value cannot be taken.
        NotAllowed: there is no group ``name``, or there is one ``new_name``.
    """
    values = {}
    if new_name is not None:
        values["name"] = checked(new_name, "group", LONGEST_GROUP)
    if description is not None:
        values["description"] = checked(description, "description", empty=True)
    coming, going = {checked_host(host) for host in add}, set(remove)
    with _once(new_name or name), database.begin() as connection:
        id = _id_of(connection, name)
        if values:
            connection.execute(sa.update(groups).where(groups.c.id == id).values(values))
        if coming or going:
            of_group = members.c.group_id == id
            changed = members.c.host.in_(coming | going)
            connection.execute(sa.delete(members).where(of_group, changed))
        _put_in(connection, id, coming - going)


def delete_group(database: Database, name: str) -> None:
    """Delete a group; its hosts stay in their others.

    Raises:
        NotAllowed: there is no such group.
    """
    with database.begin() as connection:
        id = _id_of(connection, name)
        connection.execute(sa.delete(members).where(members.c.group_id == id))
        connection.execute(sa.delete(groups).where(groups.c.id == id))


def _id_of(connection: sa.Connection, name: str) -> int:
    id = connection.execute(sa.select(groups.c.id).where(groups.c.name == name)).scalar()
    if id is None:
        raise NotAllowed(f"there is no group {name!r}", "no_such_group")
    return int(id)


def _put_in(connection: sa.Connection, id: int, hosts: set[int]) -> None:
    if hosts:
        rows = [{"group_id": id, "host": host} for host in sorted(hosts)]
        connection.execute(members.insert(), rows)


@contextmanager
def _once(name: str) -> Iterator[None]:
    """A name that is taken is somebody's wish that cannot be met."""
    try:
        yield
    except AlreadyStored as error:
        raise NotAllowed(f"there is a group {name!r} already", "group_exists") from error
