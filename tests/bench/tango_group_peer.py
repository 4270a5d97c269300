"""Device servers asked by ``tango.Group``, as ska-tango-event-monitor does: the benchmark's child.

``python -m tests.bench.tango_group_peer TIMEOUT SERVER...`` polls once for each line of its input,
and writes the seconds until all servers had answered, until all replies were read as JSON, and how
many there were. TIMEOUT is in
milliseconds, 0 for Tango's own.
"""

import json
import os
import sys
import time

import tango


def main():
    timeout, *servers = sys.argv[1:]
    group = tango.Group("peer")
    for server in servers:
        group.add(server)
    if int(timeout):
        group.set_timeout_millis(int(timeout))
    print("ready", flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        replies = group.command_inout("QueryEventSystem")
        answered = time.perf_counter() - begun
        read = [json.loads(reply.get_data()) for reply in replies if not reply.has_failed()]
        print(answered, time.perf_counter() - begun, len(read), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
