"""The child of :mod:`socs.tango.properties`: one request as JSON on stdin, one reply on stdout."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from typing import Any

import tango


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What the database says.

    Raises:
        tango.DevFailed: it cannot be reached, or refuses.
    """
    database = tango.Database()
    name = request["object"]
    if request["do"] == "read":
        keys = [*database.get_object_property_list(name, request["wildcard"])]
        return {"properties": {key: _values(database, name, key) for key in keys}}
    key, new = request["property"], request["new"]
    if _values(database, name, key) != request["old"]:
        return {"written": False}
    if new:
        database.put_property(name, {key: new})
    else:
        database.delete_property(name, key)
    return {"written": True, "found": _values(database, name, key)}


def _values(database: Any, name: str, key: str) -> list[str]:
    return [*database.get_property(name, key)[key]]


def main() -> None:
    """Answer the request on stdin; what Tango prints goes to stderr.

    The signal ends a child that waits for a database, and whose parent was killed.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    signal.alarm(math.ceil(request["timeout"]) + 1)
    try:
        reply = answer(request)
    except tango.DevFailed as error:
        reply = {"error": error.args[-1].desc}
    with os.fdopen(out, "w") as stream:
        json.dump(reply, stream)


if __name__ == "__main__":
    main()
