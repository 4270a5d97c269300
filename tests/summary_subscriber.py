"""A subscriber, as a program: writes what it hears to a file, each message with its length before.

It needs little, so that it starts quickly::

    python -m tests.summary_subscriber URL REALM OUTPUT READY TOPIC...

READY is a file that is made when it has subscribed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from autobahn.twisted.wamp import ApplicationRunner, ApplicationSession
from twisted.internet.defer import inlineCallbacks


def main(url: str, realm: str, output: str, ready: str, *topics: str) -> None:
    """Listen until the process is ended."""

    class Subscriber(ApplicationSession):
        @inlineCallbacks
        def onJoin(self, details):
            for topic in topics:
                yield self.subscribe(self.note, topic)
            Path(ready).touch()

        def note(self, message):
            octets = msgspec.msgpack.encode(message[0])
            with Path(output).open("ab") as file:
                file.write(len(octets).to_bytes(4, "big") + octets)

    ApplicationRunner(url, realm).run(Subscriber, auto_reconnect=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
