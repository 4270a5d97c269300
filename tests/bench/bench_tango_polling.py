"""How long many Tango servers take to be asked: ``python -m tests.bench.bench_tango_polling``.

Real device servers, each a process of its own, all of which publish to the next one. They are asked
in turns by:

- ``ours``: `Poller`, with its child process.
- ``Group``: `tango.Group` in a process of its own, as ska-tango-event-monitor has it: all replies
  come together.
- ``Group, 3 s``: the same with Tango's own time-out, which is what it really uses.

"answered" is when the last server that answers has done so, "read" when that has been read: by ours
as a typed snapshot on the other side of a pipe, by the others as JSON. The time-out is the same for
the first two. "ratio" is ours to that of ``Group`` in the same run: less than 1 is faster. Who
begins changes from poll to poll. "spread" is between asking the first and the last of them,
"verdict" when a server that does not answer has been told to hang.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from socs.sim.tango_site import TangoSite
from socs.tango.polling.poller import Poller
from socs.tango.polling.settings import PollSettings
from socs.tango.server import Sample
from socs.testing import wait_until
from socs.testing.tango_database import TangoDatabase

TIMEOUT, PING = 1.0, 0.5  # s
PAUSE = 0.1  # s between two polls
STREAMS = 4  # that each server subscribes to
STARTED = 8  # servers that are started at one time


def names(count: int) -> list[str]:
    return [f"b{n}" for n in range(count)]


@contextmanager
def servers(directory: Path, count: int) -> Iterator[TangoSite]:
    """``count`` servers; each subscribes to events of the next one."""
    with (
        TangoDatabase(directory / "db") as database,
        TangoSite(directory / "site", database.host) as site,
    ):
        for n, name in enumerate(names(count)):
            site.add(
                name, publishers={f"bench/pub/{n}": STREAMS}, subscribers={f"bench/sub/{n}": []}
            )
        for first in range(0, count, STARTED):
            site.start(*names(count)[first : first + STARTED])
        for n in range(count):
            publisher = f"bench/pub/{(n + 1) % count}"
            events = [f"{publisher}/value{k}.change" for k in range(STREAMS)]
            site.call(f"bench/sub/{n}", "Subscribe", events)
        yield site


class Ours:
    """The poller. Of each poll: seconds until all had answered and were read, spread, verdict."""

    def __init__(self, host: str, directory: Path, count: int) -> None:
        self.polls: list[tuple[float, float, float, float]] = []
        self.outcomes: list[int] = []
        self._samples: list[tuple[Sample, float]] = []
        self._over = threading.Event()
        settings = PollSettings(
            tuple(f"tango_devices/{name}" for name in names(count)),
            directory,
            period=3600.0,
            timeout=TIMEOUT,
            ping_timeout=PING,
            tango_host=host,
        )
        self._poller = Poller(settings, self._take, self._end)
        self._poller.start()
        wait_until(lambda: self.polls, 30)

    def _take(self, sample: Sample) -> None:
        self._samples.append((sample, time.monotonic()))

    def _end(self, number: int) -> None:
        now, samples, self._samples = time.monotonic(), self._samples, []
        healthy = [(sample, read) for sample, read in samples if sample.outcome == "ok"]
        first = min(sample.begun for sample, _ in healthy)
        spread = max(sample.begun for sample, _ in healthy) - first
        self.outcomes.append(len(healthy))
        answered = max(sample.ended for sample, _ in healthy) - first
        read = max(read for _, read in healthy) - first
        self.polls.append((answered, read, spread, now - first))
        self._over.set()

    def poll(self) -> None:
        self._over.clear()
        self._poller.poll_now()
        assert self._over.wait(30)

    def close(self) -> None:
        self._poller.stop(5)


class Group:
    """The peer's way. Of each poll: seconds until all had answered, and were read."""

    def __init__(self, host: str, count: int, timeout: float) -> None:
        command = [sys.executable, "-m", "tests.bench.tango_group_peer", str(round(timeout * 1000))]
        command += [f"dserver/tango_devices/{name}" for name in names(count)]
        self.polls: list[tuple[float, float]] = []
        self.outcomes: list[int] = []
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "TANGO_HOST": host},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def poll(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answered, read, replies = self._line().split()
        self.polls.append((float(answered), float(read)))
        self.outcomes.append(int(replies))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Of the medians."""
    return f"{statistics.median(ours) / statistics.median(theirs):6.2f}"


def shown(seconds: Sequence[float]) -> str:
    """Median and range in milliseconds."""
    low, high = 1000 * min(seconds), 1000 * max(seconds)
    return f"{1000 * statistics.median(seconds):8.1f}  ({low:.1f} to {high:.1f})"


def compare(
    site: TangoSite, directory: Path, count: int, polls: int, hung_counts: Sequence[int]
) -> None:
    host = site.env["TANGO_HOST"]
    ours = Ours(host, directory, count)
    groups = {"Group": Group(host, count, TIMEOUT), "Group, 3 s": Group(host, count, 0)}
    everyone = [ours, *groups.values()]
    try:
        for each in everyone:
            each.poll()  # the first one is of new connections
        for hung in hung_counts:
            for name in names(count)[:hung]:
                site.freeze(name)
            for each in everyone:
                each.polls.clear()
                each.outcomes.clear()
            for number in range(polls if not hung else max(3, polls // 6)):
                first = number % len(everyone)
                for each in everyone[first:] + everyone[:first]:
                    each.poll()
                    time.sleep(PAUSE)
            report(hung, ours, groups)
            for name in names(count)[:hung]:
                site.thaw(name)
            time.sleep(PAUSE)
    finally:
        for each in everyone:
            each.close()


def report(hung: int, ours: Ours, groups: dict[str, Group]) -> None:
    print(f"\n{hung} hung, polls: {len(ours.polls)}; milliseconds, median (range)")
    answered, read, spreads, verdicts = zip(*ours.polls, strict=True)
    rows = {"ours": (answered, read, ours.outcomes)}
    for name, group in groups.items():
        rows[name] = (*zip(*group.polls, strict=True), group.outcomes)
    for name, (asked, seconds, answers) in rows.items():
        print(
            f"  {name:11s} answered {shown(asked):28s} read {shown(seconds):28s} "
            f"answers {min(answers)}"
        )
    group_answered, group_read, _ = rows["Group"]
    print(
        f"  {'ratio':11s} answered   {ratio(answered, group_answered):29s} "
        f"read   {ratio(read, group_read)}"
    )
    print(f"  {'':11s} spread      {shown(spreads)}")
    if hung:
        print(f"  {'':11s} verdict     {shown(verdicts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--servers", type=int, default=40)
    parser.add_argument("--polls", type=int, default=60)
    parser.add_argument("--hung", type=int, nargs="+", default=[0, 1, 4])
    args, _ = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        begun = time.monotonic()
        with servers(directory, args.servers) as site:
            print(f"{args.servers} servers are up after {time.monotonic() - begun:.0f} s")
            compare(site, directory / "state", args.servers, args.polls, args.hung)


if __name__ == "__main__":
    main()
