"""The simulator of one module, and the script that starts a camera of containers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from socs.errors import ConfigError
from socs.sim import camera_module
from socs.slow_signal.layout import WIRE

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docker" / "tm-ss-sim"
RECORDS = """#!{python}
import json, os, sys
with open({record!r}, "a") as record:
    record.write(json.dumps(sys.argv[1:]) + "\\n")
print("id1\\nid2" if sys.argv[1] == "ps" else "")
sys.exit(sys.argv[1] == os.environ.get("FAILS"))
"""


def options(*words: str, **environ: str) -> str:
    args = camera_module.make_parser(environ).parse_args(words)
    return " ".join(camera_module.camera_options(args))


def test_options_are_those_of_ssdaq_and_of_its_readme() -> None:
    assert options() == "--host 127.0.0.1 --port 2009 --sets 0 --source any"
    assert options("2010", "localhost") == "--host localhost --port 2010 --sets 0 --source any"
    words = ["-d", "2011", "-c", "30001", "-i", "127.0.0.1", "-m", "172.18.0.131", "-t", "31"]
    expected = "--host 127.0.0.1 --port 2011 --sets 0 --source 172.18.0.100 --modules 31"
    assert options(*words) == expected


def test_variables_of_containers_are_defaults() -> None:
    assert options(HOST_IP="172.18.0.1", MY_IP="172.18.0.105", TM_ID="5") == (
        "--host 172.18.0.1 --port 2009 --sets 0 --source 172.18.0.100 --modules 5"
    )
    assert "--source any" in options(MY_IP="", TM_ID="")
    assert "--source 10.0.0.7 --modules 0" in options("-m", "10.0.0.7", "-t", "0")


@pytest.mark.parametrize("words", [["-m", "none"], ["-m", "127.0.1.132"], ["-t", "32"]])
def test_what_is_no_module_is_refused(words: list[str], capsys) -> None:
    with pytest.raises(ConfigError):
        options(*words)
    assert camera_module.main(words) == 1
    assert capsys.readouterr().err.startswith("SSUDPTMSimulator.py: ")


def play(script: Path, env: dict[str, str], *options: str) -> tuple[bytes, str]:
    """The packet that it sends, and from where."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.bind(("127.0.0.1", 0))
        host.settimeout(20)
        command = [sys.executable, *options, str(script), str(host.getsockname()[1]), "localhost"]
        subprocess.run([*command, "--sets", "1"], check=True, env={**os.environ, **env})
        packet, sender = host.recvfrom(65_535)
    return packet, sender[0]


def check(packet: bytes) -> None:
    assert len(packet) == 1440
    tacks = np.frombuffer(packet, WIRE)["tack"].astype(np.int64)
    assert np.array_equal(np.diff(tacks), np.full(9, 10**8))


def test_one_module_is_played() -> None:
    packet, sender = play(FOLDER / "SSUDPTMSimulator.py", {})
    assert sender == "127.0.0.1"
    check(packet)


@pytest.fixture
def docker(tmp_path: Path, monkeypatch):
    """Runs docker-command.py with a ``docker`` that only writes down what it is told."""
    record, program = tmp_path / "record", tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(RECORDS.format(python=sys.executable, record=str(record)))
    program.chmod(0o755)
    folder = tmp_path / "docker" / "tm-ss-sim"
    folder.mkdir(parents=True)
    for path in FOLDER.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (tmp_path / "socs").symlink_to(ROOT / "socs")

    def run(*words: str, status: int = 0, path: Path = program.parent, **environ: str):
        record.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, str(folder / "docker-command.py"), *words],
            env={"PATH": str(path), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        calls = (
            [json.loads(line) for line in record.read_text().splitlines()]
            if record.exists()
            else []
        )
        return calls, done.stdout + done.stderr

    run.folder = folder
    return run


def test_a_camera_has_the_addresses_from_100_to_131(docker) -> None:
    calls, printed = docker("-r", "-N", "32")
    assert calls.pop(0)[:2] == ["network", "inspect"]
    addresses = [call[call.index("--ip") + 1] for call in calls]
    assert addresses == [f"172.18.0.{100 + module}" for module in range(32)]
    assert [call[call.index("--name") + 1] for call in calls] == [f"TM{i}" for i in range(32)]
    assert {"MY_IP=172.18.0.131", "TM_ID=31", "HOST_IP=172.18.0.1"} < {*calls[-1]}
    assert all(call[0] == "run" and call[-1] == "ss-sim" for call in calls)
    assert "Started 32 container(s)" in printed


def test_other_networks_and_fewer_modules(docker) -> None:
    calls, _ = docker("-r", "-N", "2", "-n", "br0", "-i", "10.0.0.")
    assert calls[0][-1] == "br0"
    assert [call[call.index("--ip") + 1] for call in calls[1:]] == ["10.0.0.100", "10.0.0.101"]


def test_stop_removes_what_was_started(docker) -> None:
    calls, printed = docker("-s")
    assert calls == [
        ["ps", "--all", "--quiet", "--filter", "label=socs.ss-sim"],
        ["rm", "--force", "id1", "id2"],
    ]
    assert "Removed 2 container(s)" in printed


def test_the_image_has_what_it_needs(docker, tmp_path: Path) -> None:
    calls, _ = docker("-b")
    assert calls == [["build", "-t", "ss-sim", str(docker.folder)]]
    app = tmp_path / "app"
    with tarfile.open(docker.folder / "socs.tar.gz") as archive:
        archive.extractall(app, filter="data")
    script = app / "SSUDPTMSimulator.py"
    script.write_bytes((FOLDER / script.name).read_bytes())
    # As in the image: numpy is there, and socs is nowhere else.
    packages = str(Path(np.__file__).parents[1])
    packet, _ = play(script, {"PYTHONPATH": packages}, "-S")
    check(packet)
    text = (FOLDER / "Dockerfile").read_text()
    assert "ADD socs.tar.gz ./" in text
    assert "numpy" in text


def test_what_fails_is_told(docker, tmp_path: Path) -> None:
    _, printed = docker("-r", status=1, path=tmp_path)
    assert "docker is not installed; `python -m socs.sim.camera`" in printed
    calls, printed = docker("-r", status=1, FAILS="network")
    assert len(calls) == 1
    assert "docker network create --driver=bridge --subnet=172.18.0.0/24 my-net" in printed
    calls, printed = docker("-r", status=1, FAILS="run")
    assert len(calls) == 2
    assert "docker run ended with status 1" in printed
    assert "Started" not in printed


@pytest.mark.parametrize("words", [["-r", "-N", "33"], ["-r", "-N", "0"], ["-r", "-i", "x."], []])
def test_wrong_options_are_refused(docker, words: list[str]) -> None:
    calls, _ = docker(*words, status=2)
    assert calls == []
