"""Pictures as files: their formats, and the colours that they share. Needs no matplotlib itself."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from socs.errors import StorageUnavailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf", ".svg")
# Okabe and Ito's colours, told apart by everybody; the yellow, which is pale, for the last.
LINE_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442"),
)
GRID = "#e5e5e5"


def picture(text: str) -> Path:
    """The type of options that name a picture.

    Raises:
        argparse.ArgumentTypeError: its ending says none of `FORMATS`.
    """
    path = Path(text)
    if path.suffix.lower() not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} does not end with one of {', '.join(FORMATS)}")
    return path


def write(figure: Figure, path: Path) -> None:
    """Write ``figure``.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    try:
        figure.savefig(path)
    except OSError as error:
        raise StorageUnavailable(f"cannot write {path}: {error.strerror or error}") from error
