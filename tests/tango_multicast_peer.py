"""What cppTango really does with multicast properties; run by tests, with a database to write to.

For each case in the file that is named first, a device server is started with the case's properties
and asked for events of its device. cppTango answers with the rate and the interval of the group
that it has chosen, even if the client is on its own host and gets unicast.
"""

import json
import subprocess
import sys
from pathlib import Path

import tango
from tango.server import Device, attribute, run

DEVICE = "Test/Multicast/1"
INSTANCE = "one"
OBJECT = "CtrlSystem"
SERVE = "serve"


class Quiet(Device):
    """A device whose events can be subscribed to; it never sends one."""

    def init_device(self):
        super().init_device()
        for name in ("val", "val2"):
            self.set_change_event(name, True, False)
            self.set_archive_event(name, True, False)

    @attribute(dtype=int)
    def val(self):
        return 1

    @attribute(dtype=int)
    def val2(self):
        return 2


def server_name():
    """As the server itself forms it."""
    return f"{Path(__file__).stem}/{INSTANCE}"


def register(database):
    """Make the device known."""
    info = tango.DbDevInfo()
    info.server, info._class, info.name = server_name(), "Quiet", DEVICE
    database.add_device(info)


def ask(attribute_name, event):
    """Rate [kbit/s] and interval [ms] that the server tells a subscriber."""
    admin = tango.DeviceProxy(f"dserver/{server_name()}")
    words = [DEVICE, attribute_name, "subscribe", event, "6"]
    numbers, _ = admin.command_inout("ZmqEventSubscriptionChange", words)
    return [int(numbers[3]), int(numbers[4])]


def try_case(database, case):
    """What a server that starts with these properties says; no numbers if it crashes."""
    names = ["MulticastEvent", "MulticastRate", "MulticastIvl"]
    database.delete_property(OBJECT, names)
    database.put_property(OBJECT, case["properties"])
    command = [sys.executable, __file__, SERVE, INSTANCE, "-ORBendPoint", "giop:tcp:127.0.0.1:0"]
    printed = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            for line in server.stdout:
                printed.append(line.decode())
                if "Ready to accept request" in printed[-1]:
                    break
            ready = bool(printed) and "Ready" in printed[-1]
            numbers = [ask(*stream) for stream in case["streams"]] if ready else None
        finally:
            server.terminate()
    return {"refused": "uncoherent" in "".join(printed), "numbers": numbers}


def main(cases, answers):
    """Answer the cases of a file in another one."""
    database = tango.Database()
    register(database)
    found = [try_case(database, case) for case in json.loads(cases.read_text())]
    answers.write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == SERVE:
        run((Quiet,), args=[Path(__file__).stem, *sys.argv[2:]])
    else:
        main(*map(Path, sys.argv[1:]))
