"""The control socket: commands, answers, and clients that do not behave."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq

from socs.errors import ConfigError, OurError
from socs.slow_signal.ssdaq.control import (
    MAX_REQUEST,
    ControlSocket,
    answer,
    ask,
    commands_of,
    control_path,
)


def stream() -> SimpleNamespace:
    done: list[object] = []
    return SimpleNamespace(
        done=done,
        reset_readout_count=lambda: done.append("reset"),
        set_publishing=done.append,
        status=lambda: {"rate": 1.5},
    )


@contextmanager
def control(path: Path, commands=None) -> Iterator[SimpleNamespace]:
    there = stream()
    with ControlSocket(commands or commands_of(there), path / "socket"):
        yield there


@pytest.mark.parametrize(
    ("request_", "reply", "done"),
    [
        (b"reset_ro_count 1", "Readout count reset", ["reset"]),
        (b"reset_ro_count", "Readout count reset", ["reset"]),
        (b"set_publish_readouts False", "Paused readout publishing", [False]),
        (b"set_publish_readouts false", "Paused readout publishing", [False]),
        (b"set_publish_readouts True", "Unpaused readout publishing", [True]),
        (b"set_publish_readouts true", "Unpaused readout publishing", [True]),
    ],
)
def test_commands_of_ssdaq(request_: bytes, reply: str, done: list) -> None:
    there = stream()
    assert answer(commands_of(there), request_) == reply
    assert there.done == done


@pytest.mark.parametrize("word", ["maybe", "", "FALSE"])
def test_other_words_do_nothing(word: str) -> None:
    there = stream()
    reply = answer(commands_of(there), f"set_publish_readouts {word}".encode())
    assert reply.startswith(f"Unrecognized arg `{word}` for command `set_publish_readouts`")
    assert reply.endswith("no action taken")
    assert there.done == []


def test_status_is_json() -> None:
    assert json.loads(answer(commands_of(stream()), b"status")) == {"rate": 1.5}
    commands = commands_of(stream(), lambda: {"more": [1]})
    assert json.loads(answer(commands, b"status")) == {"more": [1]}


@pytest.mark.parametrize("request_", [b"", b" ", b"destroy", b"\xff\x00\x1b[2J", b"x" * 900])
def test_what_nobody_knows_is_answered(tmp_path: Path, request_: bytes) -> None:
    with control(tmp_path) as there:
        with zmq.Context() as context, context.socket(zmq.REQ) as client:
            client.connect(f"ipc://{tmp_path}/socket")
            client.send(request_)
            assert client.poll(10_000)
            reply = client.recv().decode("ascii")
        assert reply.startswith("Error, No command `")
        assert "reset_ro_count" in reply
        assert reply.isprintable()
        assert ask("reset_ro_count 1", tmp_path / "socket") == "Readout count reset"
        assert there.done == ["reset"]


def test_clients_that_do_not_behave_do_not_end_it(tmp_path: Path) -> None:
    with control(tmp_path) as there:
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(tmp_path / "socket"))
            raw.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with zmq.Context() as context:
            with context.socket(zmq.DEALER) as client:  # several parts, no answer wanted
                client.set(zmq.LINGER, 1000)
                client.connect(f"ipc://{tmp_path}/socket")
                client.send_multipart([b"", b"reset_ro_count", b"1"])
            with context.socket(zmq.REQ) as client:
                client.set(zmq.LINGER, 0)
                client.connect(f"ipc://{tmp_path}/socket")
                client.send(b"x" * (MAX_REQUEST + 1))
                assert not client.poll(200)
        assert ask("set_publish_readouts True", tmp_path / "socket").startswith("Unpaused")
        assert True in there.done


def test_a_defect_in_a_command_does_not_end_it(tmp_path: Path) -> None:
    def fail(_words: list[str]) -> str:
        raise ZeroDivisionError("by 0")

    with control(tmp_path, {"fail": fail, "live": lambda words: "yes"}):
        assert ask("fail", tmp_path / "socket") == "Error, ZeroDivisionError: by 0"
        assert ask("live", tmp_path / "socket") == "yes"


def test_only_its_owner_may_command_and_the_file_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with control(tmp_path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()


def test_there_is_only_one(tmp_path: Path) -> None:
    with control(tmp_path) as there:
        with pytest.raises(ConfigError, match="another readout assembler answers"):
            ControlSocket({}, tmp_path / "socket")
        assert ask("reset_ro_count 1", tmp_path / "socket") == "Readout count reset"
        assert there.done == ["reset"]


def test_what_a_killed_one_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "socket"))
    with control(tmp_path):
        assert ask("reset_ro_count 1", tmp_path / "socket") == "Readout count reset"


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot make the control socket"):
        ControlSocket({}, tmp_path / "none" / "socket")


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(OurError, match="is a readout assembler running"):
        ask("status", tmp_path / "socket")


def test_nobody_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "socket"))
        silent.listen()
        with pytest.raises(OurError, match=r"no answer from .* within 0.1 s: is a readout"):
            ask("status", tmp_path / "socket", timeout=0.1)


def test_where_it_is(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SOCS_RUN_DIR", raising=False)
    assert control_path() == Path("/tmp/ssdaq-control")
    monkeypatch.setenv("SOCS_RUN_DIR", str(tmp_path))
    assert control_path() == tmp_path / "ssdaq-control"
