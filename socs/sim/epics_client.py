"""A real EPICS client as a program: ``python -m socs.sim.epics_client LIBRARY NAME...``.

It searches for the names until it is ended. Libraries: ``libca`` (EPICS base), ``caproto``, ``p4p``
(PV Access). It prints a line of JSON each time that a name is connected or disconnected, and
``searching`` once all names are asked for.
"""

# ruff: noqa: PLC0415  one of the packages is loaded, the chosen one

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

SEARCHING = "searching"
POLL_PERIOD = 0.02  # s
CONNECTED = 2  # of libca's channel_state
PREEMPTIVE = 1


def say(line: str) -> None:
    """Print a line in one piece: threads do."""
    os.write(1, f"{line}\n".encode())


def tell(name: str, server: str | None) -> None:
    """Print that a name is connected to ``host:port``, or, with None, that it is not."""
    say(json.dumps({"name": name, "server": server}))


def search_libca(names: Sequence[str]) -> None:
    """By the client of EPICS base."""
    from epicscorelibs import path

    ca = ctypes.CDLL(path.get_lib("ca"), ctypes.RTLD_GLOBAL)
    ca.ca_host_name.restype = ctypes.c_char_p
    ca.ca_host_name.argtypes = ca.ca_state.argtypes = [ctypes.c_void_p]
    ca.ca_context_create(PREEMPTIVE)
    channels = {}
    for name in names:
        channel = ctypes.c_void_p()
        ca.ca_create_channel(name.encode(), None, None, 0, ctypes.byref(channel))
        channels[name] = channel
    ca.ca_flush_io()
    say(SEARCHING)
    seen = dict.fromkeys(names, False)
    while True:
        for name, channel in channels.items():
            connected = ca.ca_state(channel) == CONNECTED
            if connected != seen[name]:
                seen[name] = connected
                tell(name, ca.ca_host_name(channel).decode() if connected else None)
        time.sleep(POLL_PERIOD)


def search_caproto(names: Sequence[str]) -> None:
    """By caproto's threaded client."""
    from caproto.threading.client import Context

    def changed(pv: Any, state: str) -> None:
        if state == "connected":
            tell(pv.name, "{}:{}".format(*pv.circuit_manager.circuit.address))
        else:
            tell(pv.name, None)

    Context().get_pvs(*names, connection_state_callback=changed)
    say(SEARCHING)
    threading.Event().wait()


def search_p4p(names: Sequence[str]) -> None:
    """By p4p, which does not tell where a server is."""
    from p4p.client.thread import Context, Disconnected

    def changed(name: str, value: Any) -> None:
        tell(name, None if isinstance(value, Disconnected) else "")

    # Updates are told as well; telling a name twice does no harm.
    context = Context("pva", nt=False)
    kept = [context.monitor(name, partial(changed, name), notify_disconnect=True) for name in names]
    say(SEARCHING)
    assert len(kept) == len(names)
    threading.Event().wait()


LIBRARIES: dict[str, Callable[[Sequence[str]], None]] = {
    "libca": search_libca,
    "caproto": search_caproto,
    "p4p": search_p4p,
}

if __name__ == "__main__":
    LIBRARIES[sys.argv[1]](sys.argv[2:])
