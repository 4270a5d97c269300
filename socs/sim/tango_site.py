"""Device servers with simulated publishers and subscribers, in a Tango database::

    with TangoSite(directory, "127.0.0.1:10000") as site:
        site.add("pub", publishers={"sim/pub/1": 4})
        site.add("sub", subscribers={"sim/sub/1": []})
        site.start("pub", "sub")
        site.call("sim/sub/1", "Subscribe", ["sim/pub/1/value0.change"])
        site.burst("sim/pub/1", "value0.change", 1000)
        site.truth("sim/pub/1")["pushed"]

Each server is a process of its own that listens on 127.0.0.1 only and dies with the program.
Nothing of Tango is loaded into this process: a child makes the calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from socs import frames
from socs.closing import Closing
from socs.errors import OurError
from socs.sim.leash import Child, Leash
from socs.sim.ports import LOOPBACK

SERVER = "tango_devices"
DATABASE = "sys/database/2"
START_TIMEOUT = 60.0  # s for all of those that are started together
STOP_TIMEOUT = 10.0
POLL_PERIOD = 0.02
CALL_TIMEOUT = 20.0

Self = TypeVar("Self", bound="TangoSite")


class TangoSite(Closing):
    """Some device servers; a context manager that leaves nothing running.

    Args:
        directory: for logs; made if missing.
        host: ``host:port`` of the Tango database.
    """

    def __init__(self, directory: Path, host: str) -> None:
        self.directory = Path(directory).absolute()
        self.env = {**os.environ, "TANGO_HOST": host, "PYTHONUNBUFFERED": "1"}
        self._leash = Leash()
        self._servers: dict[str, Child] = {}
        self._client: subprocess.Popen[bytes] | None = None

    # -- servers ----------------------------------------------------------------------------------

    @staticmethod
    def admin(instance: str) -> str:
        """The admin device of a server."""
        return f"dserver/{SERVER}/{instance}"

    def add(
        self,
        instance: str,
        *,
        publishers: Mapping[str, int] | None = None,
        subscribers: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Put a server into the database.

        Args:
            publishers: device: how many attributes ``value0``, ``value1``, ... it has.
            subscribers: device: events that it subscribes to as soon as they are there.

        Raises:
            OurError: the database refused.
        """
        publishers, subscribers = publishers or {}, subscribers or {}
        classes = dict.fromkeys(publishers, "SimPublisher")
        classes |= dict.fromkeys(subscribers, "SimSubscriber")
        devices = {self.admin(instance): "DServer"} | classes
        names = [part for pair in devices.items() for part in pair]
        self.call(DATABASE, "DbAddServer", [f"{SERVER}/{instance}", *names])
        for device, number in publishers.items():
            self._put_property(device, "Attributes", [str(number)])
        for device, events in subscribers.items():
            if events:
                self._put_property(device, "Events", events)

    def _put_property(self, device: str, name: str, values: Sequence[str]) -> None:
        words = [device, "1", name, str(len(values)), *values]
        self.call(DATABASE, "DbPutDeviceProperty", words)

    def start(self, *instances: str) -> None:
        """Start servers, together, and wait until all are ready.

        Raises:
            OurError: one did not start; the message has the end of its log.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for instance in instances:
            endpoint = f"giop:tcp:{self.address(instance)}:0"
            words = [instance, "-ORBendPoint", endpoint]
            command = self.command(instance, "socs.sim.tango_devices", *words)
            log = self.directory / f"{instance}.log"
            self._servers[instance] = self._leash.start(command, log=log, env=self.env)
        deadline = time.monotonic() + START_TIMEOUT
        for instance in instances:
            server = self._servers[instance]
            while "Ready to accept request" not in server.output():
                if not server.alive or time.monotonic() > deadline:
                    server.kill()
                    raise OurError(f"{instance} did not start:\n{server.output()[-2000:]}")
                time.sleep(POLL_PERIOD)

    def command(self, instance: str, module: str, *words: str) -> list[str]:
        """What to run so that a module runs for a server, or for ``""``, the child that calls.

        Here, on this machine; to be replaced by sites whose servers have hosts of their own.
        """
        return [sys.executable, "-m", module, *words]

    def address(self, instance: str) -> str:
        """The IPv4 address that a server listens on; goes with :meth:`command`."""
        return LOOPBACK

    def pid(self, instance: str) -> int | None:
        """The process of a server, while it runs."""
        server = self._servers.get(instance)
        return server.pid if server is not None and server.alive else None

    def stop(self, instance: str) -> None:
        """End a server as an operator would: it tells the database."""
        self._servers[instance].stop(STOP_TIMEOUT)

    def kill(self, instance: str) -> None:
        """``kill -9`` a server."""
        self._servers[instance].kill()

    def freeze(self, instance: str) -> None:
        """Freeze a server (SIGSTOP): connections stay open and nothing is answered."""
        self._servers[instance].pause()

    def thaw(self, instance: str) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self._servers[instance].resume()

    # -- devices ----------------------------------------------------------------------------------

    def call(
        self, device: str, command: str, argument: Any = None, *, timeout: float = CALL_TIMEOUT
    ) -> Any:
        """Call a command of any device; what it returns, arrays as lists.

        Args:
            timeout: for the answer [s].

        Raises:
            OurError: it failed, with Tango's reason and description.
        """
        client = self._client or self._start_client()
        assert client.stdin is not None
        assert client.stdout is not None
        request = {"device": device, "command": command, "argument": argument, "timeout": timeout}
        frames.send(client.stdin, json.dumps(request).encode())
        frame = frames.receive(client.stdout)
        if frame is None:
            raise OurError(f"the child that calls devices ended with {client.wait()}")
        reply = json.loads(frame)
        if "error" in reply:
            raise OurError(f"{device} {command}: {reply['error']}")
        return reply["value"]

    def burst(self, device: str, event: str, events: int) -> None:
        """Let a publisher push so many events of ``attribute.kind`` as fast as it can."""
        self.call(device, "Burst", json.dumps({"event": event, "events": events}))

    def pace(self, device: str, event: str, rate: float, events: int | None = None) -> None:
        """Let a publisher push ``rate`` events a second, so many or until ``StopPace``."""
        self.call(device, "Pace", json.dumps({"event": event, "rate": rate, "events": events}))

    def truth(self, device: str) -> dict[str, Any]:
        """What a simulated device knows: events pushed, or received and errors."""
        told: dict[str, Any] = json.loads(self.call(device, "Truth"))
        return told

    def _start_client(self) -> subprocess.Popen[bytes]:
        self._client = subprocess.Popen(
            self.command("", "socs.sim.tango_client"),
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        return self._client

    def close(self) -> None:
        """End everything that was started."""
        if self._client is not None:
            self._client.kill()
            for stream in (self._client.stdin, self._client.stdout):
                if stream is not None:
                    stream.close()
            self._client.wait()
            self._client = None
        self._leash.close(STOP_TIMEOUT)

    def __enter__(self: Self) -> Self:
        return self
