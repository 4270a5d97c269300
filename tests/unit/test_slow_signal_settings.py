"""Settings of the slow signal that cannot be: refused, by the name of the setting."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from pathlib import Path

import pytest

from socs.db.registrar import RowConstants
from socs.errors import ConfigError
from socs.slow_signal.builder import BuilderSettings
from socs.slow_signal.options import add_options
from socs.slow_signal.settings import StreamSettings, WriterSettings, configuration


def writing(root: Path) -> BuilderSettings:
    constants = RowConstants(site="here", instance_id="builder")
    return BuilderSettings(StreamSettings(), constants, root / "spool", roots=(str(root / "in"),))


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [
        ("{root}/out", "x"),
        ("{root}/in", "../out/x"),
        # An absolute prefix goes without the folder.
        ("{root}/in", "{root}/out/x"),
        ("{root}/in", "/x"),
        # What is called like the prefix does not matter, the files are beside it.
        ("{root}/out", "link"),
        ("{root}/in/link", "x"),
    ],
)
def test_no_file_is_written_outside_the_roots(tmp_path: Path, folder: str, prefix: str) -> None:
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "in" / "deeper")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    writer = WriterSettings(
        folder=folder.format(root=tmp_path), file_prefix=prefix.format(root=tmp_path)
    )
    with pytest.raises(ConfigError, match="outside --data-root"):
        writing(tmp_path).check_folder(writer)


@pytest.mark.parametrize("prefix", ["x", "deep/x", "deep/../x", "{root}/in/x"])
def test_directories_in_the_prefix(tmp_path: Path, prefix: str) -> None:
    prefix = prefix.format(root=tmp_path)
    folder = tmp_path / ("out" if prefix.startswith("/") else "in")
    writer = WriterSettings(folder=str(folder), file_prefix=prefix)
    writing(tmp_path).check_folder(writer)
    writer.writer()
    assert (tmp_path / "in").is_dir()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"filesize_lim": math.inf}, "filesize_lim: inf"),
        ({"filesize_lim": math.nan}, "filesize_lim: nan"),
        ({"filesize_lim": -1.0}, "filesize_lim: -1"),
        ({"flush_every": math.nan}, "flush_every: nan"),
        ({"sync_every": -1.0}, "sync_every: -1"),
        ({"folder": "a\0b/c"}, "folder"),
        ({"file_prefix": "a\0b"}, "a.*b"),
        ({"file_prefix": "x" * 181}, "longer than 180 bytes"),
        ({"file_prefix": "\N{GREEK SMALL LETTER MU}" * 91}, "longer than 180 bytes"),
        ({"file_prefix": "a\nb"}, "characters that nobody sees"),
    ],
)
def test_writers_that_cannot_be(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        WriterSettings(**{"folder": str(tmp_path), **changes}).writer()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"ip": 5}, "a: ip 5 is no text"),
        ({"port": True}, "a: port True is no number"),
        ({"port": "5555"}, "a: port '5555' is no number"),
        ({"high_water_mark": "many"}, "a: high_water_mark 'many' is no number"),
        ({"high_water_mark": None}, "a: high_water_mark None is no number"),
        ({"high_water_mark": 1 << 40}, "publisher a: high_water_mark"),
        ({"layout": ["seed"]}, r"a: layout \['seed'\] is no text"),
        ({"mode": {}}, "a: mode {} is no text"),
        ({7: 8, "x": 9}, "a: unknown: 7, x"),
    ],
)
def test_publishers_that_cannot_be(keys: dict[object, object], words: str) -> None:
    section = {"a": {"ip": "127.0.0.1", "port": 5555, **keys}}
    with pytest.raises(ConfigError, match=words):
        configuration({"ReadoutAssembler": {"ReadoutPublishers": section}})


def test_a_publisher_may_have_a_number_for_a_name() -> None:
    section = {1: {"ip": "127.0.0.1", "port": 5555}, 2: {"class": "a.b"}}
    made = configuration({"ReadoutAssembler": {"ReadoutPublishers": section}})
    assert [each.name for each in made.stream.publishers] == ["1"]
    assert [each.name for each in made.custom_publishers] == ["2"]


@pytest.mark.parametrize("option", ["--receive-buffer", "--spool-quota"])
@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0", "much"])
def test_sizes_that_cannot_be(option: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group())
    with pytest.raises(SystemExit):
        parser.parse_args([option, text])
    assert option in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["tables", "zmq", "blosc2"])
def test_the_agent_names_the_extra_that_it_lacks(missing: str) -> None:
    lines = f"import sys; sys.modules[{missing!r}] = None; import agents.slow_signal_builder"
    found = subprocess.run(
        [sys.executable, "-c", f"{lines}.slow_signal_builder"], capture_output=True, text=True
    )
    *_, last = found.stderr.splitlines()
    assert missing in last
    assert last.endswith("pip install 'socs[slow-signal]'")
