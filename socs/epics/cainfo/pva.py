"""One server of PV Access, asked with p4p."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from p4p.client.raw import Context

from socs.epics.cainfo.addresses import Destination
from socs.epics.cainfo.connecting import connect, words
from socs.epics.cainfo.messages import PvInfo
from socs.epics.cainfo.values import pair, plain, text
from socs.errors import PeerError
from socs.problems import printable

MAGIC = 0xCA  # first byte that a server sends, unasked
SEVERITIES = ("NO_ALARM", "MINOR", "MAJOR", "INVALID", "UNDEFINED")
STATUSES = ("NO_STATUS", "DEVICE", "DRIVER", "RECORD", "DB", "CONF", "UNDEFINED", "CLIENT")
EPICS_EPOCH = 631_152_000  # s from 1970 to 1990; a record that was never set has this time
TYPES = {
    "?": "boolean",
    "s": "string",
    "b": "byte",
    "B": "ubyte",
    "h": "short",
    "H": "ushort",
    "i": "int",
    "I": "uint",
    "l": "long",
    "L": "ulong",
    "f": "float",
    "d": "double",
    "v": "any",
}
LIMITS = {
    "display": ("display", "limitLow", "limitHigh"),
    "control": ("control", "limitLow", "limitHigh"),
    "warning": ("valueAlarm", "lowWarningLimit", "highWarningLimit"),
    "alarm": ("valueAlarm", "lowAlarmLimit", "highAlarmLimit"),
}


class PvaServer:
    """A connection to one server, made when the first name is asked for.

    It is the only server that the library knows, so that nobody else can answer.
    """

    def __init__(self, address: Destination) -> None:
        self._address = address
        self._opening: asyncio.Task[None] | None = None
        self._context: Any = None

    async def ask(self, info: PvInfo, most_elements: int) -> None:
        """Fill in ``info``. While this is under way, its reason is what is being waited for.

        Raises:
            PeerError: there is no such server, or it refuses.
        """
        info.reason = "the server does not answer"
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        await asyncio.shield(self._opening)
        info.reason = "the server does not have it, or does not answer"
        value = await self._get(info.name)
        info.state, info.reason = "connected", ""
        info.read = True
        _add(info, value, most_elements)

    async def close(self) -> None:
        """Give the connection back; may take a moment, and waits for it elsewhere."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._context is not None:
            await asyncio.to_thread(self._context.close)

    async def _open(self) -> None:
        """Look whether somebody is there that speaks the protocol; the library does not tell."""
        reader, writer = await connect(self._address)
        host, port = writer.get_extra_info("peername")
        try:
            greeting = await reader.read(1)
        except OSError as error:
            raise PeerError(f"the connection broke: {words(error)}") from error
        finally:
            writer.close()
        if greeting[:1] != bytes([MAGIC]):
            raise PeerError("the server does not speak PV Access")
        alone = {
            "EPICS_PVA_NAME_SERVERS": f"{host}:{port}",
            "EPICS_PVA_ADDR_LIST": "",
            "EPICS_PVA_AUTO_ADDR_LIST": "NO",
        }
        self._context = Context("pva", conf=alone, useenv=False, nt=False)

    async def _get(self, name: str) -> Any:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def give(value: Any) -> None:
            if answer.done():
                return
            if isinstance(value, Exception):
                answer.set_exception(PeerError(f"the server refuses: {text(str(value))}"))
            else:
                answer.set_result(value)

        operation = self._context.get(name, lambda value: loop.call_soon_threadsafe(give, value))
        try:
            return await answer
        finally:
            operation.close()


def _add(info: PvInfo, told: Any, most_elements: int) -> None:
    """What stands in a value of p4p; any structure may come, and any field may be missing."""
    fields: dict[str, Any] = told.todict()
    info.structure = text(told.getID())
    if "value" in fields:
        info.type = _type_name(told.type().aspy("value"))
        _add_value(info, fields["value"], most_elements)
    else:
        info.type, info.value = "structure", plain(fields, most_elements)
    alarm, display = _part(fields, "alarm"), _part(fields, "display")
    if alarm:
        info.severity = _word(SEVERITIES, alarm.get("severity"))
        info.status = _word(STATUSES, alarm.get("status"))
        info.message = text(str(alarm.get("message", "")))
    stamp = _part(fields, "timeStamp")
    seconds, ns = _whole(stamp, "secondsPastEpoch"), _whole(stamp, "nanoseconds")
    if seconds and (seconds, ns) != (EPICS_EPOCH, 0):
        info.time_ns = seconds * 10**9 + (ns or 0)
    info.units = printable(text(str(display.get("units", ""))))
    info.description = text(str(display.get("description", "")))
    info.precision = _whole(display, "precision")
    for name, (part, low, high) in LIMITS.items():
        found = _part(fields, part)
        limits = pair(found.get(low), found.get(high))
        if limits is not None:
            info.limits[name] = limits


def _add_value(info: PvInfo, value: Any, most_elements: int) -> None:
    if isinstance(value, Mapping) and {"index", "choices"} <= set(value):
        info.type = "enum_t"
        info.choices = [text(each) for each in value["choices"][:most_elements]]
        info.value, info.count, info.length = value["index"], 1, 1
        if 0 <= value["index"] < len(value["choices"]):
            info.text = text(value["choices"][value["index"]])
        return
    is_list = isinstance(value, np.ndarray | list)
    info.count = info.length = len(value) if is_list else 1
    info.value = plain(value, most_elements)


def _part(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = fields.get(name)
    return found if isinstance(found, Mapping) else {}


def _whole(fields: Mapping[str, Any], name: str) -> int | None:
    found = fields.get(name)
    return found if isinstance(found, int) else None


def _word(words: tuple[str, ...], code: Any) -> str:
    return words[code] if isinstance(code, int) and 0 <= code < len(words) else text(str(code))


def _type_name(spec: Any) -> str:
    """The name of what p4p has as ``d``, ``ad``, or as a tuple for structures and unions."""
    if not isinstance(spec, str):
        kind = {"S": "structure", "U": "union", "aS": "structure[]", "aU": "union[]"}
        return kind.get(spec[0], "structure")
    return TYPES.get(spec[-1], spec) + ("[]" if spec.startswith("a") else "")
