"""PVMonitor as an OCS agent: real servers and clients, a real gateway, the router between."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import ocs
import pytest

from socs.sim.heartbeat_app import command_line, truth_of
from socs.sim.iocs import BROADCAST, EpicsSite
from socs.sim.leash import Leash
from socs.sim.site import AgentInstance, Site
from socs.testing import wait_until
from tests.epics_packets import beacon
from tests.feeds import listening
from tests.harness import rows
from tests.pv_monitor import stored

GATEWAY, MONITOR = "gateway-1", "pv-monitor"


@pytest.fixture(scope="module")
def epics(tmp_path_factory) -> Iterator[EpicsSite]:
    """Two real IOCs; shared, as they take seconds to start."""
    with EpicsSite(tmp_path_factory.mktemp("epics")) as made:
        made.add("one", {made.prefix + "A": "float", made.prefix + "B": "enum"})
        made.start("one")
        yield made


class Observatory:
    """An OCS site with a gateway and a monitor."""

    def __init__(
        self, make_site: Callable[..., Site], directory: Path, epics: EpicsSite, *options: str
    ) -> None:
        self.epics, self.directory = epics, directory
        self.env = {"SOCS_DATA_DIR": str(directory / "state"), "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        ports = [
            word
            for use, port in epics.ports.by_use().items()
            for word in (f"--port-{use}", str(port))
        ]
        gateway = [
            *("--interval", "0.2", "--listen", "sockets", "--search", "true", *ports),
            *("--search-address", BROADCAST, "--search-rate", "100", "--search-timeout", "0.3"),
            *("--ask", "true", "--ask-rate", "100"),
        ]
        monitor = ["--gateway", GATEWAY, "--folder", str(directory / "kept"), *options]
        self.site = make_site(
            [
                AgentInstance("PVGateway", GATEWAY, gateway),
                AgentInstance("PVMonitor", MONITOR, monitor),
            ]
        )
        for name in (GATEWAY, MONITOR):
            self.site.start_agent(name, env=self.env)
        for name in (GATEWAY, MONITOR):
            self.site.wait_joined(name)
        self.client = self.site.client(MONITOR)
        wait_until(lambda: self.gateway_state() == "LIVE", 30, "the gateway")

    def data(self) -> dict[str, Any]:
        return self.client.monitor.status().session.get("data") or {}

    def gateway_state(self) -> str:
        found = self.data().get("gateways") or [{"state": ""}]
        return found[0]["state"]

    def ask(self, task: str, **params: Any) -> dict[str, Any]:
        """Session data of a Task, which must succeed."""
        reply = getattr(self.client, task)(**params)
        assert reply[0] == ocs.OK, reply
        assert reply.session["success"], reply.session["messages"]
        return reply.session["data"]

    def refusal(self, task: str, **params: Any) -> str:
        """Why a Task refuses."""
        reply = getattr(self.client, task)(**params)
        if reply[0] != ocs.OK:
            return str(reply[1])
        assert not reply.session["success"]
        return reply.session["messages"][-2][1]

    def state(self, name: str) -> str:
        found = self.ask("search", pattern=name)["rows"]
        return found[0]["state"] if found else ""

    def find(self, name: str, state: str = "ONLINE") -> None:
        """Have gateways search until the name is in this state."""

        def there() -> bool:
            self.ask("update", names=[name])
            return self.state(name) == state

        try:
            wait_until(there, 30, f"{name} to be {state}", period=0.5)
        except TimeoutError as error:
            data = self.data()
            told = {key: value for key, value in data["counters"].items() if value}
            raise AssertionError(f"{error}: {data['troubles']} {told}") from error


@pytest.fixture
def observatory(site, tmp_path: Path, epics: EpicsSite) -> Observatory:
    return Observatory(site, tmp_path, epics)


@pytest.mark.timeout(180)
def test_who_asks_who_serves_and_what_happens(observatory: Observatory, tmp_path: Path) -> None:
    epics = observatory.epics
    there, missing = epics.prefix + "A", epics.prefix + "MISSING"
    with listening(observatory.site, MONITOR, tmp_path / "feeds.jsonl") as heard:
        epics.search("reader", [there, missing])
        try:
            wait_until(lambda: observatory.state(missing) == "NEVER_SEEN", 30)
        finally:
            epics.end_search("reader")
        observatory.find(there)
        info = observatory.ask("pv_info", name=there)
        served = {f"{each.host}:{each.port}" for each in epics.serving()[there]}
        assert {each["server"] for each in info["servers"]} <= served
        assert info["server"] in served
        assert {each["source"].split(":")[0] for each in info["requesters"]} == {"127.0.0.1"}
        assert [event["kind"] for event in info["events"]] == ["FOUND"]
        assert observatory.state(missing) == "NEVER_SEEN"
        (told,) = observatory.ask("cainfo", names=[there])["rows"]
        assert (told["state"], told["type"]) == ("connected", "DBF_DOUBLE")
        clients = observatory.ask("clients", host="127.0.0.1")
        assert clients["total"] >= 1
        assert observatory.ask("clients", host="127.0.0.9")["total"] == 0

        def messages(feed: str) -> list[Any]:
            return [m["message"][0] for m in heard() if m["topic"].endswith(f".feeds.{feed}")]

        wait_until(
            lambda: [e for e in messages("events") if e["kind"] == "FOUND" and e["name"] == there],
            10,
        )
        block = wait_until(lambda: messages("pv_monitor"), 15)[-1]["pv_monitor"]["data"]
        assert {"pvs", "pvs_online", "requests_client_rate", "gateways_live"} <= block.keys()
        wait_until(lambda: messages("counters"), 15)
    data = observatory.data()
    assert data["unaccounted"] == {}
    assert data["troubles"] == []
    assert json.dumps(data, allow_nan=False)


@pytest.mark.timeout(180)
def test_operations_answer_as_ocs_agents_should(observatory: Observatory) -> None:
    ask, refusal = observatory.ask, observatory.refusal
    assert observatory.client.monitor.start()[0] == ocs.ERROR  # runs already
    assert "host: 'x' is no address" in refusal("note", host="x", text="t", user="ann")
    assert "state: 'THERE'" in refusal("search", state="THERE")
    assert "most: 0" in refusal("search", most=0)
    assert "name: 'NOT:THERE'" in refusal("pv_info", name="NOT:THERE")
    assert "names" in refusal("update", names=[])
    assert "polling is off" in refusal("poll_now")
    assert ask("poll", on=True)["enabled"]
    ask("poll_now")
    ask("create_group", name="ring", description="d", hosts=["127.0.0.1"])
    ask("edit_group", name="ring", add=["127.0.0.2"])
    assert ask("groups")["rows"][0]["hosts"] == ["127.0.0.1", "127.0.0.2"]
    assert "there is a group 'ring'" in refusal("create_group", name="ring")
    ask("expect", host="127.0.0.1", user="ann", ports=["CA:5064"])
    ask("maintain", host="127.0.0.1", user="ann")
    ask("describe", host="127.0.0.1", user="ann", description="of tests")
    (host,) = ask("hosts", group="ring", most=1)["rows"]
    assert (host["expected_ports"], host["maintenance"]) == (["CA:5064"], True)
    assert (host["description"], host["groups"]) == ("of tests", ["ring"])
    number = ask("note", host="127.0.0.1", text="t", user="ann", needs_ack=True)["id"]
    assert [row["id"] for row in ask("logs", unacknowledged=True)["rows"]] == [number]
    assert ask("acknowledge", user="bob", ids=[number])["acknowledged"] == 1
    assert "ids: 'x'" in refusal("acknowledge", user="bob", ids=["x"])
    ask("delete_group", name="ring")
    for task in ("servers", "applications", "clients", "events"):
        assert "rows" in ask(task)
    assert ask("events", kinds=["NEVER"])["rows"] == []
    assert "after" in refusal("events", after=[1])
    ask("snapshot_now")
    wait_until(lambda: rows(observatory.env), 20, "a registered snapshot")
    assert observatory.client.monitor.stop()[0] == ocs.OK
    assert observatory.client.monitor.wait(timeout=60)[0] == ocs.OK
    assert observatory.client.monitor.status().session["success"] is True
    assert "Not monitoring" in refusal("search")
    assert observatory.client.monitor.start()[0] == ocs.OK
    wait_until(lambda: observatory.gateway_state() == "LIVE", 30)


@pytest.mark.timeout(180)
def test_killed_it_knows_all_again_and_tells_nothing_twice(observatory: Observatory) -> None:
    epics, site = observatory.epics, observatory.site
    names = [epics.prefix + "A", epics.prefix + "B"]
    observatory.find(names[0])
    observatory.ask("snapshot_now")
    observatory.find(names[1])
    site.kill_agent(MONITOR)
    site.start_agent(MONITOR, env=observatory.env)
    site.wait_joined(MONITOR)
    wait_until(lambda: observatory.gateway_state() == "LIVE", 30)
    wait_until(lambda: [observatory.state(name) for name in names] == ["ONLINE"] * 2, 10)
    for name in names:
        seen = observatory.ask("pv_info", name=name)["searched"] or 0.0
        observatory.ask("update", names=[name])
        searched = partial(observatory.ask, "pv_info", name=name)
        wait_until(lambda: (searched()["searched"] or 0.0) > seen, 20)  # noqa: B023
    assert site.stop_agent(MONITOR) == 0
    found = [event.name.decode() for event in stored(observatory.env) if event.kind == "FOUND"]
    assert found == names


@pytest.mark.timeout(180)
def test_a_gateway_that_is_killed_is_blind_and_nothing_is_lost_by_that(
    observatory: Observatory,
) -> None:
    name = observatory.epics.prefix + "A"
    observatory.find(name)
    observatory.site.kill_agent(GATEWAY)
    wait_until(lambda: observatory.gateway_state() == "BLIND", 20)
    data = wait_until(lambda: (found := observatory.data())["troubles"] and found, 10)
    assert any("does not report" in trouble for trouble in data["troubles"])
    assert data["gateways"][0]["blind_since"] <= time.time()
    assert "no gateway can search" in observatory.refusal("update", names=[name])
    observatory.site.start_agent(GATEWAY, env=observatory.env)
    wait_until(lambda: observatory.gateway_state() == "LIVE", 30)
    assert observatory.state(name) == "ONLINE"
    observatory.find(name)
    wait_until(lambda: not observatory.data()["troubles"], 20)
    rows_of = observatory.ask("events", subject="other")["rows"]
    assert [row["kind"] for row in rows_of][:2] == ["GATEWAY_LISTENS", "GATEWAY_BLIND"]
    assert observatory.ask("events", kinds=["LOST"])["rows"] == []


@pytest.mark.timeout(180)
def test_a_server_that_is_gone_is_noticed(observatory: Observatory) -> None:
    epics = observatory.epics
    name = epics.prefix + "C"
    epics.add("two", {name: "float"})
    epics.start("two")
    observatory.find(name)
    epics.kill("two")
    observatory.find(name, "LOST")
    epics.start("two")
    observatory.find(name)
    epics.kill("two")
    kinds = [row["kind"] for row in observatory.ask("pv_info", name=name)["events"]]
    assert [kind for kind in reversed(kinds) if kind != "MOVED"] == ["FOUND", "LOST", "REAPPEARED"]


@pytest.mark.timeout(180)
def test_an_application_tells_its_names_and_what_serves_at_its_port(
    site, tmp_path: Path, epics: EpicsSite
) -> None:
    observatory = Observatory(site, tmp_path, epics, "--ask", "true")
    to = ("127.255.255.255", epics.ports.heartbeats)
    with closing(Leash()) as leash:
        command = command_line(to, names=25, prefix="ASKED:", period=0.5)
        child = leash.start(command, log=tmp_path / "app.log", env=dict(os.environ))
        truth = wait_until(lambda: truth_of(child.output()), 20, "the application")

        def application() -> dict[str, Any]:
            rows_of = observatory.ask("applications", most=100)["rows"]
            return next((row for row in rows_of if row["port"] == truth.server), {})

        wait_until(lambda: application().get("names_ending"), 30, "its names")
        key = application()["key"]
        assert {name: application()[name] for name in ("names", "names_total", "names_ending")} == {
            "names": 25,
            "names_total": 25,
            "names_ending": "complete",
        }
        host = "127.0.0.1"
        found = observatory.ask("search", pattern="ASKED:*", server=f"{host}:{truth.server}")
        wait_until(lambda: observatory.ask("search", pattern="ASKED:*")["total"] == 25, 20)
        found = observatory.ask("search", pattern="ASKED:*", server=f"{host}:{truth.server}")
        assert found["total"] == 25
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(beacon(1, port=truth.server), (to[0], epics.ports.beacons))

            def server() -> dict[str, Any]:
                rows_of = observatory.ask("servers", protocol="CA", most=100)["rows"]
                return next((row for row in rows_of if row["port"] == truth.server), {})

            wait_until(server, 20, "its beacon")
        wait_until(lambda: told_lines(observatory), 30, "its lines")
        command_of = f"{truth.image} {truth.command}"
        assert (server()["command"], server()["application"]) == (command_of, key)
        beats = observatory.ask("api_list", which="heartbeats", host=host)["answer"]
        (row,) = [each for each in beats["heartbeats"] if each["heartbeat_port"] == truth.port]
        assert (row["pvs"], row["pid"], row["app_port"]) == (25, truth.pid, str(truth.server))
        heard = observatory.ask("api_list", which="beacons", handle=5)["answer"]
        (row,) = [each[2] for each in heard["beacons"] if each[1] == truth.server]
        assert (row["cmd"], row["cwd"], heard["handle"]) == (command_of, truth.directory, 5)
        assert "which" in observatory.refusal("api_list", which="others")
    assert observatory.data()["unaccounted"] == {}


def told_lines(observatory: Observatory) -> bool:
    rows_of = observatory.ask("hosts", most=100)["rows"]
    return any(row["host"] == "127.0.0.1" and row["processes_complete"] for row in rows_of)


def test_a_wrong_option_ends_it_with_a_message_that_names_it(site, tmp_path: Path) -> None:
    options = ["--threshold", "ca_lost_after=x"]
    made = site([AgentInstance("PVMonitor", MONITOR, options)], router=False)
    child = made.start_agent(MONITOR, env={"SOCS_DATA_DIR": str(tmp_path / "state")})
    wait_until(lambda: child.returncode is not None, 20, "the agent to end")
    assert child.returncode == 2
    assert "--threshold: 'ca_lost_after=x'" in made.logs(MONITOR)
    assert "Traceback" not in made.logs(MONITOR)
