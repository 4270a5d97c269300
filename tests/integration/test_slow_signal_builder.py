"""The slow-signal builder as an OCS agent: operations, feeds, files in the table."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ocs
import pytest
import yaml

from socs.counters import imbalances
from socs.sim.camera_truth import CameraTruth, read_camera_truth
from socs.sim.ports import free_port
from socs.sim.site import AgentInstance, Site
from socs.slow_signal.listen import SSReadoutListener
from socs.slow_signal.register import EQUATIONS as FILES_EQUATIONS
from socs.slow_signal.store import SSDataReader
from socs.slow_signal.store.naming import journal_of
from socs.slow_signal.stream import EQUATIONS
from socs.testing import wait_until
from tests.feeds import listening
from tests.harness import rows

BUILDER = "slow-signal-builder"
SETS = 12  # packets of each module; of 10 readouts each
HOUR = 3600 * 10**9  # ns


class Camera:
    """A site with a running builder, and a camera for it."""

    def __init__(
        self, make_site: Callable[..., Site], directory: Path, env: dict[str, str], *options: object
    ):
        self.directory = directory
        self.first_tack = 10**18  # [ns]; goes on, though it plays faster than its TACKs say
        self.files = directory / "files"
        self.port = free_port(socket.SOCK_DGRAM)
        self.env = {"SOCS_DATA_DIR": str(directory / "state"), **env}
        arguments = [
            *("--udp-port", self.port, "--publish", "127.0.0.1:0", "--flush-every", 0.05),
            *("--folder", self.files, "--file-enumerator", "order", "--data-root", directory),
            *("--buffer-time", 1e9, "--pub-id", "chec-s", *options),
        ]
        instance = AgentInstance("SlowSignalBuilder", BUILDER, [*map(str, arguments)])
        self.site = make_site([instance])
        self.start()

    def start(self) -> None:
        self.site.start_agent(BUILDER, env=self.env)
        self.site.wait_joined(BUILDER)
        self.client = self.site.client(BUILDER)
        wait_until(lambda: self.data().get("listening"), 10, "the builder to listen")

    def data(self) -> dict[str, Any]:
        """They come a moment after the start of the Process."""
        return wait_until(lambda: self.client.acq.status().session["data"], 10, "session data")

    def plays(self, *options: object, sets: int = SETS) -> CameraTruth:
        """Run the camera to its end; what it did."""
        truth = self.directory / "truth.json"
        command = [sys.executable, "-m", "socs.sim.camera", "--port", self.port, "--sets", sets]
        command += ["--truth", truth, "--packet-rate", 3200, "--first-tack", self.first_tack]
        self.first_tack += HOUR
        command += options
        subprocess.run([*map(str, command)], check=True, timeout=100)
        return read_camera_truth(truth)

    def wait_for(self, counter: str, value: int) -> dict[str, Any]:
        """The session data in which ``counter`` has reached ``value``."""

        def reached() -> dict[str, Any] | None:
            data = self.data()
            return data if data["counters"][counter] >= value else None

        return wait_until(reached, 20, f"{counter} of {value}")

    def tacks(self) -> list[int]:
        """TACKs in all complete files, by the files' names."""
        found = []
        for path in sorted(self.files.glob("*.hdf5")):
            with SSDataReader(path) as reader:
                found += reader.column("tack").tolist()
        return found


@pytest.fixture
def camera(site, files_env, tmp_path: Path) -> Camera:
    return Camera(site, tmp_path, files_env)


@pytest.fixture
def sqlite_camera(site, tmp_path: Path) -> Camera:
    return Camera(site, tmp_path, {})


def done(reply: Any) -> tuple[bool, str]:
    """Success and last message of a task."""
    return reply.session["success"], reply.session["messages"][-2][1]


def test_packets_become_readouts_and_files_become_rows(camera: Camera) -> None:
    truth = camera.plays()
    data = camera.wait_for("readouts_complete", truth.readouts)
    assert done(camera.client.new_file())[0]
    camera.plays(sets=1)  # the file of the first is complete with the first readout of the second
    data = camera.wait_for("files_registered", 1)
    (row,) = rows(camera.env)
    path = Path(row[0])
    assert path.parent == camera.files
    assert row[1] == hashlib.md5(path.read_bytes()).hexdigest()
    with SSDataReader(path) as reader:
        tacks = reader.column("tack")
        np.testing.assert_array_equal(truth.indices(tacks), np.arange(truth.readouts))
        np.testing.assert_array_equal(reader.readouts()["counts"], truth.counts(tacks))
    assert data["troubles"] == []
    assert data["unaccounted"] == {}
    assert imbalances(data["counters"], (*EQUATIONS, *FILES_EQUATIONS)) == {}
    assert data["last_files"] == [str(path)]
    assert len(data["modules"]) == 32
    assert camera.client.acq.status().session["degraded"] is False


