"""The child of :class:`socs.sim.tango_site.TangoSite`: calls commands of Tango devices for it.

Frames of JSON (:mod:`socs.frames`): requests on the standard input, replies on the standard output.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import tango

from socs import frames


def main() -> None:
    """Answer requests until there are no more."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Tango prints is no reply
    proxies: dict[str, Any] = {}
    while (frame := frames.receive(sys.stdin.buffer)) is not None:
        request = json.loads(frame)
        try:
            reply = {"value": _value(_call(proxies, **request))}
        except tango.DevFailed as error:
            reply = {"error": f"{error.args[0].reason}: {error.args[0].desc}"}
        frames.send(out, json.dumps(reply).encode())


def _call(proxies: dict[str, Any], device: str, command: str, argument: Any, timeout: float) -> Any:
    if device not in proxies:
        proxies[device] = tango.DeviceProxy(device)
    proxies[device].set_timeout_millis(round(1000 * timeout))
    return proxies[device].command_inout(command, argument)


def _value(found: Any) -> Any:
    """``found`` as JSON has it."""
    if hasattr(found, "tolist"):  # numpy
        return found.tolist()
    return [*map(_value, found)] if isinstance(found, list | tuple) else found


if __name__ == "__main__":
    main()
    os._exit(0)  # threads of Tango would go on
