"""The child that asks: ``python -m socs.epics.cainfo.child PROTOCOL...``.

Libraries of clients have threads and hold Python's global lock; whatever they do, it ends with this
process. It reads questions from its standard input and tells the answers on its standard output,
each as soon as it is there. It ends with its input, or if its loop stands still.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from socs import frames
from socs.epics.cainfo.addresses import AddressLists, Destination, split_address
from socs.epics.cainfo.messages import Answer, Ask, PvInfo, Question, decode_ask, encode
from socs.epics.cainfo.search import NameSearch
from socs.errors import SocsError
from socs.problems import printable

STANDSTILL = 15  # s
ALIVE_PERIOD = 1.0  # s
SERVERS_AT_ONCE = 200  # by all questions together
FILES = 4096  # open ones; some systems allow 1024


class Server(Protocol):
    """A connection to one server; there are two kinds."""

    def __init__(self, address: Destination) -> None: ...
    async def ask(self, info: PvInfo, most_elements: int) -> None: ...
    async def close(self) -> None: ...


def kinds_of(protocols: Iterable[str]) -> dict[str, type[Server]]:
    """What asks by these protocols. Loading either library takes time."""
    kinds: dict[str, type[Server]] = {}
    if "ca" in protocols:
        from socs.epics.cainfo.ca import CaServer  # noqa: PLC0415

        kinds["ca"] = CaServer
    if "pva" in protocols:
        from socs.epics.cainfo.pva import PvaServer  # noqa: PLC0415

        kinds["pva"] = PvaServer
    return kinds


class Servers:
    """Connections for the questions of one message, one for each server."""

    def __init__(self, kinds: Mapping[str, type[Server]], room: asyncio.Semaphore) -> None:
        self._kinds, self._room = kinds, room
        self._known: dict[tuple[str, Destination], asyncio.Task[Server]] = {}

    async def get(self, protocol: str, address: Destination) -> Server:
        """The one to ``address``; waits while there are too many."""
        key = (protocol, address)
        if key not in self._known:
            self._known[key] = asyncio.ensure_future(self._make(protocol, address))
        return await asyncio.shield(self._known[key])

    async def _make(self, protocol: str, address: Destination) -> Server:
        await self._room.acquire()
        return self._kinds[protocol](address)

    async def close(self) -> None:
        """Give all back."""
        for making in self._known.values():
            making.cancel()  # if there was no room until now
        made = await asyncio.gather(*self._known.values(), return_exceptions=True)
        servers = [each for each in made if not isinstance(each, BaseException)]
        for _ in servers:
            self._room.release()
        await asyncio.gather(*(each.close() for each in servers), return_exceptions=True)


class Child:
    """Answers questions until there are no more messages."""

    def __init__(self, kinds: Mapping[str, type[Server]], tell: Callable[[Answer], None]) -> None:
        self._kinds, self._tell = kinds, tell
        self._search = NameSearch(AddressLists.from_environ(os.environ))
        self._room = asyncio.Semaphore(SERVERS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, ask: Ask) -> None:
        """Begin to answer."""
        task = asyncio.ensure_future(self._answer_all(ask))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer_all(self, ask: Ask) -> None:
        servers = Servers(self._kinds, self._room)
        try:
            await asyncio.gather(
                *(
                    self._answer(ask, index, each, servers)
                    for index, each in enumerate(ask.questions)
                )
            )
        finally:
            await servers.close()

    async def _answer(self, ask: Ask, index: int, question: Question, servers: Servers) -> None:
        info = PvInfo(name=question.name, protocol=question.protocol, server=question.server)
        info.reason = "other servers are asked before"
        try:
            await asyncio.wait_for(self._fill(info, ask.most_elements, servers), ask.timeout)
        except asyncio.TimeoutError:
            info.reason = f"{info.reason} (within {ask.timeout:.3g} s)"
        except SocsError as error:
            info.reason = printable(str(error))
        except Exception as error:  # noqa: BLE001  told as the reason; other names are asked all the same
            info.reason = printable(f"the answer could not be understood: {error!r}")
        self._tell(Answer(ask.number, index, msgspec.to_builtins(info)))

    async def _fill(self, info: PvInfo, most_elements: int, servers: Servers) -> None:
        if not info.server:
            info.reason = "no server answered the search"
            info.server, *info.others = await self._search.find(info.name, info.protocol)
            info.reason = "other servers are asked before"
        server = await servers.get(info.protocol, split_address(info.server))
        await server.ask(info, most_elements)


def _keep_alive(loop: asyncio.AbstractEventLoop) -> None:
    """Let the system end this process unless this function is called again soon.

    Also if a library holds Python's lock for good, and the parent is not there to kill it.
    """
    signal.alarm(STANDSTILL)
    loop.call_later(ALIVE_PERIOD, _keep_alive, loop)


async def _main(out: Any) -> None:
    loop = asyncio.get_running_loop()
    _keep_alive(loop)
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    child = Child(kinds_of(sys.argv[1:]), lambda told: frames.send(out, encode(told)))
    frames.send(out, encode(Answer()))
    try:
        while True:
            head = await reader.readexactly(4)
            child.take(decode_ask(await reader.readexactly(int.from_bytes(head, "big"))))
    except asyncio.IncompleteReadError:  # the parent has closed, or is gone
        os._exit(0)


def main() -> None:
    """Run the child; ends the process, whatever its threads do."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(FILES, most)), most))
    logging.basicConfig(level=logging.CRITICAL)  # what is wrong is told with the answers
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no message
    try:
        asyncio.run(_main(out))
    except Exception:  # noqa: BLE001  the parent sees it end, and starts another one
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
