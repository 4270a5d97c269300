"""The pages on EPICS say what the code does."""

import dataclasses
import importlib
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from socs.epics.accounts.name_rule import EPICS_FORBIDS
from socs.epics.decode import alive, ca, heartbeat, pva
from socs.epics.track import beacon_ids, hosts, life, pvs
from socs.epics.track.settings import TrackSettings
from tests.epics_servers import SETTINGS

DOCS = Path(__file__).parents[3] / "docs"


def page(name: str) -> str:
    return " ".join((DOCS / "reference" / f"{name}.rst").read_text().split())


@pytest.fixture(scope="module")
def extension():
    pytest.importorskip("sphinx", reason="needs the extra docs")
    directory = str(DOCS / "_ext")
    sys.path.insert(0, directory)
    try:
        yield importlib.import_module("socs_reference")
    finally:
        sys.path.remove(directory)


def test_every_setting_is_rendered_with_its_default(extension):
    lines = extension.epics_settings_rst()
    text = "\n".join(lines)
    for setting in dataclasses.fields(TrackSettings):
        (row,) = [
            n for n, line in enumerate(lines) if f"``{setting.name}``" in line and "*" in line
        ]
        if setting.default is not dataclasses.MISSING:
            assert lines[row + 1] == f"     - {setting.default:g}"
        assert lines[row + 2] > "     - a"
    assert text.count("   * - ") == len(dataclasses.fields(TrackSettings)) + 1


@pytest.mark.parametrize(
    ("directive", "table", "causes"),
    [
        ("epics_life_rst", life.LIFE, life.EVENTS),
        ("epics_pv_states_rst", pvs.TRANSITIONS, pvs.CAUSES),
    ],
)
def test_every_transition_is_rendered(extension, directive, table, causes):
    text = "\n".join(getattr(extension, directive)())
    for (state, noticed), (into, event) in table.items():
        row = rf"\* - ``{state}``\n     - {noticed}\n     - ``{into}``\n     - (.*)"
        assert re.findall(row, text) == [f"``{event}``" if event else "\\-"]
    for event, meaning in causes.items():
        assert f"``{event}``\n     - {meaning}" in text


@pytest.mark.parametrize("table", [life.LIFE, pvs.TRANSITIONS])
def test_diagram_shows_every_state_and_way(extension, table):
    root = ElementTree.fromstring(sys.modules["state_diagram"].draw_ring(table))
    words = [element.text or "" for element in root.iter("text")]
    assert [word for word in words if word.isupper()] == list(dict.fromkeys(s for s, _ in table))
    ways = {(state, into) for (state, _), (into, _) in table.items() if state != into}
    assert len(root.findall("./path")) == len(ways)
    labels = ", ".join(word for word in words if not word.isupper()).split(", ")
    assert sorted(labels) == sorted(n for (s, n), (into, _) in table.items() if s != into)


def test_every_status_of_a_host_is_rendered(extension):
    text = "\n".join(extension.epics_hosts_rst())
    for status, meaning in hosts.STATUS.items():
        assert f"``{status}``\n     - {meaning}" in text


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("epics_states", f"and {beacon_ids.FIRST_SPACING * 1000:.0f} ms later"),
        ("epics_states", f"up to {SETTINGS.ca_period:.0f} seconds. So"),
        ("epics_states", f"beacon 9 is sent {beacon_ids.uptime(9, 15.0):.2f} seconds after"),
        ("epics_states", f"went back by up to {SETTINGS.reordered_ids} within a second"),
        ("epics_states", f"one each {SETTINGS.pva_start_period:.0f} seconds, and then"),
        ("epics_states", f"one each {SETTINGS.pva_lost_after / 2:.0f} seconds. Their number"),
        ("wire_epics", f"UDP ports {ca.SERVER_PORT} (searches)"),
        ("wire_epics", f"0x{pva.MAGIC:X}"),
        ("wire_epics", f"0x{heartbeat.LIST_PVS:X}"),
        ("wire_epics", f"0x{heartbeat.NETSTAT:X}"),
        ("wire_epics", f"``{heartbeat.LAST_LINE}`` after the last"),
        ("wire_epics", f"protocol version {alive.VERSION}"),
    ],
)
def test_figures_are_those_of_the_code(name, statement):
    assert statement in page(name)


def test_figures_in_words():
    assert (SETTINGS.reordered_within, SETTINGS.start_window) == (1.0, 1.0)
    assert (SETTINGS.misses, SETTINGS.answers_within, SETTINGS.clock_tolerance) == (2, 2.0, 120.0)
    assert (SETTINGS.interval_tolerance, SETTINGS.pva_start_beacons) == (0.2, 10)
    assert set(EPICS_FORBIDS) == set(" \t\"'$")
