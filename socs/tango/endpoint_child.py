"""The child of :mod:`socs.tango.endpoints`: names of servers as JSON on stdin, lines on stdout."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tango

TIMEOUT = 1000  # ms for each server
TOGETHER = 16  # servers asked at a time
LONGEST = 30  # s; a child whose parent was killed ends then, whatever holds it up
COMMAND = "ZmqEventSubscriptionChange"


def answer(server: str) -> dict[str, Any]:
    """What a server tells of its sockets, or why it does not."""
    try:
        with tango.EnsureOmniThread():
            proxy = tango.DeviceProxy(server)
            proxy.set_timeout_millis(TIMEOUT)
            _, texts = proxy.command_inout(COMMAND, ["info"])
            return {"server": server, "texts": [*texts]}
    except tango.DevFailed as error:
        return {"server": server, "error": error.args[-1].desc}


def main() -> None:
    """Answer for all servers, a line each; what Tango prints goes to stderr."""
    out = os.dup(1)
    os.dup2(2, 1)
    signal.alarm(LONGEST)
    one_at_a_time = threading.Lock()

    def tell(server: str) -> None:
        line = json.dumps(answer(server)) + "\n"
        with one_at_a_time:
            os.write(out, line.encode())

    with ThreadPoolExecutor(TOGETHER) as threads:  # one that hangs holds up its thread
        list(threads.map(tell, json.load(sys.stdin)))
    os._exit(0)


if __name__ == "__main__":
    main()
