"""A plugin of pytest, with which processes divide files of tests among them as they go.

Each is started with ``-p tests.side_by_side --divide DIRECTORY``, the same for all, and empty. A
file of tests is run by the process that comes to it first; tests that fail are noted there, see
:func:`failed_tests`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

FAILED = "failed"  # no test file's name in the directory is like this: they end with ".py"
SEPARATOR = "\0"  # names of tests can have anything else in them


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--divide", type=Path, metavar="DIRECTORY", help="where files are taken")


def _take(directory: Path, file: Path) -> bool:
    """Whether nobody has taken ``file`` yet; from now on, somebody has."""
    try:
        (directory / quote(str(file), safe="")).touch(exist_ok=False)
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


class _Notes:
    """Notes which tests failed; several processes may write at one time."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / FAILED

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            with self._file.open("a") as notes:
                notes.write(report.nodeid + SEPARATOR)


def pytest_configure(config: pytest.Config) -> None:
    directory = config.getoption("--divide")
    if directory is not None:
        config.pluginmanager.register(_Notes(directory))


def failed_tests(directory: Path) -> list[str]:
    """Names of the tests that failed, each once, in the order in which they did."""
    try:
        notes = (directory / FAILED).read_text()
    except FileNotFoundError:
        return []
    return list(dict.fromkeys(notes.split(SEPARATOR)[:-1]))
