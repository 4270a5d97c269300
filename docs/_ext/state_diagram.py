"""State machines given as tables, drawn as SVG: as a star, or with all states on a ring."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

BOX_WIDTH, BOX_HEIGHT = 120, 44
GAP_X, GAP_Y = 140, 16
MARGIN = 12
HEAD = (
    '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 10 5 0 10z" fill="currentColor"/></marker>'
)

States = Mapping[str, tuple[str, tuple[str, ...]]]


def draw(states: States) -> str:
    """SVG in the colour of the text around it.

    Args:
        states: ``{state: (who moves it on, into which states)}``. The first leads to all others,
            and those lead nowhere but back.

    Raises:
        ValueError: an arrow goes from one of the others to another of them.
    """
    first, *others = states
    width = 2 * MARGIN + 2 * BOX_WIDTH + GAP_X
    inside = len(others) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    left, right = MARGIN + BOX_WIDTH, MARGIN + BOX_WIDTH + GAP_X
    who, into = states[first]
    parts = [_box(first, MARGIN, MARGIN, inside)]
    for n, state in enumerate(others):
        y = MARGIN + n * (BOX_HEIGHT + GAP_Y)
        parts.append(_box(state, right, y, BOX_HEIGHT))
        if state in into:
            parts.append(_arrow(left, right, y + 0.4 * BOX_HEIGHT, who, -5))
        back, targets = states[state]
        if set(targets) - {first}:
            raise ValueError(f"{state} leads to {', '.join(targets)}: draw this another way")
        if targets:
            parts.append(_arrow(right, left, y + 0.6 * BOX_HEIGHT, back, 15))
    words = "; ".join(
        f"{state} to {', '.join(targets)} by the {who}"
        for state, (who, targets) in states.items()
        if targets
    )
    return (
        f'<svg viewBox="0 0 {width} {inside + 2 * MARGIN}" width="{width}" role="img" '
        f'style="max-width:100%;margin-bottom:1.5em" aria-label="{escape(words)}" '
        f'font-family="sans-serif" font-size="13"><defs>{HEAD}</defs>{"".join(parts)}</svg>'
    )


def _box(state: str, x: float, y: float, height: float) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{height}" rx="6" fill="none" '
        f'stroke="currentColor"/><text x="{x + BOX_WIDTH / 2}" y="{y + height / 2 + 5}" '
        f'text-anchor="middle" fill="currentColor">{escape(state)}</text>'
    )


def _arrow(start: float, end: float, y: float, who: str, label: float) -> str:
    return (
        f'<path d="M{start} {y}H{end}" stroke="currentColor" marker-end="url(#head)"/>'
        f'<text x="{(start + end) / 2}" y="{y + label}" text-anchor="middle" '
        f'fill="currentColor">{escape(who)}</text>'
    )


# -- any machine: states on a ring ----------------------------------------------------------------

RING_X, RING_Y = 250, 150
SIDE = 9  # each way runs so far from the line between the boxes, to its right
Transitions = Mapping[tuple[str, str], tuple[str, str]]


def draw_ring(transitions: Transitions) -> str:
    """SVG in the colour of the text around it.

    Args:
        transitions: ``{(state, what was noticed): (new state, event)}``. Ways from a state to
            itself are left out.
    """
    ways: dict[tuple[str, str], list[str]] = {}
    for (state, noticed), (into, _) in transitions.items():
        if into != state:
            ways.setdefault((state, into), []).append(noticed)
    states = list(dict.fromkeys(state for state, _ in transitions))
    width, height = 2 * (RING_X + BOX_WIDTH // 2 + MARGIN), 2 * (RING_Y + BOX_HEIGHT // 2 + MARGIN)
    places = {}
    for n, state in enumerate(states):
        angle = 2 * math.pi * n / len(states) - math.pi
        places[state] = (
            width / 2 + RING_X * math.cos(angle),
            height / 2 + RING_Y * math.sin(angle),
        )
    parts = [
        _box(state, x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2, BOX_HEIGHT)
        for state, (x, y) in places.items()
    ]
    for (state, into), noticed in ways.items():
        parts.append(_way(places[state], places[into], ", ".join(noticed)))
    words = "; ".join(
        f"{state} to {into} when {' or '.join(noticed)}" for (state, into), noticed in ways.items()
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'style="max-width:100%;margin-bottom:1.5em" aria-label="{escape(words)}" '
        f'font-family="sans-serif" font-size="13"><defs>{HEAD}</defs>{"".join(parts)}</svg>'
    )


def _way(start: tuple[float, float], end: tuple[float, float], label: str) -> str:
    """An arrow from box to box; its label is beside it, nearer to where it begins."""
    (x1, y1), (x2, y2) = start, end
    length = math.hypot(x2 - x1, y2 - y1)
    along = (x2 - x1) / length, (y2 - y1) / length
    aside = (-along[1] * SIDE, along[0] * SIDE)
    away = _edge(along)
    x1, y1 = x1 + aside[0] + along[0] * away, y1 + aside[1] + along[1] * away
    x2, y2 = x2 + aside[0] - along[0] * away, y2 + aside[1] - along[1] * away
    x, y = x1 + 0.4 * (x2 - x1), y1 + 0.4 * (y2 - y1)
    x, y = x + 1.1 * aside[0], y + 1.8 * aside[1] + 4
    anchor = "middle" if abs(aside[0]) < SIDE / 2 else "start" if aside[0] > 0 else "end"
    return (
        f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="currentColor" '
        f'marker-end="url(#head)"/><text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" '
        f'fill="currentColor">{escape(label)}</text>'
    )


def _edge(along: tuple[float, float]) -> float:
    """From the middle of a box to its edge in this direction."""
    return min(
        (BOX_WIDTH / 2 + SIDE) / max(abs(along[0]), 1e-9),
        (BOX_HEIGHT / 2 + SIDE) / max(abs(along[1]), 1e-9),
    )
