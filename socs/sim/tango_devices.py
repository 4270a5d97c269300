"""Tango devices that publish and receive events, and know exactly how many.

``python -m socs.sim.tango_devices INSTANCE`` serves the devices that the Tango database has for
``tango_devices/INSTANCE``, of two classes:

- ``SimPublisher`` pushes events by hand, at a steady pace or in bursts.
- ``SimSubscriber`` subscribes to what it is told to and counts what its callbacks see. Its
  callbacks may be slow: all of a process share one thread, as in any Tango client.

Both tell the ``Truth`` as JSON. :class:`socs.sim.tango_site.TangoSite` starts them.
"""

# mypy: disable-error-code="misc, untyped-decorator"
# (pytango has no types)

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import tango
from tango.server import Device, attribute, command, device_property, run

from socs.errors import Malformed
from socs.sim.pacing import Repeat, run_paced
from socs.tango.names import EventName, parse_event

SERVER = "tango_devices"
STOP_TIMEOUT = 5.0  # s that the thread of a pace may take to end

# How each kind of event is switched on for an attribute, and pushed.
_PUSHED: dict[str, tuple[Callable[[Any, str], None], Callable[[Any, str, int], None]]] = {
    "change": (
        lambda device, name: device.set_change_event(name, True, False),
        lambda device, name, value: device.push_change_event(name, float(value)),
    ),
    "archive": (
        lambda device, name: device.set_archive_event(name, True, False),
        lambda device, name, value: device.push_archive_event(name, float(value)),
    ),
    "alarm": (
        lambda device, name: device.set_alarm_event(name, True, False),
        lambda device, name, value: device.push_alarm_event(name, float(value)),
    ),
    "data_ready": (
        lambda device, name: device.set_data_ready_event(name, True),
        lambda device, name, value: device.push_data_ready_event(name, value),
    ),
}
_SUBSCRIBED = {
    "change": tango.EventType.CHANGE_EVENT,
    "archive": tango.EventType.ARCHIVE_EVENT,
    "alarm": tango.EventType.ALARM_EVENT,
    "data_ready": tango.EventType.DATA_READY_EVENT,
}


