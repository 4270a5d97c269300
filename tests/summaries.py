"""Hearing the summaries of gateways as a monitor does: a subscriber to their feeds.

The subscriber is a process of its own (`tests.summary_subscriber`), as a reactor cannot be started
twice in one.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from socs.epics.summary import Summary, decode
from socs.sim.site import Site
from socs.testing import wait_until

Heard = Callable[[], list[Summary]]


@contextmanager
def hearing(site: Site, instances: Sequence[str], output: Path) -> Iterator[Heard]:
    """All summaries of these gateways that have come so far, in the order of arrival.

    Args:
        site: with the router running.
        instances: of the gateways.
        output: file for what is heard.
    """
    topics = [f"{site.address_root}.{each}.feeds.traffic" for each in instances]
    url = f"ws://127.0.0.1:{site.port}/ws"
    command = [sys.executable, "-m", "tests.summary_subscriber", url, site.realm, str(output)]
    ready = output.with_suffix(".ready")
    process = subprocess.Popen([*command, str(ready), *topics])
    try:
        wait_until(ready.exists, 20, "the subscriber")
        yield lambda: [decode(message) for message in _messages(output)]
    finally:
        process.kill()
        process.wait()


def _messages(output: Path) -> Iterator[object]:
    if not output.exists():
        return
    octets, at = output.read_bytes(), 0
    while at + 4 <= len(octets):
        end = at + 4 + int.from_bytes(octets[at : at + 4], "big")
        if end > len(octets):
            return
        yield msgspec.msgpack.decode(octets[at + 4 : end])
        at = end


def told(summaries: Sequence[Summary]) -> tuple[Counter, dict[tuple[int, int], bytes]]:
    """How often each (name, host) was asked for, and the names by epoch and number."""
    names: dict[tuple[int, int], bytes] = {}
    asked: Counter = Counter()
    for summary in summaries:
        for place, name in enumerate(summary.names):
            names[summary.epoch, summary.first_name + place] = name
        for row in summary.requests:
            host = int(summary.sources[row["source"]]["host"])
            asked[names[summary.epoch, int(row["name"])].decode(), host] += int(row["count"])
    return asked, names
