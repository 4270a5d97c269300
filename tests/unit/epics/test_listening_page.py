"""Figures in the page about listening and searching are those of the code."""

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np

from socs.epics.knowledge.poll_cache import WITNESSES, PollRound
from socs.epics.ports import EpicsPorts
from socs.epics.search.limiter import MOST_PER_SECOND
from socs.epics.search.messages import CA_BYTES, PVA_BYTES
from socs.epics.search.searcher import SearchSettings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "epics_listening.rst"
TEXT = " ".join(PAGE.read_text().split())


def rows():
    return dict(re.findall(r"(?m)^   \* - (\w+)\n     - (.+)$", PAGE.read_text()))


def test_ports_and_settings():
    shown = rows()
    ports = EpicsPorts().by_use()
    assert {use: int(shown[use]) for use in ports} == ports
    settings = asdict(SearchSettings())
    assert settings.pop("enabled") is False
    assert shown["enabled"] == "no"
    for name, value in settings.items():
        assert float(re.sub(r"[ s]", "", shown[name])) == value
    assert set(shown) == {"Use", "Setting", "Broadcast", "enabled", *ports, *settings}


def test_limits():
    assert f"no more than {MOST_PER_SECOND} datagrams are sent within any second" in TEXT
    assert f"at most {CA_BYTES} bytes for Channel Access, {PVA_BYTES} for PV Access" in TEXT
    assert WITNESSES == 3
    assert "In each round three names of each server" in TEXT
    polling = PollRound(np.arange(1_000_000) % 1000, np.random.default_rng(1))
    share = float(re.search(r"searches ([\d.]+) % of them", TEXT)[1])
    assert round(100 * polling.progress.left / 1_000_000, 1) == share
