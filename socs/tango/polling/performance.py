"""Where performance monitoring is to be on, and the lease for it. Used by one thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from socs.counters import Counters
from socs.errors import StorageUnavailable
from socs.tango.limits import MAX_SHOWN, PATIENCE
from socs.tango.polling.lease import PerformanceLease
from socs.tango.polling.messages import Perf, PerfDone


class PerformanceSwitch:
    """Decides what is switched, and remembers on disk what may be on.

    Args:
        path: the file of the lease.
        counters: has ``performance_cleaned`` and ``performance_renewed``.
        problem: gets a kind and a sentence when something goes wrong.

    Attributes:
        monitored: servers at which it is on, as they have told.
        left_on: servers at which an earlier run, which was killed, may have left it on.
    """

    def __init__(self, path: Path, counters: Counters, problem: Callable[[str, str], None]) -> None:
        self._counters = counters
        self._lease = PerformanceLease(path)
        self._problem = problem
        self._wanted = False
        self._sent: Perf | None = None
        self._failed = ""
        self._off: dict[str, int] = {}  # found to be off though it was switched on: polls
        self.monitored: frozenset[str] = frozenset()
        self.left_on = self._lease.servers
        if self._lease.unreadable:
            problem(
                "lease",
                f"{path} cannot be read, so performance monitoring of an earlier run may still be "
                f"on: {self._lease.unreadable}",
            )

    def want(self, on: bool) -> None:
        """It is wanted, or not."""
        self._wanted = on

    def tell_left_on(self) -> None:
        """Tell what an earlier run did not switch off."""
        if self.left_on:
            what = "stays on where it is wanted" if self._wanted else "is switched off"
            self._problem(
                "left_on",
                f"a run that was killed left performance monitoring on at {len(self.left_on)} "
                f"servers ({_shown(self.left_on)}): it {what}",
            )

    def try_again(self) -> None:
        """Switch off once more what could not be switched off."""
        if self._sent is not None and self._sent.off:
            self._sent = None

    def seen(self, server: str, measures: bool | None) -> None:
        """What an answer shows of a server; None if it does not show whether it is on."""
        if server in self.monitored and measures is False:
            self._off[server] = self._off.get(server, 0) + 1
        else:
            self._off.pop(server, None)

    def message(self, servers: Iterable[str], *, settled: bool) -> Perf | None:
        """What to tell the child, if it is not what it was told; the lease is written before.

        Args:
            servers: those that are polled.
            settled: whether these are all: then it is switched off at others.
        """
        on = frozenset(servers) if self._wanted else frozenset()
        try:
            self._lease.write(self._lease.servers | on)
            self._failed = ""
        except StorageUnavailable as error:
            self._failed = f"performance monitoring is not switched on: {error}"
            self._problem("lease", self._failed)
            on &= self._lease.servers
        off = self._lease.servers - on if settled or not self._wanted else frozenset()
        if not on and not off and not self.monitored:
            return None
        message = Perf(sorted(on), sorted(off))
        again = self._switched_off(on)
        if message == self._sent and not again:
            return None
        self._sent = message
        return Perf(message.on, message.off, again)

    def _switched_off(self, on: Collection[str]) -> list[str]:
        """Of the servers at which it is to be on, those where somebody else switched it off."""
        found = [name for name, polls in self._off.items() if polls >= PATIENCE and name in on]
        if found:
            self._counters.add("performance_renewed", len(found))
            self._problem(
                "renewed",
                f"somebody else switched performance monitoring off at {len(found)} servers "
                f"({_shown(found)}): it is switched on again",
            )
        for name in found:
            del self._off[name]
        return sorted(found)

    def restarted(self) -> None:
        """The child is another one, and knows nothing."""
        self._sent = None

    def done(self, told: PerfDone) -> None:
        """What the child did."""
        if told.reason:
            return
        if told.on:
            self.monitored |= {told.server}
            return
        self.monitored -= {told.server}
        if told.server in self.left_on:
            self.left_on -= {told.server}
            self._counters.add("performance_cleaned")
        try:
            self._lease.write(self._lease.servers - {told.server})
        except StorageUnavailable as error:
            self._problem("lease", f"the lease of performance monitoring stays: {error}")

    def troubles(self) -> list[str]:
        """What is wrong at this moment."""
        found = [self._failed] if self._failed else []
        left = self.left_on if self._wanted else self._lease.servers
        if left:
            found.append(f"performance monitoring may still be on at {_shown(left)}")
        return found


def _shown(servers: Collection[str]) -> str:
    """Some of the servers."""
    more = len(servers) - MAX_SHOWN
    return ", ".join(sorted(servers)[:MAX_SHOWN]) + (f" and {more} more" if more > 0 else "")
