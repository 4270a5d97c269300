"""A poller with a tracker behind it, polled by hand, and what they told."""

import json
import time

import psutil

from socs.sim.tango_site import TangoSite
from socs.tango.polling.poller import Poller
from socs.tango.polling.settings import PollSettings
from socs.tango.track import EventTracker
from socs.testing import wait_until

PUBS, SUBS = ("pub1", "pub2"), ("sub1", "sub2")
POLL_TIMEOUT = 20.0  # s


def device(instance):
    return f"sim/{instance[:3]}/{instance[3:]}"


class Watch:
    """Polls when it is told to (the period is an hour); a context manager.

    Attributes:
        polls: of each poll, the samples by server.
        events: all that the tracker told.
        told: what the poller reported.
    """

    def __init__(self, host, state_dir, names=("*",), **settings):
        self.tracker = EventTracker()
        self.polls, self.events, self.told = [], [], []
        self._samples = {}
        times = {"period": 3600.0, "timeout": 0.6, "ping_timeout": 0.4, "directory_period": 0.3}
        self.poller = Poller(
            PollSettings(tuple(names), state_dir, tango_host=host, **(times | settings)),
            self._take,
            self._end,
            self.told.append,
        )

    def _take(self, sample):
        assert sample.server not in self._samples, "two samples of one server in one poll"
        self._samples[sample.server] = sample
        self.events += self.tracker.feed(sample)

    def _end(self, number):
        self.events += self.tracker.reconcile(time.monotonic())
        self.polls.append(self._samples)
        self._samples = {}

    def __enter__(self):
        self.poller.start()
        wait_until(lambda: self.polls, POLL_TIMEOUT, "the first poll")
        return self

    def __exit__(self, *_):
        self.poller.stop(5.0)
        assert not self.poller.alive
        assert self.poller.counters["polling_callback_errors"] == 0, self.told

    def poll(self, times=1):
        """Poll so often; the last poll's outcomes by the last part of the server's name."""
        for _ in range(times):
            before = len(self.polls)
            self.poller.poll_now()
            wait_until(lambda before=before: len(self.polls) > before, POLL_TIMEOUT, "a poll")
        return self.outcomes()

    def outcomes(self):
        return {name.rpartition("/")[2]: each.outcome for name, each in self.polls[-1].items()}

    def news(self, since):
        """Warnings and errors told after the first ``since`` events, and of whom."""
        told = [event for event in self.events[since:] if event.severity != "info"]
        return {(event.kind, event.server.rpartition("/")[2]) for event in told}

    def wait_known(self, *instances):
        """Wait until just these servers are polled."""

        def known():
            return {name.rpartition("/")[2] for name in self.poller.status()["servers"]}

        wait_until(lambda: known() == set(instances), POLL_TIMEOUT, f"{instances}")


def build(directory, host):
    """Two publishers and two subscribers, not started."""
    site = TangoSite(directory, host)
    for name in PUBS:
        site.add(name, publishers={device(name): 3})
    for name in SUBS:
        site.add(name, subscribers={device(name): []})
    return site


def calm(site):
    """Have the devices as they were at the start, but for what was pushed."""
    for name in SUBS:
        site.call(device(name), "Init")
    for name in PUBS:
        site.call(device(name), "StopPace")


def freeze(site, instance):
    """Freeze a server, and wait until it is."""
    site.freeze(instance)
    process = psutil.Process(site.pid(instance))
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED)


def monitored(site, *instances):
    """Servers that have performance monitoring on, as they tell."""
    found = set()
    for name in instances or (*PUBS, *SUBS):
        reply = json.loads(site.call(site.admin(name), "QueryEventSystem"))
        if any(reply[part] and reply[part]["perf"] is not None for part in ("server", "client")):
            found.add(name)
    return found
