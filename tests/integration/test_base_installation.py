"""What works without any extra, and that all else names the one that it needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from socs import plugin

TOOLS = {"test", "docs", "lint"}  # extras of who develops this
# Run in a process of its own: packages that others have imported cannot be taken away.
PROGRAM = """
import contextlib, importlib, io, json, sys

class Without:
    def __init__(self, finder): self.finder = finder
    def __getattr__(self, name): return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in absent:
            return self.finder.find_spec(name, path, target)

absent, modules, lines = json.load(sys.stdin)
sys.meta_path[:] = map(Without, sys.meta_path)
found = {}
for name in modules:
    try:
        found[name] = hasattr(importlib.import_module(name), "main")
    except ImportError as error:
        found[name] = str(error)
from socs.cli.main import main
for line in lines:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = main(line.split())
        except SystemExit as end:
            status = end.code
    found[line] = [status, said.getvalue()]
json.dump(found, sys.stdout)
"""
WORKING = [  # commands, as far as they go without anything to work on
    "--help",
    "doctor --help",
    "files create",
    "files list",
    "demo --help",
    *(f"{name} --help" for name in ("epics", "slow-signal", "tango", "tango report")),
]
NEEDING = {
    "slow-signal dump none.hdf5": "slow-signal",
    "slow-signal plot none.hdf5 -o none.png": "plot",
    "tango query dserver/a/1": "tango",
    "tango multicast show": "tango",
    "epics cainfo A": "epics",
}


def optional_packages() -> list[str]:
    """What can be imported only with an extra."""
    always, optional = set(), set()
    for requirement in metadata.requires("socs") or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()
        extra = re.search(r"""extra\s*==\s*['"](.+?)['"]""", requirement)
        if extra is None:
            always.add(name)
        elif extra[1] not in TOOLS:
            optional.add(name)
    wanted = optional - always
    packages = metadata.packages_distributions().items()
    return [name for name, by in packages if wanted & {each.lower() for each in by}]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each agent's module, and of each command."""
    modules = [each["module"] for each in plugin.agents.values()]
    asked = json.dumps([optional_packages(), modules, [*WORKING, *NEEDING]])
    directory: Path = tmp_path_factory.mktemp("base")
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=asked,
        env={"SOCS_DATA_DIR": str(directory), "TANGO_HOST": "127.0.0.1:1"},
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(run.stdout)


@pytest.mark.parametrize("agent", plugin.agents)
def test_agents_can_be_imported_or_name_their_extra(found: dict[str, Any], agent: str) -> None:
    result = found[plugin.agents[agent]["module"]]
    if agent == "SlowSignalBuilder":
        assert result.endswith("pip install 'socs[slow-signal]'")
    else:
        assert result is True


@pytest.mark.parametrize("line", WORKING)
def test_commands_that_need_nothing_more(found: dict[str, Any], line: str) -> None:
    assert found[line][0] == 0, found[line][1]


@pytest.mark.parametrize(("line", "extra"), NEEDING.items())
def test_commands_that_need_an_extra_name_it(found: dict[str, Any], line: str, extra: str) -> None:
    status, said = found[line]
    assert status
    assert f"pip install 'socs[{extra}]'" in said
    assert "Traceback" not in said
