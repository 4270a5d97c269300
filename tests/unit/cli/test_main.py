"""The command line: status, usage, errors on one line."""

import subprocess
import sys

import pytest

from socs._version import __version__
from socs.cli.main import main


@pytest.fixture(autouse=True)
def own_database(monkeypatch, tmp_path):
    """No database but an SQLite file that is not there yet."""
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path))
    for name in ("MYSQL_HOST", "MYSQL_USER", "MYSQL_DATABASE", "MYSQL_PORT", "MYSQL_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"socs {__version__}\n"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "unknown",
        "files",
        "files list --limit x",
        "files list --limit -1",
        "files tail --interval 0",
        "files tail --interval x",
        "files show",
        "demo --for 0",
        "demo --for nan",
        "demo --rate fast",
        "demo --size 4k",
        "demo --size 3:1",
        "demo --drop 1.5",
        "demo --duplicate x",
        "doctor nonsense",
    ],
)
def test_a_wrong_command_line_ends_with_2(line, capsys):
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert "usage: socs" in capsys.readouterr().err


def test_ctrl_c_while_the_program_is_loaded_prints_no_traceback(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("socs.cli.main.make_parser", interrupted)
    assert main([]) == 130
    code = "import sys, socs.cli.main; sys.exit('sqlalchemy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_error_is_one_line_and_status_1(capsys):
    assert main(["files", "list"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("socs: there is no /")
    assert "socs files create" in line


def test_a_wrong_setting_is_named(monkeypatch, capsys):
    monkeypatch.setenv("MYSQL_HOST", "somewhere")
    assert main(["files", "list"]) == 1
    assert "MYSQL_USER is not set" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error(tmp_path):
    create = "from socs.cli.main import main; main(['files', 'create'])"
    subprocess.run([sys.executable, "-c", create], check=True, capture_output=True)
    listing = f"{sys.executable} -m socs.cli.main files list"
    script = f"set -o pipefail; {listing} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
