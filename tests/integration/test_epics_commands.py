"""The commands of ``socs epics``, with a monitor, a gateway, a server and clients, all real."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import ocs
import psutil
import pytest

from socs.cli.epics_monitor import Monitor, SiteOfMonitor, add_site_options
from socs.cli.main import main
from socs.sim.iocs import BROADCAST, EpicsSite
from socs.sim.site import AgentInstance, Site
from socs.testing import wait_until

GATEWAY, MONITOR = "gateway-1", "pvs"


class Place(NamedTuple):
    """A site whose monitor knows a name that is served, and one that is not."""

    site: Site
    epics: EpicsSite
    kept: Path  # folder of snapshots
    env: dict[str, str]

    @property
    def there(self) -> str:
        return self.epics.prefix + "A"

    @property
    def missing(self) -> str:
        return self.epics.prefix + "MISSING"


@pytest.fixture(scope="module")
def place(tmp_path_factory, shared_router: Site) -> Iterator[Place]:
    """All of it, once for all tests, as it takes seconds to start."""
    directory = tmp_path_factory.mktemp("commands")
    with EpicsSite(directory / "epics") as epics:
        epics.add("one", {epics.prefix + "A": "float", epics.prefix + "B": "enum"})
        epics.start("one")
        with Site(
            directory / "site", port=shared_router.port, instances=instances(epics, directory)
        ) as site:
            site.write()
            env = site.environment() | {"SOCS_DATA_DIR": str(directory / "state")}
            made = Place(site, epics, directory / "kept", env)
            for name in (GATEWAY, MONITOR):
                site.start_agent(name, env={"SOCS_DATA_DIR": env["SOCS_DATA_DIR"]})
            for name in (GATEWAY, MONITOR):
                site.wait_joined(name)
            learn(made)
            yield made
            site.stop(timeout=0)


@pytest.fixture(autouse=True)
def nothing_left_behind(place: Place) -> Iterator[None]:
    """As for all tests, but the agents of the module may start processes when they need some."""
    before = set(psutil.Process().children())
    yield
    assert set(psutil.Process().children()) <= before


def instances(epics: EpicsSite, directory: Path) -> list[AgentInstance]:
    ports = [
        word for use, port in epics.ports.by_use().items() for word in (f"--port-{use}", str(port))
    ]
    gateway = [
        *("--interval", "0.2", "--listen", "sockets", "--search", "true", *ports),
        *("--search-address", BROADCAST, "--search-rate", "100", "--search-timeout", "1"),
    ]
    monitor = [
        "--gateway",
        GATEWAY,
        "--gateway-patience",
        "60",
        "--folder",
        str(directory / "kept"),
    ]
    return [
        AgentInstance("PVGateway", GATEWAY, gateway),
        AgentInstance("PVMonitor", MONITOR, monitor),
    ]


def learn(place: Place) -> None:
    """Have a client ask for both names, and the gateway search for them."""
    client = place.site.client(MONITOR)

    def state(name: str) -> str:
        reply = client.search(pattern=name)
        found = (reply.session.get("data") or {}).get("rows") if reply[0] == ocs.OK else None
        return found[0]["state"] if found else ""

    def found() -> bool:
        client.update(names=[place.there])
        return state(place.there) == "ONLINE"

    place.epics.search("reader", [place.there, place.missing])
    try:
        wait_until(lambda: state(place.missing) == "NEVER_SEEN", 40, "requests", period=0.2)
    finally:
        place.epics.end_search("reader")
    wait_until(found, 60, "the name to be found", period=4.0)


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "socs.cli.main", "epics", *words]


Run = Callable[..., Any]


@pytest.fixture
def run(place: Place, capsys, monkeypatch) -> Run:
    """Run a command in this process; its ``out`` and ``err``. ``site=False``: without a site."""

    def call(*words: str, status: int = 0, site: bool = True) -> Any:
        monkeypatch.setenv("OCS_CONFIG_DIR", place.env["OCS_CONFIG_DIR"] if site else "/nowhere")
        done = main(["epics", *words])
        printed = capsys.readouterr()
        assert done == status, printed.err
        return printed

    return call


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def running(place: Place, out: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the background; what it prints is in ``out``, errors with it."""
    with out.open("wb") as file:
        process = subprocess.Popen(
            command(*words), env=place.env, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def server_of(place: Place) -> str:
    (served,) = {each.port for each in place.epics.serving()[place.there] if each.protocol == "ca"}
    return f"127.0.0.1:{served}"


@pytest.mark.timeout(180)
def test_who_asks_who_serves_since_when(place: Place, run: Run) -> None:
    (told,) = objects(run("who", place.there, "--json").out)
    assert told["state"] == "ONLINE"
    by_ca = [each for each in told["servers"] if each["protocol"] == "CA"]
    assert [each["server"] for each in by_ca] == [server_of(place)]
    assert by_ca[0]["first"] <= by_ca[0]["last"]
    assert {each["class"] for each in told["requesters"]} == {"client"}
    assert sum(each["requests"] for each in told["requesters"]) > 0
    assert [event["kind"] for event in told["events"]] == ["FOUND"]

    printed = run("who", place.there, place.missing).out
    assert f"*** {place.there} is ONLINE since " in printed
    assert f"\t{server_of(place)}\tCA\t" in printed
    assert f"*** {place.missing} is NEVER_SEEN\n" in printed

    done = run("who", "NOT:THERE\x1b[2J", place.there, status=1)
    assert "NOT:THERE" in done.err
    assert "\x1b" not in done.err
    assert f"*** {place.there}" in done.out


@pytest.mark.timeout(120)
def test_names_are_listed_by_filters_and_pages(place: Place, run: Run) -> None:
    prefix = place.epics.prefix
    rows = objects(run("search", f"{prefix}*", "--json").out)
    assert [(row["name"], row["state"]) for row in rows] == [
        (place.there, "ONLINE"),
        (place.missing, "NEVER_SEEN"),
    ]
    lost = run("search", f"{prefix}*", "--state", "NEVER_SEEN", "--requester", "127.0.0.1")
    assert [line.split("\t")[0] for line in lost.out.splitlines()] == ["name", place.missing]
    page = run("search", f"{prefix}*", "--start", "0", "--most", "1")
    assert place.there in page.out
    assert "1 of 2; --start 1, or --all" in page.err
    every = run("search", f"{prefix}*", "--all", "--most", "1")
    assert len(every.out.splitlines()) == 3
    assert "server: 'x' is no address" in run("search", "--server", "x", status=1).err


@pytest.mark.timeout(120)
def test_exports_hold_all_also_from_a_snapshot(place: Place, run: Run, tmp_path: Path) -> None:
    pattern = ("--pattern", f"{place.epics.prefix}*")
    live = list(csv.DictReader(io.StringIO(run("export", *pattern).out)))
    assert [row["name"] for row in live] == [place.there, place.missing]
    assert live[0]["last_seen"].endswith("Z")
    assert live[1]["last_seen"] == ""

    client = place.site.client(MONITOR)
    offline = ("--snapshot", str(place.kept))

    def kept() -> bool:
        """Is all that is known in a snapshot of now? Clients go on asking."""
        assert client.snapshot_now().session["success"]
        rows = objects(run("search", pattern[1], "--json", *offline, site=False).out)
        return bool(rows) and rows == objects(run("search", pattern[1], "--json").out)

    wait_until(kept, 20, "a snapshot with all that is known")
    (told,) = objects(run("who", place.there, "--json", *offline, site=False).out)
    (now,) = objects(run("who", place.there, "--json").out)
    for name in ("state", "requests", "first_seen"):
        assert told[name] == now[name]
    assert [row["server"] for row in told["servers"]] == [row["server"] for row in now["servers"]]

    path = tmp_path / "clients.jsonl"
    done = run("export", "clients", "--format", "json", "-o", str(path), *offline, site=False)
    found = objects(path.read_text())
    assert f"{len(found)} clients are in {path}" in done.err
    assert all(row["source"].startswith("127.0.0.1:") for row in found)
    assert not path.with_name("clients.jsonl.part").exists()
    assert "--group: groups" in run("search", "--group", "x", *offline, status=1, site=False).err


@pytest.mark.timeout(120)
def test_events_are_listed_and_followed(place: Place, run: Run, tmp_path: Path) -> None:
    found = objects(run("events", "--name", place.there, "--json").out)
    assert [row["kind"] for row in found] == ["FOUND"]
    assert run("events", "--kind", "NEVER", "--json").out == ""
    assert run("events", "--until", "9h", "--json").out == ""
    assert len(objects(run("events", "--all", "--json", "--since", "9h").out)) > 0

    fresh, out = place.epics.prefix + "B", tmp_path / "followed"
    client = place.site.client(MONITOR)

    def told(text: bytes) -> bool:
        return text in out.read_bytes()

    with running(place, out, "events", "--follow", "--kind", "FOUND", "--most", "1000") as process:
        wait_until(lambda: told(place.there.encode()), 20, "what is in the database")

        def happened() -> bool:
            client.update(names=[fresh])
            return told(fresh.encode())

        wait_until(happened, 60, "the event", period=4.0)
        lines = out.read_text().splitlines()
        assert lines[0] == "time\tkind\tsubject\twhat\twhy"
        assert [line.count(fresh) for line in lines].count(1) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, out.read_text()


@pytest.mark.timeout(120)
def test_watching_tells_rates_and_servers(place: Place, run: Run, tmp_path: Path) -> None:
    printed = run("watch", "--once").out
    assert re.match(r"\*\*\* \S+Z  \S", printed)
    assert "requests_client_rate" in printed
    assert "\tgateway-1\tLIVE\t" in printed
    assert place.there in printed

    out = tmp_path / "watched"
    with running(place, out, "watch", "--period", "0.1") as process:
        wait_until(lambda: out.read_text().count("*** ") > 3, 20)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, out.read_text()
    assert out.read_text().count(f"\t{place.there}\t") == 1  # an event is told once


@pytest.mark.timeout(120)
def test_in_a_terminal_one_picture_is_renewed(place: Place) -> None:
    parent, child = pty.openpty()
    env = {**place.env, "COLUMNS": "160", "LINES": "60", "TERM": "xterm"}
    process = subprocess.Popen(
        command("watch", "--period", "0.2"), env=env, stdout=child, stderr=child
    )
    os.close(child)
    shown = b""
    try:
        while shown.count(b"gateway-1") < 3:
            shown += os.read(parent, 65536)
        process.send_signal(signal.SIGTERM)
        with suppress(OSError):  # its end
            while chunk := os.read(parent, 65536):
                shown += chunk
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert b"Traceback" not in shown


@pytest.mark.timeout(120)
def test_readers_that_have_enough_end_it_quietly(place: Place) -> None:
    for words in (("search", "--all"), ("watch", "--period", "0.1"), ("export",)):
        process = subprocess.Popen(
            command(*words), env=place.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.close()
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b""), words


@pytest.mark.timeout(120)
def test_who_is_not_there_is_named(place: Place, run: Run, tmp_path: Path) -> None:
    other = run("who", "X", "--monitor", GATEWAY, status=1)
    assert other.err == f"socs: {GATEWAY} is no PVMonitor: give --monitor\n"
    nobody = run("search", "--monitor", "nobody", status=1)
    assert "no agent nobody is at the router" in nobody.err
    text = place.site.site_file.read_text()
    away = tmp_path / "default.yaml"
    away.write_text(text.replace(f":{place.site.port}", ":1"))
    for words in (("who", "X"), ("watch",), ("events",)):
        done = run(*words, "--site-file", str(away), status=1)
        assert "hub.wamp_http" in done.err, done.err


@pytest.mark.timeout(120)
def test_several_may_ask_the_same_at_the_same_time(place: Place) -> None:
    parser = argparse.ArgumentParser()
    add_site_options(parser)
    given = parser.parse_args(["--monitor", MONITOR, "--site-file", str(place.site.site_file)])
    wanted = 10 * [place.there, place.missing]

    def names(name: str) -> list[str]:
        page = Monitor(SiteOfMonitor(given)).ask("search", pattern=name)
        return [row["name"] for row in page["rows"]]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(names, wanted)) == [[name] for name in wanted]
