"""The Tango event monitor as an OCS agent: real device servers, operations, feeds, files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ocs
import pytest

from socs.sim.site import AgentInstance, Site
from socs.sim.tango_site import TangoSite
from socs.tango.multicast.configuration import EVENT, OBJECT
from socs.tango.properties import PropertyStore
from socs.testing import wait_until
from socs.testing.tango_database import TangoDatabase
from tests.feeds import listening
from tests.harness import rows

MONITOR = "tango-event-monitor"
PUBLISHER, SUBSCRIBER = "sim/pub/1", "sim/sub/1"
STREAM = f"{PUBLISHER}/value0.change"


class Observatory:
    """A Tango database with a publisher and a subscriber, and an OCS site with a monitor."""

    def __init__(self, make_site: Callable[..., Site], directory: Path, tango: TangoSite) -> None:
        self.tango, self.directory = tango, directory
        self.folder = directory / "lines"
        self.env = {"SOCS_DATA_DIR": str(directory / "state"), **tango.env}
        options = [
            *("--poll-period", "1.5", "--timeout", "0.8", "--folder", str(self.folder)),
            *("--device", TangoSite.admin("pub"), TangoSite.admin("sub")),
        ]
        self.site = make_site([AgentInstance("TangoEventMonitor", MONITOR, options)])
        self.start()

    def start(self) -> None:
        self.site.start_agent(MONITOR, env=self.env)
        self.site.wait_joined(MONITOR)
        self.client = self.site.client(MONITOR)

    def data(self) -> dict[str, Any]:
        """They come a moment after the start of the Process."""
        return wait_until(lambda: self.client.monitor.status().session["data"], 10, "session data")

    def link(self) -> dict[str, Any] | None:
        """The row of the subscriber, if it is known."""
        for row in self.data().get("reconciliation", []):
            if row["stream"].endswith(STREAM):
                return row
        return None

    def told(self, kind: str) -> list[str]:
        return [e["text"] for e in self.data().get("events", []) if e["kind"] == kind]


@pytest.fixture(scope="module")
def tango(tmp_path_factory) -> Iterator[TangoSite]:
    """Two device servers; shared, as they take seconds to start."""
    directory = tmp_path_factory.mktemp("tango")
    with (
        TangoDatabase(directory / "database") as database,
        TangoSite(directory, database.host) as site,
    ):
        site.add("pub", publishers={PUBLISHER: 2})
        site.add("sub", subscribers={SUBSCRIBER: [STREAM]})
        site.start("pub", "sub")
        wait_until(lambda: subscribed(site), 30, "the subscription")
        yield site


def subscribed(site: TangoSite) -> bool:
    told = json.loads(site.call(TangoSite.admin("sub"), "QueryEventSystem"))
    return bool((told["client"] or {}).get("event_callbacks"))


@pytest.fixture
def observatory(site, tmp_path: Path, tango: TangoSite) -> Observatory:
    return Observatory(site, tmp_path, tango)


def done(reply: Any) -> tuple[bool, str]:
    """Success and last message of a task."""
    return reply.session["success"], reply.session["messages"][-2][1]


@pytest.mark.timeout(180)
def test_what_was_published_and_received_is_told_and_written(
    observatory: Observatory, tmp_path: Path
) -> None:
    wait_until(observatory.link, 30, "the subscriber's row")
    before = observatory.link()["received"]
    with listening(observatory.site, MONITOR, tmp_path / "feeds.jsonl") as heard:
        observatory.tango.burst(PUBLISHER, "value0.change", 500)
        wait_until(lambda: observatory.link()["received"] >= before + 500, 20)
        row = wait_until(  # a judgement takes two polls
            lambda: (found := observatory.link())["status"] == "level" and found, 20
        )
        assert (row["received"], row["lost"]) == (before + 500, 0)
        assert row["subscriber"].endswith(TangoSite.admin("sub"))
        assert row["publisher"].endswith(TangoSite.admin("pub"))

        def received() -> float:
            name = "sim_pub_1_value0_change_to_dserver_tango_devices_sub_received"
            found = [
                value
                for message in heard()
                if message["topic"].endswith(".tango")
                for block in message["message"][0].values()
                for value in block["data"].get(name, [])
            ]
            return found[-1] if found else 0.0

        wait_until(lambda: received() == before + 500, 15)
        blocks = [m["message"][0] for m in heard() if m["topic"].endswith(".tango")][-1]
        tags = blocks["sim_pub_1_value0_change"]["influxdb_tags"]
        assert tags["sim_pub_1_value0_change_rate"] == {
            "stream": STREAM,
            "publisher": TangoSite.admin("pub"),
            "_field": "rate",
        }
    data = observatory.data()
    assert data["unaccounted"] == {}
    assert data["troubles"] == []
    assert data["counters"]["events_lost"] == 0
    assert {row["state"] for row in data["servers"]} == {"up"}
    row = wait_until(lambda: (found := observatory.link())["transport"] != "unknown" and found, 30)
    assert (row["transport"], row["transport_doubt"]) == ("unicast", "")
    assert observatory.data()["multicast"] == {
        "problem": "",
        "findings": [],
        "doubts": {},
        "left_out": {"findings": 0, "doubts": 0},
    }
    assert done(observatory.client.rotate_output())[0]
    wait_until(lambda: rows(observatory.env), 20, "a registered file")
    ((path, _),) = rows(observatory.env)
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"poll"}
    assert sum("replies" in line for line in lines) == len(lines) > 1


@pytest.mark.timeout(180)
def test_a_stream_that_the_database_has_on_multicast_and_its_server_has_not_is_in_doubt(
    site, tmp_path: Path, tango: TangoSite
) -> None:
    store = PropertyStore(tango.env["TANGO_HOST"])
    wanted = ["239.1.1.1", "5000", STREAM]
    store.write(OBJECT, EVENT, [], wanted)
    try:
        observatory = Observatory(site, tmp_path, tango)
        wait_until(lambda: observatory.data().get("multicast", {}).get("doubts"), 40)
        row = observatory.link()
        assert row["transport"] == "multicast to 239.1.1.1:5000"
        assert "started before that was written" in row["transport_doubt"]
        findings = observatory.data()["multicast"]["findings"]
        assert any("239.1.1.1" in each["text"] or STREAM in each["text"] for each in findings)
    finally:
        store.write(OBJECT, EVENT, wanted, [])


@pytest.mark.timeout(180)
def test_operations_answer_as_ocs_agents_should(observatory: Observatory) -> None:
    client = observatory.client
    wait_until(observatory.link, 30, "the subscriber's row")
    assert client.monitor.start()[0] == ocs.ERROR  # runs already
    reply = client.query()
    assert done(reply) == (True, "2 of 2 servers answered")
    assert len(reply.session["data"]["servers"]) == 2
    assert client.add_devices()[0] == ocs.ERROR  # names are needed
    assert client.add_devices(names=[5])[0] == ocs.ERROR
    assert not done(client.add_devices(names=["no such form"]))[0]
    success, text = done(client.remove_devices(names=["dserver/not/there"]))
    assert not success
    assert TangoSite.admin("pub") in text
    assert done(client.remove_devices(names=[TangoSite.admin("pub")]))[0]
    wait_until(lambda: len(observatory.data()["servers"]) == 1, 15)
    assert done(client.add_devices(names=[PUBLISHER]))[0]  # a device stands for its server
    wait_until(lambda: len(observatory.data()["servers"]) == 2, 15)
    assert client.monitor.stop()[0] == ocs.OK
    assert client.monitor.wait(timeout=60)[0] == ocs.OK
    assert client.monitor.status().session["success"] is True
    assert not done(client.query())[0]
    assert client.monitor.start()[0] == ocs.OK
    wait_until(observatory.link, 30)


@pytest.mark.timeout(180)
def test_times_are_measured_on_demand_and_never_after_the_end(observatory: Observatory) -> None:
    wait_until(observatory.link, 30, "the subscriber's row")
    assert done(observatory.client.start_perf_mon())[0]
    wait_until(lambda: len(observatory.data()["polling"]["monitored"]) == 2, 20)
    observatory.tango.burst(PUBLISHER, "value0.change", 50)
    wait_until(lambda: observatory.data()["performance"], 20, "measured times")
    measured = {row["server"].rpartition("/")[2] for row in observatory.data()["performance"]}
    assert measured == {"pub", "sub"}
    assert observatory.site.stop_agent(MONITOR) == 0
    for instance in ("pub", "sub"):
        admin = TangoSite.admin(instance)
        told = json.loads(observatory.tango.call(admin, "QueryEventSystem"))
        assert (told["server"] or {}).get("perf") is None
        assert (told["client"] or {}).get("perf") is None


@pytest.mark.timeout(180)
def test_a_subscriber_that_stops_is_named_and_nobody_else(
    observatory: Observatory, tmp_path: Path
) -> None:
    wait_until(observatory.link, 30, "the subscriber's row")
    with listening(observatory.site, MONITOR, tmp_path / "feeds.jsonl") as heard:
        observatory.tango.freeze("sub")
        try:
            wait_until(lambda: observatory.told("hung"), 15)
        finally:
            observatory.tango.thaw("sub")
        (text,) = observatory.told("hung")
        assert text.endswith(f"{TangoSite.admin('sub')} hangs")
        wait_until(
            lambda: {row["state"] for row in observatory.data()["servers"]} == {"up"},
            20,
            "the server to answer again",
        )
        told = [m["message"][0]["text"] for m in heard() if m["topic"].endswith("tango_events")]
        assert text in told
    assert observatory.told("lost") == []
    (at_hand,) = observatory.folder.glob("*.part")
    written = [json.loads(line) for line in at_hand.read_text().splitlines()]
    assert text in [line["text"] for line in written if line["kind"] == "event"]


def test_a_site_without_its_database_is_told_what_is_wrong(site, tmp_path: Path) -> None:
    made = site([AgentInstance("TangoEventMonitor", MONITOR, ["--tango-host", "127.0.0.1:1"])])
    made.start_agent(MONITOR, env={"SOCS_DATA_DIR": str(tmp_path / "state")})
    made.wait_joined(MONITOR)
    client = made.client(MONITOR)
    wait_until(lambda: client.monitor.status().session["degraded"], 30)
    wait_until(
        lambda: "127.0.0.1:1" in " ".join(client.monitor.status().session["data"]["troubles"]), 20
    )
    assert made.stop_agent(MONITOR) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--poll-period", "0.5", "--timeout", "1"], "period of 0.5 s is too short"),
        (["--device", "a//b"], "a//b"),
        (["--folder", "/tmp/x", "--file-prefix", "../up"], "'../up'"),
        (["--max-names", "0"], "--max-names"),
        (["--tango-host", "db"], "--tango-host: 'db' is no Tango database"),
    ],
)
def test_wrong_options_end_it_with_a_message_that_names_them(
    site, tmp_path: Path, options: list[str], words: str
) -> None:
    made = site([AgentInstance("TangoEventMonitor", MONITOR, options)], router=False)
    child = made.start_agent(MONITOR, env={"SOCS_DATA_DIR": str(tmp_path / "state")})
    wait_until(lambda: child.returncode is not None, 10, "the agent to end")
    assert child.returncode == 2
    assert words in made.logs(MONITOR)
    assert "Traceback" not in made.logs(MONITOR)
