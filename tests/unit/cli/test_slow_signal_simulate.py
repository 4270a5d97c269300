"""``socs slow-signal simulate``: options of the camera, and progress."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from socs.cli.main import main, make_parser
from socs.cli.slow_signal_simulate import progress
from socs.sim.camera import play, settings_from
from socs.sim.camera_truth import DROPPED, CameraTruth


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("0.0.0.0", 0))
        made.settimeout(30)
        yield made


def test_it_plays_to_port_and_host_as_the_seed_has_them(receiver, capsys) -> None:
    line = [str(receiver.getsockname()[1]), "localhost", "--sets", "2", "--modules", "3,30"]
    assert main(["slow-signal", "simulate", *line, "--packet-rate", "burst"]) == 0
    assert capsys.readouterr().out.startswith("sent 4 datagrams in ")
    heard = [receiver.recvfrom(2000) for _ in range(4)]
    assert {len(data) for data, _ in heard} == {1440}
    assert {address[0] for _, address in heard} == {"127.0.1.103", "127.0.1.130"}


@pytest.mark.parametrize(
    ("line", "host", "port"),
    [
        ("", "127.0.0.1", 2009),
        ("2010", "127.0.0.1", 2010),
        ("2010 camera", "camera", 2010),
        ("--port 2011 --host other", "other", 2011),
    ],
)
def test_where_to(line: str, host: str, port: int) -> None:
    args = make_parser().parse_args(["slow-signal", "simulate", *line.split()])
    settings = settings_from(args)
    assert (settings.host, settings.port) == (host, port)


@pytest.mark.parametrize("line", ["0", "65536", "x", "--modules 32", "--port 0", "--drop 2"])
def test_a_wrong_command_line_ends_with_2(line: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["slow-signal", "simulate", *line.split()])
    assert ended.value.code == 2
    assert "usage: socs slow-signal simulate" in capsys.readouterr().err


def test_a_wrong_setting_is_told(capsys) -> None:
    assert main(["slow-signal", "simulate", "--modules", "3", "--silent", "4"]) == 1
    assert "silent" in capsys.readouterr().err


def test_progress_is_told_while_it_plays(receiver) -> None:
    port = str(receiver.getsockname()[1])
    line = ["slow-signal", "simulate", port, "--sets", "3", "--packet-rate", "burst"]
    told: list[tuple[CameraTruth, float]] = []
    play(make_parser().parse_args(line), lambda *so_far: told.append(so_far))
    assert told
    assert all(truth.sets == 3 and seconds >= 0 for truth, seconds in told)


def test_progress() -> None:
    truth = CameraTruth(0, 1000, 10, 0, 1, 0, sets=5)
    truth.packets[0] = 5
    assert progress(truth, 2.0) == "2 s: 50 readouts, 160 datagrams (80/s)"
    truth.packets[DROPPED, 3] = 2
    assert progress(truth, 0.0) == "0 s: 50 readouts, 160 datagrams (0/s), 2 dropped"
