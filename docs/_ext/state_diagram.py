"""A state machine given as a table, drawn as SVG: the first state left, those it leads to right."""

from __future__ import annotations

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
