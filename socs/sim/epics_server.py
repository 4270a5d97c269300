"""A real EPICS server as a program: ``python -m socs.sim.epics_server SERVER '{"NAME": "KIND"}'``.

Servers: ``softioc`` (EPICS base: Channel Access and, by QSRV, PV Access), ``caproto`` (Channel
Access), ``p4p`` (PV Access). Kinds are those of :data:`VALUES`. When it serves, it prints the ports
on which it listens, as JSON after the word ``serving``. Ports and addresses are set by ``EPICS_``
variables.
"""

# ruff: noqa: PLC0415  one of the packages is loaded, the chosen one

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

VALUES: dict[str, Any] = {
    "float": 1.5,
    "int": 42,
    "string": "hello",
    "enum": ["Off", "On"],
    "waveform": [1.0, 2.0, 3.0],
}
SERVING = "serving "


def serve_softioc(pvs: Mapping[str, str]) -> None:
    """EPICS base with its own database."""
    from epicscorelibs.ioc import iocshCmd
    from softioc import asyncio_dispatcher, builder, softioc

    make: dict[str, Callable[[str, Any], Any]] = {
        "float": lambda name, value: builder.aIn(name, initial_value=value),
        "int": lambda name, value: builder.longIn(name, initial_value=value),
        "string": lambda name, value: builder.stringIn(name, initial_value=value),
        "enum": lambda name, value: builder.mbbIn(name, *value, initial_value=1),
        "waveform": builder.WaveformIn,
    }
    dispatcher = asyncio_dispatcher.AsyncioDispatcher()
    for name, kind in pvs.items():
        make[kind](name, VALUES[kind])
    builder.LoadDatabase()
    softioc.iocInit(dispatcher)
    with _printed() as printed:
        iocshCmd(b"casr 1")
        iocshCmd(b"pvxsr 2")
    report = printed()
    ca = re.search(r"CAS-TCP server on [\d.]+:(\d+)", report)
    pva = re.search(r"TCP_Port: (\d+)", report)
    assert ca is not None
    assert pva is not None
    tell(ca=int(ca[1]), pva=int(pva[1]))
    threading.Event().wait()


@contextlib.contextmanager
def _printed() -> Iterator[Callable[[], str]]:
    """What the C library prints on the standard output within the block."""
    flush = ctypes.CDLL(None).fflush
    with tempfile.TemporaryFile() as file:
        before = os.dup(1)
        flush(None)
        os.dup2(file.fileno(), 1)
        text: list[str] = []
        try:
            yield lambda: text[0]
        finally:
            flush(None)
            os.dup2(before, 1)
            os.close(before)
            file.seek(0)
            text.append(file.read().decode())


def serve_caproto(pvs: Mapping[str, str]) -> None:
    """Channel Access written in Python."""
    from caproto import ChannelDouble, ChannelEnum, ChannelInteger, ChannelString
    from caproto.asyncio.server import Context

    make: dict[str, Callable[[Any], Any]] = {
        "float": lambda value: ChannelDouble(value=value),
        "int": lambda value: ChannelInteger(value=value),
        "string": lambda value: ChannelString(value=value, string_encoding="latin-1"),
        "enum": lambda value: ChannelEnum(value=1, enum_strings=value),
        "waveform": lambda value: ChannelDouble(value=value),
    }

    async def serve() -> None:
        context = Context({name: make[kind](VALUES[kind]) for name, kind in pvs.items()})

        async def started(_: Any) -> None:
            tell(ca=context.port)

        await context.run(startup_hook=started)

    asyncio.run(serve())


def serve_p4p(pvs: Mapping[str, str]) -> None:
    """PV Access without a database."""
    from p4p.nt import NTEnum, NTScalar
    from p4p.server import Server
    from p4p.server.thread import SharedPV

    types = {"float": "d", "int": "i", "string": "s", "waveform": "ad"}

    def make(kind: str) -> Any:
        if kind == "enum":
            initial = {"index": 1, "choices": VALUES[kind]}
            return SharedPV(nt=NTEnum(), initial=initial)
        return SharedPV(nt=NTScalar(types[kind]), initial=VALUES[kind])

    with Server(providers=[{name: make(kind) for name, kind in pvs.items()}]) as server:
        tell(pva=int(server.conf()["EPICS_PVAS_SERVER_PORT"]))
        threading.Event().wait()


def tell(ca: int = 0, pva: int = 0) -> None:
    """Print the TCP ports of both protocols; 0 for one that is not served."""
    os.write(1, f"{SERVING}{json.dumps({'ca': ca, 'pva': pva})}\n".encode())


SERVERS: dict[str, Callable[[Mapping[str, str]], None]] = {
    "softioc": serve_softioc,
    "caproto": serve_caproto,
    "p4p": serve_p4p,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](json.loads(sys.argv[2]))
