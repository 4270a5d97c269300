"""Tasks about what serves, what asks, and what happened."""

from __future__ import annotations

import time

from socs.agent import Reply
from socs.epics.monitor.queries import API_LISTS
from socs.epics.monitor.tasks.answering import (
    Answering,
    Params,
    Session,
    chosen,
    maybe_number,
    maybe_text,
    maybe_whole,
    paged,
    paging,
    param,
)


class ThingTasks(Answering):
    """Tasks about servers, applications, hosts, clients and events."""

    @maybe_text("state")
    @maybe_text("protocol")
    @maybe_text("host")
    @paged
    def servers(self, session: Session, params: Params) -> Reply:
        """servers(state=None, protocol=None, host=None, start=0, most=25)

        **Task** - Lists servers that send beacons.

        Parameters:
            state (str): ``ALIVE`` or ``LOST``.
            protocol (str): ``CA`` or ``PVA``.
            host (str): Address of the host.
            start, most (int): Which rows.

        """
        filters = chosen(params, "state", "protocol", "host")
        return self._answer(session, lambda pvs: pvs.queries.servers(paging(params), **filters))

    @maybe_text("state")
    @maybe_text("host")
    @paged
    def applications(self, session: Session, params: Params) -> Reply:
        """applications(state=None, host=None, start=0, most=25)

        **Task** - Lists IOC applications that send heartbeats.

        Parameters:
            state (str): ``ALIVE`` or ``LOST``.
            host (str): Address of the host.
            start, most (int): Which rows.

        """
        filters = chosen(params, "state", "host")
        return self._answer(
            session,
            lambda pvs: pvs.queries.applications(paging(params), time.time(), **filters),
        )

    @maybe_text("status")
    @maybe_text("group")
    @paged
    def hosts(self, session: Session, params: Params) -> Reply:
        """hosts(status=None, group=None, start=0, most=25)

        **Task** - Lists hosts: how each stands, what runs there and what should, what people noted.

        Parameters:
            status (str): ``RUNNING``, ``MISSING``, ``UNEXPECTED``, ``NO_DATA``, ``WAITING`` or
                ``BLIND``.
            group (str): Only those of this group.
            start, most (int): Which rows.

        """
        filters = chosen(params, "status", "group")
        return self._answer(session, lambda pvs: pvs.queries.hosts(paging(params), **filters))

    @param("which", choices=list(API_LISTS))
    @maybe_text("host")
    @param("lost", default=False, type=bool)
    @param("raw", default=False, type=bool)
    @maybe_whole("handle")
    def api_list(self, session: Session, params: Params) -> Reply:
        """api_list(which, host=None, lost=False, raw=False, handle=None)

        **Task** - Tells what is served at ``/api/v1.0/heartbeats`` or ``/api/v1.0/beacons``, as
        programs of sites read it, whole, in ``answer``.

        Parameters:
            which (str): ``heartbeats`` or ``beacons``.
            host (str): Only of this address.
            lost (bool): Lost applications, too.
            raw (bool): With the heartbeats as they were sent.
            handle (int): Handed back.

        """
        others = chosen(params, "host", "lost", "raw", "handle")
        return self._answer(
            session,
            lambda pvs: {"answer": pvs.queries.api_list(params["which"], time.time(), **others)},
        )

    @maybe_text("source_class")
    @maybe_text("host")
    @paged
    def clients(self, session: Session, params: Params) -> Reply:
        """clients(source_class=None, host=None, start=0, most=25)

        **Task** - Lists who asks for process variables, who asked most first.

        Parameters:
            source_class (str): Only those of this class.
            host (str): Only this address.
            start, most (int): Which rows.

        """
        filters = chosen(params, "source_class", "host")
        return self._answer(session, lambda pvs: pvs.queries.clients(paging(params), **filters))

    @maybe_number("since")
    @maybe_number("until")
    @maybe_text("subject")
    @param("kinds", default=None, type=list)
    @maybe_text("host")
    @maybe_whole("port")
    @maybe_text("name")
    @param("most", default=50, type=int)
    @param("after", default=None, type=list)
    def events(self, session: Session, params: Params) -> Reply:
        """events(since=None, until=None, subject=None, kinds=None, host=None, port=None, \
name=None, most=50, after=None)

        **Task** - Lists what happened, newest first, of what is in the database.

        Parameters:
            since, until (float): UNIX times [s].
            subject (str): ``pv``, ``pvs``, ``server``, ``application``, ``host`` or ``other``.
            kinds (list): What happened: ``NEW``, ``LOST`` and so on.
            host (str): Address of the server, application or host.
            port (int): Port of the server or application.
            name (str): Name of the process variable, or key of the application.
            most (int): Rows, up to 1000.
            after (list): ``next`` of the page before, to get the one after it.

        """
        return self._answer(session, lambda pvs: pvs.queries.events(**params))