def test_subscribers_of_ssdaq_hear_it(sqlite_camera: Camera) -> None:
    (publisher,) = sqlite_camera.data()["publishers"]
    port = int(publisher["endpoint"].rpartition(":")[2])
    listener = SSReadoutListener(ip="127.0.0.1", port=port)
    listener.start()
    try:
        # Until the subscription has arrived nothing is heard: play until something is.
        wait_until(lambda: sqlite_camera.plays(sets=1) and listener.received, 20)
        before = listener.received
        sqlite_camera.plays(sets=3)
        wait_until(lambda: listener.received == before + 30, 10)
        assert listener.malformed == listener.dropped == 0
        done(sqlite_camera.client.set_publish_readouts(publish=False))
        sqlite_camera.plays(sets=2)
        data = sqlite_camera.wait_for("readouts_withheld", 20)
        assert data["publishing"] is False
        assert listener.received == before + 30
    finally:
        listener.close()


def test_operations_answer_as_ocs_agents_should(sqlite_camera: Camera) -> None:
    client = sqlite_camera.client
    assert client.acq.start()[0] == ocs.ERROR  # runs already
    assert client.acq.status().session["status"] == "running"
    assert done(client.reset_readout_count()) == (True, "Readout count reset")
    assert client.set_publish_readouts()[0] == ocs.ERROR  # publish is needed
    assert client.set_publish_readouts(publish="maybe")[0] == ocs.ERROR
    assert client.set_writer(nonsense=1)[0] == ocs.ERROR
    assert client.retry_failed()[0] == ocs.OK
    success, text = done(client.set_writer(folder="/etc"))
    assert not success
    assert "--data-root" in text
    success, text = done(client.set_writer(layout="fits"))
    assert not success
    assert "native" in text
    assert client.acq.stop()[0] == ocs.OK
    assert client.acq.wait(timeout=60)[0] == ocs.OK
    assert client.acq.status().session["success"] is True
    assert not done(client.new_file())[0]
    assert client.acq.start()[0] == ocs.OK
    wait_until(lambda: sqlite_camera.data().get("listening"), 10)
    sqlite_camera.plays(sets=1)
    sqlite_camera.wait_for("readouts_complete", 10)


def test_files_change_on_demand_and_no_readout_is_lost(sqlite_camera: Camera) -> None:
    client = sqlite_camera.client
    truth = [sqlite_camera.plays(sets=2)]
    sqlite_camera.wait_for("readouts_written", 20)
    assert done(client.set_writer(file_prefix="Other", layout="seed")) == (
        True,
        f"Writing seed files {sqlite_camera.files}/Other*",
    )
    truth.append(sqlite_camera.plays(sets=2))
    data = sqlite_camera.wait_for("readouts_written", 40)
    assert Path(data["writer"]["file"]).name.startswith("Other")
    assert done(client.set_writer(enabled=False)) == (True, "Writing no files")
    sqlite_camera.plays(sets=1)
    data = sqlite_camera.wait_for("readouts_unstored", 10)
    assert data["writer"] is None
    assert not done(client.new_file())[0]
    names = {path.name for path in sqlite_camera.files.glob("*.hdf5")}
    assert names == {"SlowSignalData00001.hdf5", "Other00001.hdf5"}
    wanted = [t.first_tack + i * t.step for t in truth for i in range(20)]
    assert sorted(sqlite_camera.tacks()) == wanted
    wait_until(lambda: len(rows(sqlite_camera.env)) == 2, 10)


def test_feeds(sqlite_camera: Camera, tmp_path: Path) -> None:
    with listening(sqlite_camera.site, BUILDER, tmp_path / "feeds.jsonl") as heard:
        truth = sqlite_camera.plays("--silent", "7", "--drop", 0.1)

        def blocks() -> list[dict[str, Any]]:
            """Of the recorded feed, all samples one after the other."""
            return [
                dict(zip(block["data"], values, strict=True)) | {"block": name}
                for message in heard()
                if message["topic"].endswith(".slow_signal")
                for name, block in message["message"][0].items()
                for values in zip(*block["data"].values(), strict=True)
            ]

        def total(block: str, field: str) -> float:
            return sum(each[field] for each in blocks() if each["block"] == block)

        data = sqlite_camera.wait_for("readouts_out", truth.readouts)
        wait_until(lambda: total("readouts", "readouts") == truth.readouts, 10)
        assert data["counters"]["readouts_complete"] == 0
        assert total("readouts", "incomplete") == truth.readouts
        modules = {each["block"] for each in blocks() if each["block"].startswith("module_")}
        assert modules == {f"module_{m:02}" for m in range(32) if m != 7}
        some = next(each for each in blocks() if each["block"] == "module_03")
        assert 0 <= some["module_03_min"] < some["module_03_mean"] < some["module_03_max"] < 5000

        def previews() -> list[dict[str, Any]]:
            found = [m["message"][0] for m in heard() if m["topic"].endswith(".preview")]
            return [each for each in found if each["modules"][3] is not None]

        picture = wait_until(previews, 10)[-1]
        assert picture["unit"] == "mV"
        assert picture["modules"][7] is None
        assert [len(row) for row in picture["modules"] if row] == [16] * sum(
            row is not None for row in picture["modules"]
        )
        wait_until(lambda: any(m["topic"].endswith(".counters") for m in heard()), 10)


