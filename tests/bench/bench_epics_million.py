"""A million process variables in a PV monitor: ``python -m tests.bench.bench_epics_million``.

Through `PvMonitor`, in processes of their own, beside the limits:

- memory: resident, while all is told to it, while it writes a snapshot, and after a start;
- ``page``: a page of 25 of `search`, by pattern and filters; wall time, the median of the repeats;
- ``start``: from the snapshot until questions are answered, wall time.

1000 servers have a thousand names each, which eight of 400 clients ask for. Of 8000 names answers
are seen, too. CPU times are of the thread that asks, and of the process that starts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from socs.db.engine import Database
from socs.db.registrar import RowConstants
from socs.epics.accounts.inventory import InventoryLimits
from socs.epics.knowledge.knowledge import KnowledgeSettings
from socs.epics.monitor.asked_values import Paging
from socs.epics.monitor.monitor import PvMonitor, PvMonitorSettings
from socs.epics.monitor.pv_search import PvFilters
from socs.epics.monitor.store import StoreSettings
from socs.epics.summary import (
    ANSWERS,
    MOST_NAMES,
    REQUESTS,
    SOURCES,
    AnswerPart,
    Beat,
    Summary,
    encode,
)
from socs.epics.track.events import CA
from socs.epics.track.settings import TrackSettings
from socs.testing import wait_until

GATEWAY = "gateway"
SERVERS, PER_SERVER, CLIENTS, ASKING, SEEN = 1000, 1000, 400, 8, 8000
MEMORY, PAGE, START = 1.5, 0.100, 30.0  # limits: GB, s, s
REPEATS = 15
SERVER, CLIENT = 0x0A000000, 0x0A010000  # addresses from here on
PAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "all": ("*", {}),
    "prefix": ("sr017:*", {}),
    "middle": ("*:cur*9*", {}),
    "state": ("*", {"state": "ONLINE"}),
    "server": ("*", {"server": "10.0.0.17:5064"}),
    "requester": ("*", {"requester": "10.1.0.33"}),
    "asked within, class": ("*", {"asked_within": 3600.0, "source_class": "archiver"}),
    "everything": (
        "*:cur*",
        {
            "state": "ONLINE",
            "protocol": "CA",
            "source_class": "archiver",
            "asked_within": 3600.0,
            "requester": "10.1.0.33",
        },
    ),
}


def name_of(number: int) -> str:
    server, at = divmod(number, PER_SERVER)
    return f"SR{server:03d}:PS{at % 37:02d}:Cur{at:03d}:Setpoint"


def messages(names: int) -> Iterator[dict[str, Any]]:
    """What a gateway tells: names and who asks for them, then servers and what each has."""
    boot, number, ended = "bench", 0, time.time()
    totals = {"requests": 0, "datagrams": 0}
    for first in range(0, names, MOST_NAMES):
        told = [name_of(n).encode() for n in range(first, min(first + MOST_NAMES, names))]
        rows = np.zeros(len(told) * ASKING, REQUESTS)
        rows["name"] = np.repeat(np.arange(first, first + len(told)), ASKING)
        rows["source"] = (rows["name"] * 7 + np.tile(np.arange(ASKING), len(told)) * 50) % CLIENTS
        rows["count"] = 1
        sources = np.zeros(CLIENTS, SOURCES)
        sources["host"], sources["port"] = CLIENT + np.arange(CLIENTS), 4711
        sources["requests"] = np.bincount(rows["source"], minlength=CLIENTS)
        sources["datagrams"] = 1
        totals = {"requests": totals["requests"] + len(rows), "datagrams": number * CLIENTS}
        began, ended = ended, time.time()
        yield encode(
            Summary(
                *(GATEWAY, boot, number, 1, began, ended),
                first_name=first,
                names=tuple(told),
                requests=rows,
                sources=sources,
                totals=totals,
            )
        )
        number += 1
    for server in range(-(-names // PER_SERVER)):
        began, ended = ended, time.time()
        beat = {"seq": "1", "sp": "5064", "up": "90", "cur": str(int(ended)), "pid": "7"}
        beat |= {"cwd": "/ioc", "ver": "2.0", "img": "ioc", "stcmd": "st.cmd"}
        of_server = range(server * PER_SERVER, min((server + 1) * PER_SERVER, names))
        host = SERVER + server
        yield encode(
            Summary(
                *(GATEWAY, boot, number, 1, began, ended),
                beats=(Beat("json", ended, host, 9, json.dumps(beat).encode()),),
                told=(AnswerPart("names", host, 9, tuple(map(name_of, of_server)), ended),),
                totals=totals,
            )
        )
        number += 1
    began, ended = ended, time.time()
    answers = np.zeros(min(names, SEEN), ANSWERS)
    answers["name"] = np.arange(len(answers))
    answers["protocol"], answers["port"], answers["time"] = CA, 5064, ended
    answers["host"] = answers["sender"] = SERVER + answers["name"] // PER_SERVER
    yield encode(Summary(GATEWAY, boot, number, 1, began, ended, answers=answers, totals=totals))


def monitor(directory: Path) -> PvMonitor:
    limits = InventoryLimits(names=1_200_000)
    knowledge = KnowledgeSettings(
        TrackSettings(("10.0.0.0/8",)),
        limits=limits,
        classes={"archiver": ["10.1.0.32/28"]},
        gateways=(GATEWAY,),
    )
    store = StoreSettings(directory, directory / "kept", RowConstants("site", "monitor"))
    database = Database({"SOCS_DATA_DIR": str(directory)})
    return PvMonitor(PvMonitorSettings((GATEWAY,), knowledge, store), database)


def memory(key: str = "VmRSS") -> float:
    """Of this process [GB]."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{key}:")[2].split()[0]) * 1024 / 1e9


