"""The two lists of version 1.0 that programs of sites read from the peer, with the same fields.

What is different, as the peer means it so and does otherwise: a lost application says so; all
hosts are listed if none is named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from socs.epics.applications.host_processes import Mapped, Place
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.networks import host_text
from socs.epics.track.applications import Application, Applications
from socs.epics.track.beacons import Beacons, Server
from socs.epics.track.events import CA

VERSION = "1.0"

Json = dict[str, Any]


def heartbeats(
    applications: Applications,
    now: float,
    *,
    names: Mapping[str, int],
    host: int | None = None,
    lost: bool = False,
    raw: bool = False,
    handle: int | None = None,
) -> Json:
    """``/api/v1.0/heartbeats``: applications that send heartbeats as JSON.

    Args:
        applications: all.
        now: UNIX time [s].
        names: how many names an application has, by its key; unknown ones are left out.
        host: only those of this host.
        lost: those that are lost, too; they are counted in any case.
        raw: with the last heartbeat as it was sent.
        handle: handed back.
    """
    those = [
        (app, app.told)
        for app in applications.known.values()
        if isinstance(app.told, Heartbeat) and host in {None, app.beat.host}
    ]
    gone = sum(_is_lost(app) for app, _ in those)
    listed = [
        _heartbeat(app, told, names.get(app.key), raw=raw, now=now)
        for app, told in those
        if lost or not _is_lost(app)
    ]
    flags = {"lost_flag": lost, "raw_flag": raw, "lost_count": gone, "result_count": len(listed)}
    return _answer({**flags, "heartbeats": listed}, handle)


def beacons(
    tracked: Beacons,
    *,
    mapped: Mapping[Place, Mapped],
    host: int | None = None,
    handle: int | None = None,
) -> Json:
    """``/api/v1.0/beacons``: servers of Channel Access that are not lost.

    Args:
        tracked: all servers.
        mapped: what serves where, as far as is known.
        host: only those of this host.
        handle: handed back.
    """
    listed = [
        [server.host, server.port, _beacon(server, mapped.get((server.host, server.port)))]
        for server in tracked.servers.values()
        if server.protocol == CA and server.state != "LOST" and host in {None, server.host}
    ]
    return _answer({"beacons": listed}, handle)


def error(message: str) -> Json:
    """What both answer if they cannot. There is no traceback for strangers."""
    return {"api_version": VERSION, "status": "ERROR", "msg": message, "traceback": []}


def _answer(body: Json, handle: int | None) -> Json:
    answer = {"version": VERSION, "status": "OK", **body}
    return answer if handle is None else {**answer, "handle": handle}


def _is_lost(app: Application) -> bool:
    return app.state == "LOST"


def _heartbeat(
    app: Application, told: Heartbeat, names: int | None, *, raw: bool, now: float
) -> Json:
    since = 0.0 if _is_lost(app) else now - app.heard
    row: Json = {
        "heartbeat_port": app.sender,
        "app_port": str(told.port),  # a text, as the heartbeat has it
        "version": told.version,
        "pvs": names,
        "pid": told.pid,
        "image": told.image.lstrip(" "),
        "command": told.command,
        "directory": told.directory,
        "lost": _is_lost(app),
        "up_time": int(told.uptime + since),
        "last_time": int(app.heard),
        "app_id": str(told.identity(app.beat.host)),
        "ioc_id": app.beat.host,
    }
    return {**row, "raw": _raw(app, told)} if raw else row


def _raw(app: Application, told: Heartbeat) -> Json:
    """The heartbeat as the peer keeps it: texts, with the address of the sender."""
    return {
        "seq": str(told.sequence),
        "sp": str(told.port),
        "up": str(told.uptime),
        "cur": str(told.clock),
        "pid": str(told.pid),
        "cwd": told.directory,
        "ver": told.version,
        "img": told.image,
        "stcmd": told.command,
        "ip_k": app.beat.host,
        "p": app.sender,
        "addr": host_text(app.beat.host),
        "qt": app.heard,
    }


def _beacon(server: Server, mapped: Mapped | None) -> Json:
    """One server; what is not known is left out, as the peer does."""
    row: Json = {"p": server.port, "t": server.heard, "L": None, "remap": mapped is None}
    if server.numbering is not None:
        row["seq"] = server.numbering.last
    if not math.isnan(server.period):
        row["ival"] = round(1000 * server.period)
    if server.restarts or server.started >= server.first:
        row["t_start"] = server.started
    if mapped is not None:
        row |= {"cmd": mapped.command, "cwd": mapped.directory, "ai": mapped.key}
    return row
