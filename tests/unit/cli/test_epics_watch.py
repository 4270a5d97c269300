"""The picture of ``socs epics watch``: what happens is in it, however small the terminal is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from socs.cli.epics_watch import SERVERS, _screen, sections


@pytest.mark.parametrize("height", [24, 30, 60])
def test_the_newest_events_are_in_the_picture_whatever_else_there_is(height: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, height=height, force_terminal=True, color_system=None)
    event = {
        **{"time": 1.7e9, "kind": "LOST", "subject": "SERVER", "name": "", "host": "10.9.9.9"},
        **{"port": 5064, "protocol": "CA", "cause": "no beacon", "evidence": {}},
    }
    status = {
        "measures": {"a_rate": 1.0, "pvs": 3, "servers_alive": 30, "servers_lost": 1},
        "gateways": [dict.fromkeys(("gateway", "state", "blind_since"), "net1")],
    }
    servers = [dict.fromkeys(SERVERS, f"10.0.0.{n}:5064") for n in range(30)]
    with _screen(live=True, console=console) as (show, _):
        show("head", sections(status, servers, [event] * 30))
        lines = out.getvalue().splitlines()
    assert len(lines) <= height
    assert any("CA 10.9.9.9:5064" in line for line in lines)
    assert any("10.0.0.0:5064" in line for line in lines)