@pytest.mark.own_router
def test_building_goes_on_without_a_router_and_its_seconds_are_sent_later(
    sqlite_camera: Camera, tmp_path: Path
) -> None:
    sqlite_camera.site.stop_router()
    truth = sqlite_camera.plays(sets=5)
    in_work = journal_of(sqlite_camera.files / "SlowSignalData00001.hdf5")
    wait_until(lambda: in_work.exists() and in_work.stat().st_size > 0, 10)
    sqlite_camera.site.start_router()
    sqlite_camera.site.wait_joined(BUILDER)
    data = sqlite_camera.wait_for("readouts_complete", truth.readouts)
    assert data["counters"]["seconds_unpublished"] == 0


def test_sigterm_completes_the_file_and_registers_it(camera: Camera) -> None:
    truth = camera.plays(sets=3)
    camera.wait_for("readouts_complete", truth.readouts)
    assert camera.site.stop_agent(BUILDER) == 0
    assert truth.indices(np.array(camera.tacks(), np.uint64)).tolist() == [*range(30)]
    assert sorted(os.listdir(camera.files)) == [
        ".SlowSignalDatalast-number",
        "SlowSignalData00001.hdf5",
    ]
    camera.start()  # if there was no time for it, it is done now
    wait_until(lambda: len(rows(camera.env)) == 1, 10)


def test_killed_it_takes_up_what_was_left(sqlite_camera: Camera) -> None:
    truth = sqlite_camera.plays(sets=3)
    sqlite_camera.wait_for("readouts_written", truth.readouts)
    sqlite_camera.site.kill_agent(BUILDER)
    sqlite_camera.start()
    wait_until(lambda: len(rows(sqlite_camera.env)) == 1, 20)
    assert truth.indices(np.array(sqlite_camera.tacks(), np.uint64)).tolist() == [*range(30)]


def test_configuration_of_ssdaq_is_taken(site, tmp_path: Path) -> None:
    config = tmp_path / "ssdaq.yaml"
    port = free_port(socket.SOCK_DGRAM)
    config.write_text(
        yaml.safe_dump(
            {
                "ReadoutAssembler": {
                    "SSReadoutAssembler": {"listen_port": 1, "buffer_time": 1e9},
                    "ReadoutPublishers": {"Local": {"ip": "127.0.0.1", "port": 0}},
                },
                "SSFileWriter": {"folder": str(tmp_path / "files"), "file_enumerator": "order"},
            }
        )
    )
    options = ["--config", str(config), "--udp-port", str(port)]
    made = site([AgentInstance("SlowSignalBuilder", BUILDER, options)])
    made.start_agent(BUILDER, env={"SOCS_DATA_DIR": str(tmp_path / "state")})
    made.wait_joined(BUILDER)
    client = made.client(BUILDER)
    data = wait_until(lambda: client.acq.status().session["data"], 10)
    assert data["listening"]["address"].endswith(f":{port}")
    assert [each["name"] for each in data["publishers"]] == ["Local"]
    assert data["writer"] is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--publish", "nonsense"], "--publish nonsense"),
        (["--publish", "sideways:127.0.0.1:0"], "sideways"),
        (["--publish", "none", "--readout-tw", "-1"], "readout_tw"),
        (["--publish", "none", "--config", "/no/such.yaml"], "/no/such.yaml"),
        (["--publish", "none", "--folder", "/tmp/a", "--data-root", "/data"], "--data-root /data"),
        (["--publish", "none", "--modules", "32"], "--modules"),
        (["--publish", "none", "--udp-address", "198.51.100.1"], "listen_ip"),
    ],
)
def test_wrong_options_end_it_with_a_message_that_names_them(
    site, tmp_path: Path, options: list[str], words: str
) -> None:
    port = ["--udp-port", str(free_port(socket.SOCK_DGRAM))]
    made = site([AgentInstance("SlowSignalBuilder", BUILDER, port + options)], router=False)
    child = made.start_agent(BUILDER, env={"SOCS_DATA_DIR": str(tmp_path / "state")})
    wait_until(lambda: child.returncode is not None, 10, "the agent to end")
    assert child.returncode == 2
    assert words in made.logs(BUILDER)
    assert "Traceback" not in made.logs(BUILDER)
