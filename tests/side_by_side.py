"""A plugin of pytest, with which processes divide files of tests among them as they go.

Each is started with ``-p tests.side_by_side --divide DIRECTORY``, the same for all, and empty. A
file of tests is run by the process that comes to it first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--divide", type=Path, metavar="DIRECTORY", help="where files are taken")


def _take(directory: Path, file: Path) -> bool:
    """Whether nobody has taken ``file`` yet; from now on, somebody has."""
    try:
        (directory / "-".join(file.relative_to(TREE).parts)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _ours(session: pytest.Session, directory: Path) -> Iterator[pytest.Item]:
    """The tests to run; a file is taken when its first test is asked for."""
    taken: dict[Path, bool] = {}
    for item in session.items:
        if item.path not in taken:
            taken[item.path] = _take(directory, item.path)
        if taken[item.path]:
            yield item


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    directory = session.config.getoption("--divide")
    if directory is None or session.testsfailed:  # while it collected them
        return None
    items = _ours(session, directory)
    item = next(items, None)
    while item is not None:
        following = next(items, None)  # which fixtures live on depends on it
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True
