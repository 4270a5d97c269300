"""What libca tells of names: ``python -m tests.libca_cainfo NAME...``, a line of JSON for each.

It asks as ``cainfo``, ``caget -d DBR_CTRL_...`` and ``caget -a`` of EPICS base do, with the same
library; those programs are not in the packages of Python.
"""

import ctypes
import json
import math
import sys
import time

from epicscorelibs.ca import cadef, dbr

TIMEOUT = 10.0  # s
CONNECTED = 2
FIELDS = {0: "STRING", 1: "SHORT", 2: "FLOAT", 3: "ENUM", 4: "CHAR", 5: "LONG", 6: "DOUBLE"}


class Channel(ctypes.c_void_p):
    name: str


def wait(condition) -> None:
    end = time.monotonic() + TIMEOUT
    while not condition() and time.monotonic() < end:
        cadef.ca_pend_event(0.01)


@cadef.connection_handler
def connection(_):
    pass


def read(channel, form, count):
    """The value, with attributes."""
    code, convert = dbr.type_to_dbr(channel, None, form)
    found = []

    @cadef.event_handler
    def event(args):
        found.append(convert(args.raw_dbr, args.type, args.count))

    cadef.ca_array_get_callback(code, count, channel, event, ctypes.py_object())
    wait(lambda: found)
    return found[0]


def told(channel) -> dict:
    cadef.ca_pend_event(0.05)  # access rights
    answer = {
        "name": channel.name,
        "server": cadef.ca_host_name(channel).replace("localhost", "127.0.0.1"),
        "type": f"DBF_{FIELDS[cadef.ca_field_type(channel)]}",
        "count": cadef.ca_element_count(channel),
        "read": cadef.ca_read_access(channel),
        "write": cadef.ca_write_access(channel),
    }
    if not answer["read"]:
        return answer
    control = read(channel, dbr.FORMAT_CTRL, 1)
    timed = read(channel, dbr.FORMAT_TIME, 0)
    answer["value"] = timed.tolist() if hasattr(timed, "tolist") else timed
    seconds, ns = timed.raw_stamp
    answer["time_ns"] = seconds * 10**9 + ns if (seconds, ns) != (dbr.EPICS_epoch, 0) else None
    answer["status"], answer["severity"] = timed.status, timed.severity
    answer["choices"] = list(getattr(control, "enums", ()))
    answer["units"] = getattr(control, "units", "")
    answer["precision"] = getattr(control, "precision", None)
    if hasattr(control, "upper_disp_limit"):
        answer["limits"] = {
            name: [
                None if math.isnan(limit := getattr(control, f"{side}_{key}_limit")) else limit
                for side in ("lower", "upper")
            ]
            for name, key in (
                ("display", "disp"),
                ("control", "ctrl"),
                ("warning", "warning"),
                ("alarm", "alarm"),
            )
        }
    return answer


def main() -> None:
    cadef.ca_context_create(1)
    channels = []
    for name in sys.argv[1:]:
        channel = Channel()
        channel.name = name
        cadef.ca_create_channel(name, connection, ctypes.py_object(), 0, ctypes.byref(channel))
        channels.append(channel)
    wait(lambda: all(cadef.ca_state(each) == CONNECTED for each in channels))
    for channel in channels:
        connected = cadef.ca_state(channel) == CONNECTED
        print(json.dumps(told(channel) if connected else {"name": channel.name, "server": None}))


if __name__ == "__main__":
    main()
