"""The monitor as an OCS agent: operations, feeds, and life without a router."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ocs
import pytest

from socs.errors import StorageUnavailable
from socs.sim.ports import free_port
from socs.sim.pysmurf_publisher import Publisher
from socs.sim.site import AgentInstance, Site
from socs.testing import wait_until
from tests.feeds import Heard, listening
from tests.harness import rows

MONITOR = "pysmurf-monitor"


class Monitor:
    """A site with a running monitor, and publishers for it."""

    def __init__(self, make_site: Callable[..., Site], directory: Path, env: dict[str, str]):
        self.data = directory / "smurf"
        self.data.mkdir()
        self.port = free_port(socket.SOCK_DGRAM)
        self.env = {"SOCS_DATA_DIR": str(directory / "state"), **env}
        arguments = ["--udp-port", self.port, "--create-table", True, "--data-root", self.data]
        instance = AgentInstance("PysmurfMonitor", MONITOR, [*map(str, arguments)])
        self.site = make_site([instance])
        self.start()

    def start(self) -> None:
        self.site.start_agent(MONITOR, env=self.env)
        self.site.wait_joined(MONITOR)
        self.client = self.site.client(MONITOR)

    def publisher(self, pub_id: str = "crate1slot2") -> Publisher:
        options = {"BACKEND": "udp", "UDP_PORT": self.port, "ID": pub_id}
        return Publisher("test", options)

    def write(self, name: str, content: bytes = b"x") -> str:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def session_data(self) -> dict:
        """They come a moment after the start of the Process."""
        return wait_until(lambda: self.client.run.status().session["data"], 10, "session data")

    def all_in_table(self, count: int) -> Callable[[], bool]:
        return lambda: len(rows(self.env)) == count

    def wait_for(self, counter: str, value: int, timeout: float = 15) -> None:
        wait_until(
            lambda: self.session_data()["counters"].get(counter, 0) >= value,
            timeout,
            f"{counter} of {value}",
        )


@pytest.fixture
def monitor(site, files_env, tmp_path: Path) -> Monitor:
    return Monitor(site, tmp_path, files_env)


@pytest.fixture
def sqlite_monitor(site, tmp_path: Path) -> Monitor:
    return Monitor(site, tmp_path, {})


def test_announced_file_becomes_a_row(monitor: Monitor) -> None:
    with monitor.publisher() as publisher:
        path = monitor.write("a.npy", b"contents")
        publisher.register_file(path, "tuning", "npy")
        monitor.wait_for("files_registered", 1)
    assert rows(monitor.env) == [(path, hashlib.md5(b"contents").hexdigest())]
    data = monitor.session_data()
    assert data["last_files"] == [path]
    assert data["database"]["state"] == "up"
    assert data["troubles"] == []
    assert monitor.client.run.status().session["degraded"] is False


def test_operations_answer_as_ocs_agents_should(sqlite_monitor: Monitor) -> None:
    client = sqlite_monitor.client
    ok, error = ocs.OK, ocs.ERROR
    assert client.init()[0] == ok
    assert client.init.status().session["success"] is True
    assert client.init(create_table=False)[0] == ok
    assert client.run.start()[0] == error  # runs already
    assert client.run.status().session["status"] == "running"
    assert client.retry_failed()[0] == ok
    assert client.retry_failed(cause=5)[0] == error
    assert client.rescan()[0] == error  # path is needed
    assert client.rescan(path="/etc").session["success"] is False
    assert client.rescan(path=str(sqlite_monitor.data), nonsense=1)[0] == error
    assert client.run.start(nonsense=1)[0] == error
    assert client.rescan.abort()[0] == error  # not running
    assert client.run.stop()[0] == ok
    assert client.run.wait(timeout=60)[0] == ok
    assert client.run.status().session["success"] is True
    assert client.rescan(path=str(sqlite_monitor.data)).session["success"] is False
    assert client.run.start()[0] == ok
    assert sqlite_monitor.session_data()["listening"]  # what comes before that goes to nobody
    with sqlite_monitor.publisher() as publisher:
        publisher.register_file(sqlite_monitor.write("after"), "t")
        sqlite_monitor.wait_for("files_registered", 1)


def test_failed_files_are_shown_and_retried(sqlite_monitor: Monitor) -> None:
    elsewhere = sqlite_monitor.data.parent / "elsewhere"
    elsewhere.write_bytes(b"x")
    link = sqlite_monitor.data / "link"
    link.symlink_to(elsewhere)
    with sqlite_monitor.publisher() as publisher:
        publisher.register_file(str(link), "t")
        sqlite_monitor.wait_for("files_failed", 1)
        (failed,) = sqlite_monitor.session_data()["failed_files"]
        assert (failed["path"], failed["cause"]) == (str(link), "attempts_outside_roots")
        link.unlink()
        link.write_bytes(b"a file by now")
        reply = sqlite_monitor.client.retry_failed(cause="attempts_outside_roots")
        assert "1 files" in str(reply.session["messages"])
        sqlite_monitor.wait_for("files_registered", 1)
        publisher.register_file("/etc/passwd", "t")
        sqlite_monitor.wait_for("files_failed", 1)
        reply = sqlite_monitor.client.discard_failed(cause="attempts_outside_roots")
        assert "Forgot 1 files" in str(reply.session["messages"])
        sqlite_monitor.wait_for("files_discarded", 1)
        wait_until(lambda: sqlite_monitor.session_data()["counters"]["files_failed"] == 0)
        assert sqlite_monitor.session_data()["unaccounted"] == {}
    assert len(rows(sqlite_monitor.env)) == 1


def test_rescan_finds_what_was_never_announced(monitor: Monitor) -> None:
    with monitor.publisher() as publisher:
        announced = monitor.write("20261121/1700000000/outputs/1700000001_known.npy", b"known")
        publisher.register_file(announced, "t")
        monitor.wait_for("files_registered", 1)
    missed = monitor.write("20261121/1700000000/plots/1700000002_missed.png", b"missed")
    # Moved by an archiver: another path, but the same name and contents.
    monitor.write("elsewhere/1700000001_known.npy", b"known")
    reply = monitor.client.rescan(path=str(monitor.data), min_age=0.0, dry_run=True)
    assert reply.session["data"]["examples"] == [missed]
    assert len(rows(monitor.env)) == 1
    reply = monitor.client.rescan(path=str(monitor.data), min_age=0.0, action="take_iv")
    assert {name: reply.session["data"][name] for name in ("looked_at", "known", "queued")} == {
        "looked_at": 3,
        "known": 2,
        "queued": 1,
    }
    monitor.wait_for("files_registered", 2)
    assert {path for path, _ in rows(monitor.env)} == {announced, missed}
    reply = monitor.client.rescan(path=str(monitor.data), min_age=0.0)
    assert reply.session["data"]["queued"] == 0


@pytest.fixture
def heard(sqlite_monitor: Monitor, tmp_path: Path) -> Iterator[Heard]:
    with listening(sqlite_monitor.site, MONITOR, tmp_path / "feeds.jsonl") as messages:
        yield messages


def test_feeds(sqlite_monitor: Monitor, heard: Heard) -> None:
    def says(*words: str) -> bool:
        return any(all(word in json.dumps(message) for word in words) for message in heard())

    with sqlite_monitor.publisher() as publisher:
        publisher.publish({"channels": [1, 2], "bad": float("nan")}, "session_data")
        publisher.publish("half way", "session_log")
    with sqlite_monitor.publisher("STREAMER:ufm_mv1") as publisher:
        for value in (1, 2.5, True):
            publisher.publish({"path": "AMCc.Open[0]", "value": value, "type": "int"}, "metadata")
        publisher.publish({"path": "AMCc.Open[0]", "value": "text", "type": "str"}, "metadata")
    wait_until(lambda: says("pysmurf_session_data", "half way", "crate1slot2"), 10)
    wait_until(lambda: says("pysmurf_session_data", '"channels": [1, 2]', "null"), 10)
    wait_until(lambda: says("ufm_mv1_meta", "AMCcOpen0", "[1.0, 2.5, 1.0]"), 10)
    wait_until(lambda: says("counters", "datagrams_received"), 10)
    sqlite_monitor.wait_for("metadata_type_changed", 1)


def test_register_values_of_the_last_second_are_published_at_the_stop(
    sqlite_monitor: Monitor, heard: Heard
) -> None:
    with sqlite_monitor.publisher("STREAMER:last") as publisher:
        publisher.publish({"path": "early", "value": 1, "type": "int"}, "metadata")
        sqlite_monitor.wait_for("messages_metadata", 1)
        publisher.publish({"path": "late", "value": 77, "type": "int"}, "metadata")
        sqlite_monitor.client.run.stop()
        sqlite_monitor.client.run.wait(timeout=60)
    wait_until(lambda: "77.0" in json.dumps(heard()), 10)


def test_missing_table_is_a_trouble_even_before_the_first_file(site, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    port = str(free_port(socket.SOCK_DGRAM))
    arguments = ["--udp-port", port, "--data-root", str(tmp_path / "data"), "--create-table", "no"]
    made = site([AgentInstance("PysmurfMonitor", MONITOR, arguments)])
    made.start_agent(MONITOR, env={"SOCS_DATA_DIR": str(tmp_path / "state")})
    made.wait_joined(MONITOR)
    client = made.client(MONITOR)
    wait_until(lambda: client.run.status().session["degraded"], 10)
    assert "socs files create" in client.run.status().session["data"]["troubles"][0]


@pytest.mark.own_router
def test_router_killed_and_restarted(sqlite_monitor: Monitor) -> None:
    router_outage(sqlite_monitor, seconds=(1, 6))


@pytest.mark.own_router
@pytest.mark.slow
def test_router_away_for_half_a_minute(sqlite_monitor: Monitor) -> None:
    router_outage(sqlite_monitor, seconds=(1, 6, 30))


def router_outage(monitor: Monitor, seconds: tuple[float, ...]) -> None:
    """The agent survives, rejoins, and registration never stops."""
    registered = 0
    with monitor.publisher() as publisher:
        for outage in seconds:
            monitor.site.kill_router()
            killed = time.monotonic()
            publisher.publish({"outage": outage}, "session_data")
            while time.monotonic() - killed < outage:
                publisher.register_file(monitor.write(f"{registered}"), "t")
                registered += 1
                # Row by row, while there is no router; this also paces them over the outage.
                wait_until(monitor.all_in_table(registered), 10, period=0.1)
            monitor.site.start_router()
            monitor.site.wait_joined(MONITOR)
            monitor.wait_for("files_registered", registered, timeout=10)
            assert monitor.session_data()["troubles"] == []
    assert monitor.client.run.status().session["status"] == "running"
    assert len(rows(monitor.env)) == registered


def test_it_listens_before_there_is_a_router(site, tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    (tmp_path / "data").mkdir()
    arguments = ["--udp-port", port, "--data-root", tmp_path / "data"]
    instance = AgentInstance("PysmurfMonitor", MONITOR, [*map(str, arguments)])
    made = site([instance], router=False)
    env = {"SOCS_DATA_DIR": str(tmp_path / "state")}
    made.start_agent(MONITOR, env=env)
    wait_until(lambda: "listening on" in made.logs(MONITOR), 15)
    with Publisher("early", {"BACKEND": "udp", "UDP_PORT": port}) as publisher:
        (tmp_path / "data" / "early").write_bytes(b"x")
        publisher.register_file(str(tmp_path / "data" / "early"), "t")
        wait_until(lambda: "listening on" in made.logs(MONITOR) and rows_if_any(env), 30)


def rows_if_any(env: dict[str, str]) -> list[tuple[str, bytes]]:
    """Rows of a table that the agent may not have made yet."""
    try:
        return rows(env)
    except StorageUnavailable:
        return []


def test_sigterm_ends_it_in_time_with_everything_on_disk(sqlite_monitor: Monitor) -> None:
    with sqlite_monitor.publisher() as publisher:
        for number in range(200):
            publisher.register_file(sqlite_monitor.write(f"{number}"), "t")
    status = sqlite_monitor.site.stop_agent(MONITOR, timeout=60)
    assert status in (0, -signal.SIGTERM)
    sqlite_monitor.start()
    wait_until(lambda: len(rows(sqlite_monitor.env)) == 200, 10)
    assert sqlite_monitor.session_data()["counters"]["sequence_lost"] == 0


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["--data-root", "relative"], {}, ["--data-root", "relative"]),
        (["--allow-sender", "10.0.0.300/8"], {}, ["--allow-sender", "10.0.0.300/8"]),
        (["--create-table", "perhaps"], {}, ["perhaps", "true"]),
        ([], {"MYSQL_HOST": "db"}, ["MYSQL_USER"]),
        ([], {"SOCS_DATA_DIR": "/proc/nothing"}, ["SOCS_DATA_DIR"]),
        (["--udp-address", "192.0.2.1"], {}, ["--udp-address", "192.0.2.1"]),
    ],
)
def test_wrong_setting_ends_it_at_once_and_is_named(
    site, tmp_path: Path, arguments: list[str], environ: dict[str, str], words: list[str]
) -> None:
    port = ["--udp-port", str(free_port(socket.SOCK_DGRAM))]
    made = site([AgentInstance("PysmurfMonitor", MONITOR, [*port, *arguments])], router=False)
    env = {"SOCS_DATA_DIR": str(tmp_path / "state"), **environ}
    child = made.start_agent(MONITOR, env=env)
    wait_until(lambda: child.returncode is not None, 10, "the agent to end")
    assert child.returncode == 2
    last = made.logs(MONITOR).strip().splitlines()[-1]
    assert all(word in last for word in words), last
    assert "Traceback" not in made.logs(MONITOR)
