"""The options that all agents share which register files."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from socs.db.options import add_options, row_constants, spool_settings
from socs.db.registrar import RowConstants
from socs.db.spool import DEFAULT_QUOTA


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group())
    common = argparse.Namespace(instance_id="some-agent", address_root="observatory")
    return parser.parse_args(words, common)


def test_without_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path))
    args = parsed()
    assert spool_settings(args) == {
        "spool_dir": tmp_path / "some-agent",
        "spool_quota": DEFAULT_QUOTA,
        "create_table": True,
    }
    assert row_constants(args) == RowConstants("observatory", "some-agent", settle=0.0)


def test_every_option_counts() -> None:
    args = parsed(
        *("--data-dir", "/spools/one", "--spool-quota", "0.5"),
        *("--create-table", "false", "--site-name", "chile"),
    )
    assert spool_settings(args) == {
        "spool_dir": Path("/spools/one"),
        "spool_quota": 512 * 1024,
        "create_table": False,
    }
    assert row_constants(args, settle=2.0, file_attempts=3) == RowConstants(
        "chile", "some-agent", settle=2.0, file_attempts=3
    )


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1", "x", "1e-9", "1.1e12"])
def test_quotas_that_make_no_sense_are_refused(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed("--spool-quota", value)
    assert f"argument --spool-quota: '{value}' is not a positive number" in capsys.readouterr().err