class SimPublisher(Device):
    """Attributes ``value0``, ``value1``, ... whose events are pushed by command only.

    Events are called ``attribute.kind`` with a kind of :data:`_PUSHED`.
    """

    Attributes = device_property(dtype=int, default_value=1, doc="how many attributes there are")

    # Of the process: a device that is made anew by DevRestart goes on with them.
    _pushed: ClassVar[dict[str, Counter[str]]] = {}
    _init_takes: ClassVar[float] = 0.0

    def init_device(self) -> None:
        """Also done again by ``Init`` and ``DevRestart``."""
        super().init_device()
        time.sleep(SimPublisher._init_takes)
        SimPublisher._init_takes = 0.0
        self._counts = SimPublisher._pushed.setdefault(self.get_name().lower(), Counter())
        self._pacing: threading.Thread | None = None
        self._stopped = threading.Event()

    def initialize_dynamic_attributes(self) -> None:
        """Make the attributes, with events of all kinds."""
        for number in range(self.Attributes):
            name = f"value{number}"
            self.add_attribute(attribute(name=name, dtype=float, fget=self._read))
            for switch_on, _ in _PUSHED.values():
                switch_on(self, name)

    def delete_device(self) -> None:
        """End the pace, if there is one."""
        self._end_pace()
        super().delete_device()

    def _read(self, read: Any) -> float:
        return float(self._counts[f"{read.get_name().lower()}.change"])

    def _push(self, event: str) -> None:
        name, _, kind = event.partition(".")
        self._counts[event] += 1
        _PUSHED[kind][1](self, name, self._counts[event])

    def _known(self, asked: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(asked)
        name, _, kind = told["event"].partition(".")
        if kind not in _PUSHED or name not in {f"value{n}" for n in range(self.Attributes)}:
            tango.Except.throw_exception("Sim_NoSuchEvent", told["event"], "SimPublisher")
        return told

    @command(dtype_in=str)
    def Burst(self, asked: str) -> None:
        """Push ``{"event": "value0.change", "events": 1000}`` as fast as it goes."""
        told = self._known(asked)
        for _ in range(told["events"]):
            self._push(told["event"])

    @command(dtype_in=str)
    def Pace(self, asked: str) -> None:
        """Push ``{"event": ..., "rate": 10.0, "events": N or null}`` [1/s]; ends another pace."""
        told = self._known(asked)
        self._end_pace()
        self._stopped = stopped = threading.Event()
        every = Repeat(lambda: self._push(told["event"]), told["rate"], time.monotonic())

        def go() -> None:
            with tango.EnsureOmniThread():
                run_paced(every, [], told["events"], stopped.is_set)

        self._pacing = threading.Thread(target=go, name="pace", daemon=True)
        self._pacing.start()

    @command
    def StopPace(self) -> None:
        """End the pace; after it the truth does not change."""
        self._end_pace()

    @command(dtype_in=float)
    def StallInit(self, seconds: float) -> None:
        """Let the next initialisation take so long: ``DevRestart`` then keeps the server busy."""
        SimPublisher._init_takes = seconds

    @command(dtype_out=str)
    def Truth(self) -> str:
        """``{"pushed": {"value0.change": N, ...}, "pacing": bool}``, of the process."""
        pacing = self._pacing is not None and self._pacing.is_alive()
        return json.dumps({"pushed": dict(self._counts), "pacing": pacing})

    def _end_pace(self) -> None:
        self._stopped.set()
        if self._pacing is not None:
            self._pacing.join(STOP_TIMEOUT)


class SimSubscriber(Device):
    """Counts the events that its callbacks see."""

    Events = device_property(
        dtype=(str,), default_value=[], doc="subscribed to from the start, as soon as there are any"
    )

    def init_device(self) -> None:
        """Forget what was counted, and subscribe to ``Events``."""
        super().init_device()
        self._received: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._delay = 0.0
        self._subscriptions: list[tuple[Any, int]] = []
        for text in self.Events:
            self._subscribe(text, tango.EventSubMode.Async)

    def delete_device(self) -> None:
        """Subscribe to nothing any more."""
        self.UnsubscribeAll()
        super().delete_device()

    def _subscribe(self, text: str, mode: Any) -> None:
        try:
            name = parse_event(text)
        except Malformed as error:
            tango.Except.throw_exception("Sim_NoSuchEvent", str(error), "SimSubscriber")
        host = f"tango://{name.authority}/" if name.authority else ""
        proxy = tango.DeviceProxy(f"{host}{name.device}")
        number = proxy.subscribe_event(
            name.attribute, _SUBSCRIBED[name.event], self._callback(name), mode
        )
        self._subscriptions.append((proxy, number))

    def _callback(self, name: EventName) -> Callable[[Any], None]:
        def see(seen: Any) -> None:
            if seen.err:
                self._errors[seen.errors[0].reason] += 1
                return
            # The value that is there when one subscribes is no event.
            if seen.event_reason == tango.EventReason.Update:
                self._received[name.path] += 1
                time.sleep(self._delay)

        return see

    @command(dtype_in=(str,))
    def Subscribe(self, events: Sequence[str]) -> None:
        """Subscribe to events called ``domain/family/member/attribute.kind``."""
        for text in events:
            self._subscribe(text, tango.EventSubMode.SyncRead)

    @command
    def UnsubscribeAll(self) -> None:
        """End all subscriptions."""
        while self._subscriptions:
            proxy, number = self._subscriptions.pop()
            proxy.unsubscribe_event(number)

    @command(dtype_in=float)
    def Delay(self, seconds: float) -> None:
        """Let each callback take so long from now on."""
        self._delay = seconds

    @command(dtype_out=str)
    def Truth(self) -> str:
        """``{"received": {"domain/family/member/attribute.kind": N}, "errors": {reason: N}}``."""
        return json.dumps({"received": dict(self._received), "errors": dict(self._errors)})


if __name__ == "__main__":
    run([SimPublisher, SimSubscriber], args=[SERVER, *sys.argv[1:]])
