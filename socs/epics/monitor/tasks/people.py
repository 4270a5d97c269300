"""Tasks by which people say something: notes, groups, what they expect of hosts."""

from __future__ import annotations

import time
from typing import Any

from socs.agent import Reply
from socs.epics.monitor.monitor import PvMonitor
from socs.epics.monitor.tasks.answering import (
    Answering,
    Params,
    Session,
    chosen,
    listed,
    maybe_text,
    maybe_whole,
    param,
    text,
)
from socs.errors import Malformed


class PeopleTasks(Answering):
    """Tasks by which people say something."""

    @maybe_text("host")
    @param("unacknowledged", default=False, type=bool)
    @param("most", default=50, type=int)
    @maybe_whole("before")
    def logs(self, session: Session, params: Params) -> Reply:
        """logs(host=None, unacknowledged=False, most=50, before=None)

        **Task** - Lists what people must know of hosts, or wrote of them, newest first.

        Parameters:
            host (str): Only of this one.
            unacknowledged (bool): Only what somebody must acknowledge, and nobody did.
            most (int): Rows, up to 1000.
            before (int): Only entries with ids below.

        """
        return self._answer(session, lambda pvs: {"rows": pvs.book.logs(**params)})

    @text("host")
    @text("text")
    @text("user")
    @param("needs_ack", default=False, type=bool)
    def note(self, session: Session, params: Params) -> Reply:
        """note(host, text, user, needs_ack=False)

        **Task** - Adds a note to the log of a host.

        Parameters:
            host (str): Its address.
            text (str): The note.
            user (str): Who writes it.
            needs_ack (bool): Somebody must acknowledge it.

        """
        values = params["host"], params["text"], params["user"], time.time()
        needs = params["needs_ack"]
        return self._answer(session, lambda pvs: {"id": pvs.book.note(*values, needs_ack=needs)})

    @text("user")
    @param("ids", default=None, type=list)
    @maybe_text("host")
    def acknowledge(self, session: Session, params: Params) -> Reply:
        """acknowledge(user, ids=None, host=None)

        **Task** - Acknowledges entries of logs.

        Parameters:
            user (str): Who does.
            ids (list): Of the entries; or
            host (str): All of this host.

        """
        ids, host = params["ids"], params["host"]

        def acknowledge(pvs: PvMonitor) -> dict[str, Any]:
            wrong = [each for each in ids or [] if not isinstance(each, int)]
            if wrong:
                raise Malformed(f"ids: {wrong[0]!r} is no number")
            now = time.time()
            return {"acknowledged": pvs.book.acknowledge(params["user"], now, ids=ids, host=host)}

        return self._answer(session, acknowledge)

    @param("_")
    def groups(self, session: Session, params: Params) -> Reply:
        """groups()

        **Task** - Lists groups of hosts.

        """
        return self._answer(session, lambda pvs: {"rows": pvs.book.groups()})

    @text("name")
    @param("description", default="", type=str)
    @listed("hosts")
    def create_group(self, session: Session, params: Params) -> Reply:
        """create_group(name, description='', hosts=[])

        **Task** - Creates a group of hosts.

        Parameters:
            name (str): Of the group.
            description (str): What it is for.
            hosts (list): Addresses.

        """
        return self._answer(session, lambda pvs: pvs.book.create_group(**params))

    @text("name")
    @maybe_text("new_name")
    @maybe_text("description")
    @listed("add")
    @listed("remove")
    def edit_group(self, session: Session, params: Params) -> Reply:
        """edit_group(name, new_name=None, description=None, add=[], remove=[])

        **Task** - Changes a group of hosts; what is not given stays as it is.

        Parameters:
            name (str): Of the group.
            new_name (str): What it is called from now on.
            description (str): What it is for.
            add, remove (list): Addresses.

        """
        return self._answer(session, lambda pvs: pvs.book.edit_group(**params))

    @text("name")
    def delete_group(self, session: Session, params: Params) -> Reply:
        """delete_group(name)

        **Task** - Deletes a group; its hosts stay in their others.

        Parameters:
            name (str): Of the group.

        """
        return self._answer(session, lambda pvs: pvs.book.delete_group(params["name"]))

    @text("host")
    @text("user")
    @listed("applications")
    @listed("ports")
    @listed("ignored")
    def expect(self, session: Session, params: Params) -> Reply:
        """expect(host, user, applications=[], ports=[], ignored=[])

        **Task** - Says what should be on a host from now on; nothing else counts any more.

        Parameters:
            host (str): Its address.
            user (str): Who says so.
            applications (list): Keys of those that must run, as ``applications`` tells them.
            ports (list): Servers that must run: ``CA:5064``, ``PVA:5075``.
            ignored (list): Keys and ports that may run.

        """
        kinds = chosen(params, "applications", "ports", "ignored")
        return self._answer(
            session,
            lambda pvs: pvs.book.expect(params["host"], params["user"], time.time(), **kinds),
        )

    @text("host")
    @text("user")
    @param("on", default=True, type=bool)
    def maintain(self, session: Session, params: Params) -> Reply:
        """maintain(host, user, on=True)

        **Task** - Says that somebody works on a host, or has ended to; its events say so.

        Parameters:
            host (str): Its address.
            user (str): Who does.
            on (bool): Begins, or ends.

        """
        values = params["host"], params["user"], time.time()
        return self._answer(
            session, lambda pvs: pvs.book.maintain(*values, maintenance=params["on"])
        )

    @text("host")
    @text("user")
    @text("description")
    def describe(self, session: Session, params: Params) -> Reply:
        """describe(host, user, description)

        **Task** - Says what a host is for.

        Parameters:
            host (str): Its address.
            user (str): Who says so.
            description (str): What it is for.

        """
        values = params["host"], params["user"], time.time(), params["description"]
        return self._answer(session, lambda pvs: pvs.book.describe(*values))
