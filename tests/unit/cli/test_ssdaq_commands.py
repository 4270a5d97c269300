"""The command lines of SSDAQ: help, options, what they refuse, and their default configuration."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
import ssdaq as ssdaq_package
from click.testing import CliRunner, Result

from socs.cli import ssdaq
from socs.cli.ssdaq import control, example_listener, quick_assembler, quick_writer, running
from socs.cli.ssdaq.assembling import assemble
from socs.cli.ssdaq.running import EndSignals, set_up_log
from socs.errors import ConfigError, SocsError
from socs.slow_signal import settings
from socs.slow_signal.publish import PublisherSettings
from socs.slow_signal.readout import SSReadout
from socs.slow_signal.settings import configuration
from socs.slow_signal.ssdaq import outlet
from tests.ssdaq_commands import CONFIG


def run(*words: str) -> Result:
    return CliRunner().invoke(control.cli, words, prog_name="control-ssdaq")


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["start"],
        ["start", "roa"],
        ["start", "dw"],
        ["stop"],
        ["stop", "roa"],
        ["stop", "dw"],
        ["roa-ctrl"],
        *(["roa-ctrl", each] for each in ("reset-count", "pause-pub", "restart-pub", "status")),
    ],
    ids=" ".join,
)
def test_each_command_has_help(words: list[str], option: str) -> None:
    done = run(*words, option)
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: {' '.join(['control-ssdaq', *words])} ")
    assert "--report-to" not in done.output


def test_the_reference_has_every_command_and_every_key() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "ssdaq.rst").read_text()
    literals = " ".join(re.findall(r"``([^`]+)``", " ".join(page.split())))
    for name, group in control.cli.commands.items():
        for command in group.commands:
            assert f"{name} {command}" in literals or f"{name} roa`` or ``{command}``" in page
    keys = [settings._ASSEMBLER, settings._WRITER, settings._DAEMON]
    for key in {*keys[0], *keys[1], *keys[2], *PublisherSettings.__dataclass_fields__, "class"}:
        assert key == "name" or key in literals, key
    for name in ssdaq_package.__all__:
        assert name == "__version__" or name in literals
    assert f"after {control.STOP_TIMEOUT:.0f} s" in page
    assert f"up to {outlet.ROOM // 1000} {outlet.ROOM % 1000:03d} readouts" in page


def test_unknown_commands_are_refused() -> None:
    assert run("begin").exit_code == 2
    assert run("start", "everything").exit_code == 2
    assert run("stop", "roa", "--timeout", "0").exit_code == 2


def test_the_default_configuration_is_that_of_ssdaq() -> None:
    chosen = control._configuration(None)
    stream, writer = chosen.stream, chosen.writer
    assert (stream.listen_ip, stream.listen_port) == ("0.0.0.0", 2009)
    assert (stream.readout_tw, stream.buffer_time, stream.buffer_length) == (1e7, 4e9, 1000)
    assert stream.relaxed_ip_range is False
    (publisher,) = stream.publishers
    assert (publisher.name, publisher.ip, publisher.port, publisher.mode) == (
        *("ZMQReadoutPublisherLocal", "127.0.0.101", 5555),
        "local",
    )
    assert (writer.ip, writer.port) == (publisher.ip, publisher.port)
    assert (writer.folder, writer.file_prefix) == ("/tmp/", "SlowSignalData")
    assert writer.file_enumerator == "date"
    assert chosen.assembler_daemon.stdout == chosen.assembler_daemon.stderr == "/tmp/ssdaq.log"
    assert chosen.writer_daemon.stdout == chosen.writer_daemon.stderr == "/tmp/ssdaq_writer.log"


WRONG = [
    ("listen_port", "listenport", "SSReadoutAssembler: unknown: listenport"),
    ("listen_port: 0", "listen_port: x", "SSReadoutAssembler: listen_port: 'x' is no number"),
    ("!!float 1.e6", "-1", "readout_tw: -1 is not between"),
    ("ip: 127.0.0.1\n      port", "ip: 192.0.2.1\n      port", "ZMQReadoutPublisherLocal: cannot"),
    ("stdout", "log_level: LOUD\n  stdout", "ReadoutAssemblerDaemon: log_level: 'LOUD'"),
    ("stdout", "set_taskset: true\n  core_id: 999\n  stdout", "core_id: core 999 is not"),
    ("ip: 127.0.0.1\n      port", "class: mine\n      port", "class: 'mine' is not as package"),
    ("ip: 127.0.0.1\n      port", "class: no.Such\n      port", "class: cannot load no.Such"),
    (
        "ip: 127.0.0.1\n      port",
        "class: fractions.Fraction\n      port",
        "class: fractions.Fraction cannot be made: TypeError",
    ),
]


@pytest.mark.parametrize(("before", "after", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_what_is_wrong_is_named(
    tmp_path: Path, monkeypatch, before: str, after: str, said: str
) -> None:
    monkeypatch.setenv("SOCS_RUN_DIR", str(tmp_path))
    text = CONFIG.format(folder=tmp_path, udp=0, tcp=0)
    assert before in text
    (tmp_path / "config.yaml").write_text(text.replace(before, after))
    done = run("start", "roa", str(tmp_path / "config.yaml"))
    assert isinstance(done.exception, SocsError)
    assert said in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]


def test_a_missing_configuration_is_named() -> None:
    done = run("start", "dw", "/none.yaml")
    assert isinstance(done.exception, ConfigError)
    assert "cannot read /none.yaml" in str(done.exception)


def test_errors_are_one_line_on_stderr(monkeypatch, capsys, tmp_path: Path) -> None:
    monkeypatch.setenv("SOCS_RUN_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["control-ssdaq", "roa-ctrl", "status"])
    assert ssdaq.control_ssdaq() == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(
        r"control-ssdaq: cannot reach .*: is a readout assembler running\?\n", printed.err
    )


def test_what_is_not_installed_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "click", None)
    monkeypatch.delitem(sys.modules, "socs.cli.ssdaq.control")
    monkeypatch.delattr(ssdaq, "control")
    assert ssdaq.control_ssdaq() == 1
    assert "needs click; install it with pip install 'socs[slow-signal]'" in capsys.readouterr().err


def test_options_of_the_quick_programs_are_those_of_ssdaq() -> None:
    args = vars(quick_assembler.make_parser().parse_args([]))
    assert args == {
        "listen_port": 2009,
        "publishing_port": 5555,
        "publishing_interface": "127.0.0.101",
        "verbosity": "INFO",
        "relaxed_ip": False,
    }
    words = ["-l", "1", "-p", "2", "-i", "127.0.0.1", "-V", "ERROR", "-r"]
    args = vars(quick_assembler.make_parser().parse_args(words))
    assert list(args.values()) == [1, 2, "127.0.0.1", "ERROR", True]
    args = vars(quick_writer.make_parser().parse_args(["name"]))
    assert list(args.values()) == [5555, "127.0.0.101", "name"]
    words = ["-l", "1", "-i", "0.0.0.0", "-t", "31", "-n", "5", "-V"]
    args = vars(example_listener.make_parser().parse_args(words))
    assert args == {
        "listen_port": 1,
        "ip_addr": "0.0.0.0",
        "tm_numb": 31,
        "n_readouts": 5,
        "verbosity": "DEBUG",
    }


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (quick_assembler, "-l 65536"),
        (quick_assembler, "-V LOUD"),
        (quick_writer, ""),
        (example_listener, "-t 32"),
        (example_listener, "-n 0"),
    ],
)
def test_wrong_options_are_refused(module, words: str, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        module.make_parser().parse_args(words.split())
    assert "error: " in capsys.readouterr().err


def test_what_the_example_listener_prints() -> None:
    readout = SSReadout(2_500_000_000, 7)
    readout.data[[3, 9]] = 1.5
    lines = example_listener.shown(readout, 3).splitlines()
    assert lines[:5] == [
        "Readout number 7",
        "Timestamp 2500000000 ns",
        "Timestamp 2.500000 s",
        "2",
        "[3 9]",
    ]
    assert " ".join(lines[5:]).count("1.5") == 64


def test_levels() -> None:
    with pytest.raises(ConfigError, match="here: 'NOISY' is none of DEBUG"):
        set_up_log("NOISY", "here")


def test_troubles_are_told_when_they_change(caplog, monkeypatch) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(running, "WATCH", 0.0)
    told = [["a"], ["a"], ["a", "b"], [], []]
    with EndSignals() as signals:
        signals.wait(lambda: told.pop(0), lambda _seconds: not told)
    assert [record.getMessage() for record in caplog.records] == ["a", "b", "all is well again"]


def test_signals_end_it_and_what_was_before_comes_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SOCS_RUN_DIR", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    chosen = configuration(
        {"ReadoutAssembler": {"SSReadoutAssembler": {"listen_port": 0}, "ReadoutPublishers": {}}}
    )
    ups: list[int] = []

    def up() -> None:
        ups.append((tmp_path / "pid").exists() and (tmp_path / "ssdaq-control").exists())
        os.kill(os.getpid(), signal.SIGTERM)

    assemble(chosen, pid_path=tmp_path / "pid", up=up)
    assert ups == [True]
    assert signal.getsignal(signal.SIGTERM) is before
    assert list(tmp_path.iterdir()) == []
