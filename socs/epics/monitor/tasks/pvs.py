"""Tasks about process variables."""

from __future__ import annotations

import time
from typing import Any

from socs.agent import Reply
from socs.epics.monitor.asked_values import host_of, port_of, texts_of
from socs.epics.monitor.monitor import PvMonitor
from socs.epics.monitor.pv_search import PvFilters
from socs.epics.monitor.pv_values import PvValues
from socs.epics.monitor.tasks.answering import (
    Answering,
    Params,
    Session,
    chosen,
    listed,
    maybe_number,
    maybe_text,
    paged,
    paging,
    param,
    text,
)
from socs.errors import StorageUnavailable

MOST_NAMES = 1_000  # of one Task


def _are_texts(values: list[Any]) -> bool:
    return 0 < len(values) <= MOST_NAMES and all(isinstance(each, str) for each in values)


NAMES = param("names", type=list, check=_are_texts)


class PvTasks(Answering):
    """Tasks about process variables.

    Attributes:
        values: asks servers.
    """

    values: PvValues

    @param("pattern", default="*", type=str)
    @maybe_text("state")
    @maybe_text("protocol")
    @maybe_text("server")
    @maybe_text("source_class")
    @maybe_number("asked_within")
    @maybe_text("requester")
    @maybe_text("group")
    @paged
    def search(self, session: Session, params: Params) -> Reply:
        """search(pattern='*', state=None, protocol=None, server=None, source_class=None, \
asked_within=None, requester=None, group=None, start=0, most=25)

        **Task** - Lists process variables in the order of their names, a page at a time.

        Parameters:
            pattern (str): ``*`` stands for any characters, ``?`` for one; letters of any case.
            state (str): ``ONLINE``, ``LOST``, ``DUPLICATE``, ``NEVER_SEEN`` or ``INVALID``.
            protocol (str): ``CA`` or ``PVA``.
            server (str): Host of the server, or host and port: ``10.1.2.3:5064``.
            source_class (str): Somebody of this class asked.
            asked_within (float): Somebody asked within so many seconds.
            requester (str): This host asked lately.
            group (str): The server is on a host of this group.
            start, most (int): Which rows; ``most`` is up to 1000.

        Notes:
            The rows are in the session data::

                >>> response.session['data']
                {'timestamp': 1700000000.0, 'total': 1200, 'start': 0,
                 'rows': [{'name': 'SR:CURRENT', 'state': 'ONLINE', 'protocol': 'CA',
                           'server': '10.1.2.3:5064', 'requests': 51500,
                           'last_asked': 1700000000.0, 'last_seen': 1700000000.0,
                           'changed': 1600000000.0}, ...]}

        """
        keys = ("state", "protocol", "server", "source_class", "asked_within", "requester")
        filters = PvFilters(**chosen(params, *keys))
        group, pattern = params["group"], params["pattern"]
        return self._answer(
            session,
            lambda pvs: pvs.queries.search(pattern, filters, paging(params), time.time(), group),
        )

    @text("name")
    def pv_info(self, session: Session, params: Params) -> Reply:
        """pv_info(name)

        **Task** - Tells who asks for a process variable, who serves it and since when, and what
        happened to it.

        Parameters:
            name (str): Its name.

        Notes:
            The session data have ``requesters``, ``servers``, ``events`` and more::

                >>> response.session['data']
                {'timestamp': 1700000000.0, 'name': 'SR:CURRENT', 'state': 'ONLINE',
                 'requesters': [{'source': '10.1.2.9:4711', 'requests': 7, 'last': 1700000000.0}],
                 'servers': [{'protocol': 'CA', 'server': '10.1.2.3:5064',
                              'first': 1600000000.0, 'last': 1700000000.0}],
                 'events': [{'kind': 'FOUND', 'time': 1600000000.0, ...}], ...}

        """
        return self._answer(session, lambda pvs: pvs.queries.pv_info(params["name"]))

    @NAMES
    @maybe_text("protocol")
    @param("timeout", default=5.0, type=float, check=lambda value: 0 < value <= 30)
    @param("elements", default=100, type=int, check=lambda value: 0 < value <= 100_000)
    def cainfo(self, session: Session, params: Params) -> Reply:
        """cainfo(names, protocol=None, timeout=5, elements=100)

        **Task** - Asks the servers themselves: type, access, value, alarm, limits. A server that is
        known is asked at once; others are searched for.

        Parameters:
            names (list): Of process variables, with fields or without.
            protocol (str): ``ca`` or ``pva``; by default that of the known server, else ``ca``.
            timeout (float): For each [s], up to 30.
            elements (int): So many elements of a long value are told.

        Notes:
            The session data have a row for each name in ``rows``; who does not answer is
            ``disconnected``, and ``reason`` says why.

        """

        def ask(pvs: PvMonitor) -> dict[str, Any]:
            rows = self.values.ask(
                pvs.search,
                params["names"],
                protocol=params["protocol"],
                timeout=params["timeout"],
                most_elements=params["elements"],
            )
            return {"rows": rows}

        return self._answer(session, ask)

    @NAMES
    def update(self, session: Session, params: Params) -> Reply:
        """update(names)

        **Task** - Has gateways search for names now, before all others. What comes of it is in
        ``pv_info`` some seconds later.

        Parameters:
            names (list): Of process variables, known or not.

        """
        return self._answer(
            session, lambda pvs: {"asked": pvs.update(params["names"])}, "Searching for them"
        )

    @param("on", type=bool)
    def poll(self, session: Session, params: Params) -> Reply:
        """poll(on)

        **Task** - Switches polling on or off, until the agent is started anew.

        Parameters:
            on (bool): On, or off.

        """
        return self._answer(session, lambda pvs: pvs.poll(on=params["on"]))

    @param("_")
    def poll_now(self, session: Session, params: Params) -> Reply:
        """poll_now()

        **Task** - Begins a round of polling now, if none is under way.

        """
        return self._answer(session, lambda pvs: pvs.poll(), "A round begins")

    @listed("names")
    @maybe_text("server")
    @maybe_text("application")
    def forget(self, session: Session, params: Params) -> Reply:
        """forget(names=[], server=None, application=None)

        **Task** - Forgets process variables, or a server or application that is lost. What is seen
        again is known again.

        Parameters:
            names (list): Of process variables; all are known, or none is forgotten.
            server (str): ``CA:10.1.2.3:5064``.
            application (str): Its key, as ``applications`` tells it.

        """

        def forget(pvs: PvMonitor) -> dict[str, Any]:
            found = pvs.search.forget(texts_of(params["names"], "names"))
            if params["server"] is not None:
                pvs.forget_server(*_server_key(params["server"]))
                found.append(params["server"])
            if params["application"] is not None:
                pvs.forget_application(params["application"])
                found.append(params["application"])
            return {"forgotten": found}

        return self._answer(session, forget)

    @param("_")
    def snapshot_now(self, session: Session, params: Params) -> Reply:
        """snapshot_now()

        **Task** - Writes all that is known to a file, as is done from time to time and at the end.

        """

        def write(pvs: PvMonitor) -> dict[str, Any]:
            if not pvs.snapshot_now():
                raise StorageUnavailable("the disk refuses; see the troubles of monitor")
            return {"snapshots": pvs.status()["snapshots"]}

        return self._answer(session, write)


def _server_key(value: str) -> tuple[int, int, int]:
    protocol, _, place = value.partition(":")
    host, _, port = place.partition(":")
    number, port_number = port_of(f"{protocol}:{port}", "server")
    return number, host_of(host, "server"), port_number
