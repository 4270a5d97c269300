"""Options of the PV monitor become settings; what cannot be meant is told by name."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from socs.epics.applications.interviews import InterviewSettings
from socs.epics.monitor.monitor import PvMonitorSettings
from socs.epics.monitor.options import PRIVATE, add_options, monitor_settings
from socs.epics.store.purge import DAY
from socs.epics.track.settings import TrackSettings
from socs.errors import ConfigError


def settings(tmp_path: Path, *words: str) -> PvMonitorSettings:
    parser = argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    args = parser.parse_args(["--data-dir", str(tmp_path), *words])
    args.instance_id, args.address_root = "pv-monitor", "observatory"
    return monitor_settings(args)


def test_without_options_all_is_as_it_is_documented(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found.gateways == found.knowledge.gateways == ("pv-gateway",)
    assert found.knowledge.track == TrackSettings(PRIVATE)
    assert not found.knowledge.search.enabled
    assert not found.knowledge.search.poll.enabled
    assert found.knowledge.ask == InterviewSettings()
    assert not found.knowledge.ask.enabled
    assert found.store.folder == tmp_path / "snapshots"
    assert found.store.data_dir == tmp_path
    assert (found.store.constants.site, found.store.constants.instance_id) == (
        *("observatory", "pv-monitor"),
    )


def test_options_are_taken(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        *("--gateway", "a", "b", "a", "--subnet", "10.1.0.0/16", "--max-names", "5"),
        *("--threshold", "ca_lost_after=30", "misses=3", "--source-class"),
        *("archiver=10.1.2.3,10.1.2.4", "gui=10.2.0.0/16", "archiver=10.1.2.5"),
        *("--search", "true", "--poll", "on", "--poll-period", "60", "--ask", "yes"),
        *("--ask-period", "3600"),
        *("--folder", "kept", "--keep-events", "2", "--keep-sources", "0.5", "--queue", "2"),
    )
    assert found.gateways == ("a", "b")
    track = found.knowledge.track
    assert (track.subnets, track.ca_lost_after, track.misses) == (("10.1.0.0/16",), 30.0, 3)
    assert found.knowledge.classes == {
        "archiver": ["10.1.2.3", "10.1.2.4", "10.1.2.5"],
        "gui": ["10.2.0.0/16"],
    }
    assert found.knowledge.limits.names == 5
    assert found.knowledge.search.poll.enabled
    assert found.knowledge.search.poll.period == 60
    assert found.knowledge.ask == InterviewSettings(True, 3600, 3600)
    assert found.store.folder == Path("kept").absolute()
    assert found.store.ages.events == 2 * DAY
    assert found.store.ages.sources == DAY / 2
    assert found.queue_bytes == 2 << 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threshold", "lost=5"], "--threshold: 'lost=5' is no NAME=VALUE of ca_period"),
        (["--threshold", "misses=2.5"], "--threshold: 'misses=2.5': '2.5' is no number"),
        (["--threshold", "ca_lost_after=nan"], "'nan' is no number"),
        (["--threshold", "ca_lost_after=-1"], "--threshold: ca_lost_after: -1.0 is not above 0"),
        (["--subnet", "10.0.0.0/40"], "--subnet: '40' is not a valid netmask"),
        (["--source-class", "Archiver=10.0.0.1"], "--source-class: 'Archiver=10.0.0.1'"),
        (["--source-class", "client=10.0.0.1"], "--source-class: source classes"),
        (["--source-class", "a=10.0.0.x"], "--source-class: source class a: "),
        (["--max-names", "99999999"], "--max-names: 99999999 is more than"),
    ],
)
def test_what_cannot_be_meant_is_told_by_name(
    tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(tmp_path, *words)
    assert message in str(raised.value)


@pytest.mark.parametrize("words", [["--keep-events", "0"], ["--keep-names", "inf"]])
def test_ages_are_days_above_0(tmp_path: Path, words: list[str], capsys) -> None:
    with pytest.raises(SystemExit):
        settings(tmp_path, *words)
    assert words[0] in capsys.readouterr().err
