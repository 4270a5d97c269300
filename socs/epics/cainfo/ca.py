"""One server of Channel Access, asked over one connection, with the protocol core of caproto."""

from __future__ import annotations

import asyncio
import getpass
import socket
from typing import Any

import caproto

from socs.epics.cainfo.addresses import Destination
from socs.epics.cainfo.connecting import connect, words
from socs.epics.cainfo.messages import PvInfo
from socs.epics.cainfo.values import characters, pair, plain, text
from socs.errors import PeerError, TooLarge
from socs.problems import printable

CHUNK = 1 << 16  # bytes read at once
LARGEST = 1 << 26  # bytes of one message
AT_ONCE = 200  # names of one connection that are not answered yet
VARIABLE_LENGTH_SINCE = 13  # minor version; a read of 0 elements is one of those that there are
MOST_READ = 100_000  # elements; of longer arrays the first ones are read only
EPICS_EPOCH = 631_152_000  # s from 1970 to 1990
LIMITS = {
    "display": ("lower_disp_limit", "upper_disp_limit"),
    "control": ("lower_ctrl_limit", "upper_ctrl_limit"),
    "warning": ("lower_warning_limit", "upper_warning_limit"),
    "alarm": ("lower_alarm_limit", "upper_alarm_limit"),
}


class CaServer:
    """A connection to one server, made when the first name is asked for."""

    def __init__(self, address: Destination) -> None:
        self._address = address
        self._circuit = caproto.VirtualCircuit(caproto.CLIENT, address, priority=0)
        self._opening: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._room = asyncio.Semaphore(AT_ONCE)
        self._awaited: dict[tuple[str, int], asyncio.Future[Any]] = {}
        self._over: PeerError | None = None

    async def ask(self, info: PvInfo, most_elements: int) -> None:
        """Fill in ``info``. While this is under way, its reason is what is being waited for.

        Raises:
            PeerError: the server does not have the name, or the connection failed.
        """
        info.reason = "the server does not answer"
        async with self._room:
            if self._opening is None:
                self._opening = asyncio.ensure_future(self._open())
            await asyncio.shield(self._opening)
            channel = caproto.ClientChannel(info.name, self._circuit)
            await self._request(("channel", channel.cid), channel.create())
            info.state, info.reason = "connected", "the server does not send the value"
            _describe(info, channel)
            if not info.read:
                info.reason = "the server does not let us read the value"
                return
            variable = (
                self._circuit.protocol_version >= VARIABLE_LENGTH_SINCE
                and channel.native_data_count <= MOST_READ
            )
            count = 0 if variable else min(channel.native_data_count, MOST_READ)
            control, timed = await asyncio.gather(
                self._read(channel, "control", 1), self._read(channel, "time", count)
            )
            _add_metadata(info, control.metadata)
            _add_value(info, timed, most_elements)
            if not variable and channel.native_data_count > 1:
                info.length = None
            info.reason = ""

    async def close(self) -> None:
        """Give the connection back."""
        tasks = [task for task in (self._opening, self._listening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    async def _open(self) -> None:
        reader, self._writer = await connect(self._address)
        self._circuit.our_address = self._writer.get_extra_info("sockname")
        self._send(
            caproto.VersionRequest(priority=0, version=caproto.DEFAULT_PROTOCOL_VERSION),
            caproto.HostNameRequest(socket.gethostname()),
            caproto.ClientNameRequest(_user()),
        )
        self._listening = asyncio.ensure_future(self._listen(reader))

    def _send(self, *commands: Any) -> None:
        assert self._writer is not None
        self._writer.write(b"".join(self._circuit.send(*commands)))

    async def _request(self, key: tuple[str, int], command: Any) -> Any:
        if self._over is not None:
            raise self._over
        self._awaited[key] = answer = asyncio.get_running_loop().create_future()
        try:
            self._send(command)
            return await answer
        finally:
            del self._awaited[key]

    async def _read(self, channel: Any, form: str, count: int) -> Any:
        command = channel.read(data_type=form, data_count=count)
        answer = await self._request(("read", command.ioid), command)
        if not answer.status.success:
            raise PeerError(f"the server does not send the value: {answer.status.description}")
        return answer

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Hand answers to those who await them, until there are no more."""
        try:
            while data := await reader.read(CHUNK):
                commands, needed = self._circuit.recv(data)
                for command in commands:
                    self._take(command)
                if needed > LARGEST:
                    raise TooLarge(f"the server sends {needed} bytes at once")
            over = PeerError("the server closed the connection")
        except OSError as error:
            over = PeerError(f"the connection broke: {words(error)}")
        except PeerError as error:
            over = error
        except Exception as error:  # noqa: BLE001  told to all who wait; which ones caproto raises is open
            over = PeerError(f"the server sends what is no Channel Access: {error!r}")
        self._over = over
        for answer in self._awaited.values():
            _fail(answer, over)

    def _take(self, command: Any) -> None:
        if isinstance(command, caproto.ErrorResponse):
            self._take_error(command)
            return
        self._circuit.process_command(command)
        match command:
            case caproto.CreateChanResponse():
                _give(self._awaited.get(("channel", command.cid)), command)
            case caproto.CreateChFailResponse():
                error = PeerError("the server does not have it")
                _fail(self._awaited.get(("channel", command.cid)), error)
            case caproto.ReadNotifyResponse():
                _give(self._awaited.get(("read", command.ioid)), command)

    def _take_error(self, command: Any) -> None:
        """Something was refused: a channel, or a read, whose number ends the header sent back."""
        error = PeerError(f"the server refuses: {text(bytes(command.error_message))}")
        _fail(self._awaited.get(("channel", command.cid)), error)
        request = bytes(command.buffers[1][:16])
        if len(request) == 16:
            _fail(self._awaited.get(("read", int.from_bytes(request[12:], "big"))), error)


def _give(answer: asyncio.Future[Any] | None, result: Any) -> None:
    if answer is not None and not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any] | None, error: PeerError) -> None:
    if answer is not None and not answer.done():
        answer.set_exception(error)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # nobody has the number of this user
        return "socs"


def _describe(info: PvInfo, channel: Any) -> None:
    info.type = f"DBF_{channel.native_data_type.name}"
    if info.type == "DBF_INT":
        info.type = "DBF_SHORT"  # the same number; tools show this name
    info.count = channel.native_data_count
    rights = channel.access_rights
    info.read = bool(rights & caproto.AccessRights.READ)
    info.write = bool(rights & caproto.AccessRights.WRITE)


def _add_metadata(info: PvInfo, told: Any) -> None:
    for name, (low, high) in LIMITS.items():
        if hasattr(told, low):
            limits = pair(_limit(getattr(told, low)), _limit(getattr(told, high)))
            if limits is not None:
                info.limits[name] = limits
    info.units = printable(text(bytes(getattr(told, "units", b""))))
    info.precision = getattr(told, "precision", None)
    info.choices = [text(bytes(each)) for each in getattr(told, "enum_strings", ())]


def _limit(value: Any) -> Any:
    """A limit; those of characters come as one byte."""
    return value[0] if isinstance(value, bytes) else value


def _add_value(info: PvInfo, told: Any, most_elements: int) -> None:
    data = told.data
    info.length = len(data)
    values = plain(data, most_elements)
    info.value = values[0] if info.count == 1 and values else values
    if info.type == "DBF_ENUM" and isinstance(info.value, int):
        if info.value < len(info.choices):
            info.text = info.choices[info.value]
    elif info.type == "DBF_CHAR" and info.count != 1:
        info.text = characters(bytes(data))
    state = told.metadata
    info.severity = _name(caproto.AlarmSeverity, state.severity).removesuffix("_ALARM")
    info.severity = "NO_ALARM" if info.severity == "NO" else info.severity
    info.status = _name(caproto.AlarmStatus, state.status)
    stamp = state.stamp
    if stamp.secondsSinceEpoch or stamp.nanoSeconds:
        info.time_ns = (EPICS_EPOCH + stamp.secondsSinceEpoch) * 10**9 + stamp.nanoSeconds


def _name(kind: Any, code: int) -> str:
    try:
        return str(kind(code).name)
    except ValueError:
        return str(code)
