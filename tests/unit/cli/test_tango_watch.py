"""The picture of ``socs tango watch``: what matters is in it, however small the terminal is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from socs.cli.tango_watch import _Screen
from socs.sections import Section


def section(title: str, rows: int, **more: int) -> Section:
    return Section(title, ("stream",), [{"stream": f"{title}-{n}"} for n in range(rows)], **more)


def picture(height: int, *polls: list[Section]) -> list[str]:
    """The last lines that a terminal of this height gets."""
    out = io.StringIO()
    console = Console(file=out, width=80, height=height, force_terminal=True, color_system=None)
    with _Screen(console) as show:
        for sections in polls:
            out.truncate(out.seek(0))
            show("head", sections)
        return [line.strip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("height", [24, 50])
def test_losses_are_in_the_picture_whatever_else_there_is(height: int) -> None:
    told = Section("events", ("severity", "text"), [{"severity": "error", "text": "lost 12"}])
    many = [section("published", 200, left_out=50), section("received", 200), told]
    lines = picture(height, many)
    assert len(lines) <= height
    assert any("lost 12" in line for line in lines)
    assert "received-0" in lines
    (more,) = [line for line in lines if line.endswith("more)")][:1]
    shown = sum(line.startswith("received-") for line in lines)
    assert more == f"({200 - shown} more)"


def test_the_newest_events_stay_on_top() -> None:
    def told(*texts: str) -> list[Section]:
        rows = [{"severity": "info", "text": text} for text in texts]
        return [Section("events", ("severity", "text"), rows)]

    lines = picture(24, told("one", "two"), told("three"), [])
    shown = [line.split()[-1] for line in lines if line.startswith("info")]
    assert shown == ["three", "two", "one"]
