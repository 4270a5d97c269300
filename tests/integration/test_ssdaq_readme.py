"""The README of SSDAQ, command by command as it stands there, with a network of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from socs.sim.ports import free_port
from socs.slow_signal.listen import SSReadoutListener
from socs.slow_signal.store import SSDataReader
from socs.testing import wait_until
from tests.ssdaq_commands import PROGRAMS, Workplace, at_work
from tests.ssdaq_readme import HELP, YAML

ROOT = Path(__file__).parents[2]
# Processes, network, and /tmp are those of the script alone, and end with it.
ALONE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
BEGIN = """
set -e
mkdir {out}/tmp
mount -t tmpfs none {out}/tmp
case {root} in /tmp/*) mkdir -p {out}{root}; mount --bind {root} {out}{root};; esac
mount --move {out}/tmp /tmp
ip link set lo up
cd /tmp
ln -s {root}/docker/tm-ss-sim tm-ss-sim
until_there() {{ for _ in $(seq 300); do ls $1 >/dev/null 2>&1 && return; sleep 0.1; done; false; }}
"""
SCRIPT = """
control-ssdaq --help
control-ssdaq start roa -d
control-ssdaq start dw -d
cat /tmp/ssdaq_daemon.pid /tmp/ssdaq_writer_daemon.pid >/dev/null
python3 tm-ss-sim/SSUDPTMSimulator.py 2009 localhost >/dev/null & simulation=$!
ss-example-listener -n 10 >listened
until_there /tmp/SlowSignalData*
control-ssdaq roa-ctrl reset-count
control-ssdaq roa-ctrl pause-pub
control-ssdaq roa-ctrl restart-pub
control-ssdaq stop dw
control-ssdaq stop roa
kill $simulation
python3 -m socs.sim.camera >/dev/null & simulation=$!
ssdaq 2>/tmp/ssdaq.out & ssdaq=$!
(until_there /tmp/quick*; echo yes) | ssdatawriter quick
kill $simulation $ssdaq
wait $ssdaq
grep -c 'Readout number' listened
cp *.hdf5 {out}
ls /tmp
"""


def test_every_command_of_the_readme(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs to be root, for a network of its own, and the program ip")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MYSQL_", "SOCS_"))}
    # What is outside of /tmp is written to; tmp_path itself cannot be seen inside.
    out = Path("/var/tmp") / f"socs-readme-{os.getpid()}"
    out.mkdir()
    try:
        done = subprocess.run(
            [*ALONE, "bash", "-c", (BEGIN + SCRIPT).format(root=ROOT, out=out)],
            env={**kept, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        printed = done.stdout
        assert " ".join(HELP.split()) in " ".join(printed.split())
        for line in (
            *("Readout count reset", "Paused readout publishing", "Unpaused readout publishing"),
            *("The readout writer has ended", "The readout assembler has ended"),
            *("To stop type `yes`: ", "10"),
        ):
            assert line in printed.splitlines(), printed
        left = printed.splitlines()
        assert {"ssdaq.log", "ssdaq_writer.log"} < {*left}
        assert {"ssdaq_daemon.pid", "ssdaq_writer_daemon.pid", "ssdaq-control"}.isdisjoint(left)
        paths = sorted(path.name for path in out.glob("*.hdf5"))
        date = r"\d{4}-\d\d-\d\d\.\d\d\.\d\d(\.\d+)?\.hdf5"
        assert [bool(re.fullmatch(f"(SlowSignalData|quick){date}", path)) for path in paths] == [
            True
        ] * len(paths)
        for path in out.glob("*.hdf5"):
            with SSDataReader(path) as reader:
                assert reader.n_readouts >= 10
                present = {*reader.readouts()["present"].tolist()}
            # 127.0.0.1 is module 1; the whole camera is faster than waiting for other modules
            assert present == {0xFFFFFFFF if path.name.startswith("quick") else 1 << 1}
    finally:
        shutil.rmtree(out)


def test_the_configuration_of_the_readme(tmp_path: Path) -> None:
    with at_work(tmp_path) as place:
        outbound, remote = free_port(), free_port()
        text = YAML
        for before, after in [
            ("/tmp/\n", f"{tmp_path}/data\n"),
            ("/tmp/ssdaq", f"{tmp_path}/ssdaq"),
            ("127.0.0.101\n  port: 5555", f"127.0.0.1\n  port: {place.tcp}"),  # not the 5551 of
            ("127.0.0.101\n      port: 5551", f"127.0.0.1\n      port: {place.tcp}"),  # the other
            ("141.34.29.161 #the local, public", "127.0.0.1 #"),
            ("141.34.229.11 ", "127.0.0.1 "),
            ("listen_port: 2009", f"listen_port: {place.udp}"),
        ]:
            assert before in text
            text = text.replace(before, after)
        first, second, third = text.split("port: 9999")
        place.config.write_text(f"{first}port: {outbound}{second}port: {remote}{third}")
        assert yaml.safe_load(place.config.read_text()).keys() == yaml.safe_load(YAML).keys()
        play(place, tmp_path, outbound, remote)


def play(place: Workplace, directory: Path, outbound: int, remote: int) -> None:
    listeners = [
        SSReadoutListener(port=outbound, ip="127.0.0.1"),
        SSReadoutListener(port=remote, ip="0.0.0.0"),
    ]
    for listener in listeners:
        listener.start()
    try:
        place.start("roa", "dw")

        def heard() -> bool:
            place.send_set()
            return all(listener.received for listener in listeners) and bool(
                list(directory.glob("data/[!.]*"))
            )

        wait_until(heard, 30, "readouts everywhere")
        assert {each["mode"] for each in place.status()["publishers"]} == {
            *("local", "outbound", "remote")
        }
        for listener in listeners:
            assert listener.get_readout(timeout=60).data.shape == (32, 64)
        place.control("stop", "roa")
        place.control("stop", "dw")
    finally:
        for listener in listeners:
            listener.close()
    (path,) = directory.glob("data/SlowSignalData*.hdf5")
    with SSDataReader(path) as reader:
        assert reader.n_readouts >= 10
    assert (directory / "ssdaq.log").exists()
    assert (directory / "ssdaq_writer.log").exists()
