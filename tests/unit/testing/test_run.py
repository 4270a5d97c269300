"""``make test`` itself: all tests pass, beside the others or alone, or it says so."""

from pathlib import Path

import pytest

from tests import run

BEGIN = "import pathlib\n"
# Fails when it is run for the first time.
HASTY = """
def test_hasty():
    flag = pathlib.Path(__file__).with_suffix(".flag")
    if not flag.exists():
        flag.touch()
        raise AssertionError
"""
PASSES = "def test_passes(): pass\n"
FAILS = "def test_fails(): assert 0\n"
MANY_HASTY = "".join(
    HASTY.replace("hasty", f"hasty{n}").replace(".flag", f".{n}") for n in range(6)
)


@pytest.fixture
def run_all(tmp_path: Path, monkeypatch, capfd):
    def run_all(*files: str) -> tuple[int, str]:
        paths = [tmp_path / f"test_{number}.py" for number in range(len(files))]
        for path, text in zip(paths, files, strict=True):
            path.write_text(BEGIN + text)
        options = [*run.OPTIONS, "-c", "/dev/null", "--rootdir", str(tmp_path)]
        monkeypatch.setattr(run, "OPTIONS", options)
        monkeypatch.setenv("PYTHONPATH", str(Path(run.__file__).parents[1]))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(run, "GROUPS", [[str(path) for path in paths]] * 2)
        return run.main([]), capfd.readouterr().out

    return run_all


def test_all_pass(run_all):
    status, output = run_all(PASSES, PASSES, PASSES)
    assert status == 0
    assert "alone" not in output


def test_one_that_passes_alone_is_named(run_all):
    status, output = run_all(PASSES, HASTY)
    assert status == 0
    assert output.splitlines()[-1].endswith("test_1.py::test_hasty")
    assert "passed alone" in output.splitlines()[-2]


def test_one_that_fails_alone_too_fails(run_all):
    status, output = run_all(PASSES, HASTY, FAILS)
    assert status == 1
    assert "run again, alone: 2" in output
    assert "passed alone" not in output


def test_many_are_not_run_again(run_all):
    status, output = run_all(MANY_HASTY)
    assert status == 1
    assert "alone" not in output


def test_what_cannot_be_collected_is_not_forgiven(run_all):
    status, _ = run_all(PASSES, "import nothing_of_this_name\n")
    assert status == 2
