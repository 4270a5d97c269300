"""Ways to spoil a file that was announced, and odd names that spoil nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from socs.db import copies


class Spot(NamedTuple):
    """A file to spoil, and where it may lead that it must not."""

    path: Path
    outside: Path


def _gone(spot: Spot) -> str:
    spot.path.unlink()
    return str(spot.path)


def _directory_gone(spot: Spot) -> str:
    spot.path.unlink()
    return f"{spot.path}-directory/{spot.path.name}"


def _below_a_file(spot: Spot) -> str:
    return f"{spot.path}/{spot.path.name}"


def _other_contents(spot: Spot) -> str:
    spot.path.write_bytes(bytes(byte ^ 1 for byte in spot.path.read_bytes()))
    return str(spot.path)


def _longer(spot: Spot) -> str:
    with spot.path.open("ab") as file:
        file.write(b"more")
    return str(spot.path)


def _emptied(spot: Spot) -> str:
    spot.path.write_bytes(b"")
    return str(spot.path)


def _directory(spot: Spot) -> str:
    spot.path.unlink()
    spot.path.mkdir()
    return str(spot.path)


def _pipe(spot: Spot) -> str:
    spot.path.unlink()
    os.mkfifo(spot.path)
    return str(spot.path)


def _link_in_a_circle(spot: Spot) -> str:
    spot.path.unlink()
    spot.path.symlink_to(spot.path)
    return str(spot.path)


def _link_to_nothing(spot: Spot) -> str:
    spot.path.unlink()
    spot.path.symlink_to(f"{spot.path}-nothing")
    return str(spot.path)


def _outside(spot: Spot) -> str:
    return str(spot.path.rename(spot.outside / spot.path.name))


def _outside_by_dots(spot: Spot) -> str:
    _outside(spot)
    return str(spot.path.parent / ".." / ".." / spot.outside.name / spot.path.name)


def _outside_by_link(spot: Spot) -> str:
    spot.path.symlink_to(_outside(spot))
    return str(spot.path)


def _outside_by_directory(spot: Spot) -> str:
    _outside(spot)
    link = Path(f"{spot.path}-out")
    link.symlink_to(spot.outside)
    return str(link / spot.path.name)


def _relative(spot: Spot) -> str:
    return os.path.relpath(spot.path)


WAYS: dict[str, tuple[Callable[[Spot], str], str, str]] = {
    "gone": (_gone, copies.MISSING, "attempts_missing"),
    "directory gone": (_directory_gone, copies.MISSING, "attempts_missing"),
    "below a file": (_below_a_file, copies.MISSING, "attempts_missing"),
    "link to nothing": (_link_to_nothing, copies.MISSING, "attempts_missing"),
    "other contents": (_other_contents, copies.CHANGED, "attempts_changed"),
    "longer": (_longer, copies.CHANGED, "attempts_changed"),
    "emptied": (_emptied, copies.CHANGED, "attempts_changed"),
    "directory": (_directory, copies.FAILED, "attempts_not_regular"),
    "pipe": (_pipe, copies.FAILED, "attempts_not_regular"),
    "link in a circle": (_link_in_a_circle, copies.FAILED, "attempts_unreadable"),
    "outside": (_outside, copies.FAILED, "attempts_outside_roots"),
    "outside by dots": (_outside_by_dots, copies.FAILED, "attempts_outside_roots"),
    "outside by link": (_outside_by_link, copies.FAILED, "attempts_outside_roots"),
    "outside by directory": (_outside_by_directory, copies.FAILED, "attempts_outside_roots"),
    "relative": (_relative, copies.FAILED, "attempts_outside_roots"),
}

# Good, however they look.
NAMES = (
    *(
        "with space",
        "'quote\"s`",
        "new\nline",
        "tab\t\x1b[2J\x07",
        "ünïcode-測試-🔭",
        "-rf",
        "--help",
    ),
    *("n" * 255, "ü" * 127 + "n", ".hidden", "100%s%n{0}", "back\\slash", "$(reboot);`x`", "*?[a]"),
    *("~", "...", "a.1", " ", "name.yaml\n.yaml"),
)
PUBLISHERS = ("../../etc", "..", ".", "", "a/b", "/etc", "suprsync", "p" * 255, "new\nline", None)
ACTIONS = (None, "..", "", "a/b", "../../../etc", "ä" * 255, "with space")