def pages(made: PvMonitor) -> dict[str, Any]:
    """Median and longest wall time, least CPU time [s], and how many names, of each page."""
    found = {}
    for what, (pattern, filters) in PAGES.items():
        walls, times = [], []
        for _ in range(REPEATS):
            wall, cpu = time.perf_counter(), time.thread_time()
            page = made.queries.search(pattern, PvFilters(**filters), Paging(), time.time())
            walls.append(time.perf_counter() - wall)
            times.append(time.thread_time() - cpu)
        found[what] = (statistics.median(walls), max(walls), min(times), page["total"])
    return found


def fill(directory: Path, names: int) -> dict[str, Any]:
    """Tell a monitor all of it, ask it, and end it."""
    made = monitor(directory)
    made.start()
    assert made.wait_ready(60)
    begun, cpu, told = time.time(), time.process_time(), 0
    for message in messages(names):
        made.put(GATEWAY, message, time.time())
        told += 1
        wait_until(lambda: made.numbers()["summaries_queued"] < 20, 120)
    wait_until(lambda: made.counters["summaries_taken"] == told, 600)
    took = time.time() - begun, time.process_time() - cpu
    made.search.refresh()
    result = {"taken": took, "memory": memory(), "pages": pages(made)}
    begun = time.time()
    assert made.snapshot_now()
    result |= {"snapshot": time.time() - begun, "most": memory("VmHWM")}
    made.close()
    return result


def start(directory: Path) -> dict[str, Any]:
    """Start a monitor from the snapshot, and ask it."""
    cpu, begun = time.process_time(), time.time()
    made = monitor(directory)
    made.start()
    assert made.wait_ready(300)
    first = made.queries.search("sr017:*", PvFilters(state="ONLINE"), Paging(), time.time())
    took = time.time() - begun, time.process_time() - cpu
    result = {"start": took, "found": first["total"], "pages": pages(made), "memory": memory()}
    result["most"] = memory("VmHWM")
    made.close()
    return result


def in_a_process(what: str, directory: Path, names: int) -> dict[str, Any]:
    command = [sys.executable, "-m", __spec__.name, "--part", what, "--directory", str(directory)]
    done = subprocess.run(
        [*command, "--names", str(names)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(text: str, value: float, limit: float, unit: str) -> None:
    verdict = "ok" if value < limit else "TOO MUCH"
    print(f"{text:<72} {value:8.3f} {unit:<3} limit {limit:g} {unit}  {verdict}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, default=SERVERS * PER_SERVER)
    parser.add_argument("--part", choices=["fill", "start"])
    parser.add_argument("--directory", type=Path)
    args = parser.parse_args([] if arguments is None else arguments)
    if args.part:
        part = fill(args.directory, args.names) if args.part == "fill" else start(args.directory)
        print(json.dumps(part))
        return
    with tempfile.TemporaryDirectory() as directory:
        filled = in_a_process("fill", Path(directory), args.names)
        started = in_a_process("start", Path(directory), args.names)
        size = sum(path.stat().st_size for path in Path(directory).rglob("*.npz"))
    wall, cpu = filled["taken"]
    requests = args.names * ASKING
    print(f"{args.names} names, {requests} requests told in {wall:.0f} s, {cpu:.0f} CPU s")
    print(f"load of this host: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    report("memory, all told", filled["memory"], MEMORY, "GB")
    report("memory, most of all, with a snapshot", filled["most"], MEMORY, "GB")
    report("memory after a start", started["memory"], MEMORY, "GB")
    report("memory, most of all at a start", started["most"], MEMORY, "GB")
    print(f"snapshot written in {filled['snapshot']:.1f} s; {size / 1e6:.0f} MB for two")
    wall, cpu = started["start"]
    report(f"start ({cpu:.1f} CPU s)", wall, START, "s")
    for when, found in (("", filled), (" after a start", started)):
        for what, (median, longest, least, total) in found["pages"].items():
            text = f"page of {what}{when}: {total}, CPU {least:.3f}, longest {longest:.3f}"
            report(text, median, PAGE, "s")


if __name__ == "__main__":
    main(sys.argv[1:])
