"""What OCS, ocs-web and our documentation expect of every agent."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import txaio
import yaml
from ocs.site_config import InstanceConfig

txaio.use_twisted()  # before an agent is imported

from twisted.internet.defer import maybeDeferred  # noqa: E402

from socs import plugin  # noqa: E402
from socs.agent import parse_args  # noqa: E402
from socs.sim.ports import free_port  # noqa: E402
from socs.sim.site_files import AgentInstance, site_config  # noqa: E402

AGENTS = sorted(plugin.agents)
MAX_LINES = 250  # of an agent file without the docstrings that OCS wants: wiring only


@pytest.fixture(params=AGENTS)
def agent_class(request):
    return request.param


@pytest.fixture
def module(agent_class):
    return importlib.import_module(plugin.agents[agent_class]["module"])


@pytest.fixture
def example(module):
    """The example of an entry of ``agent-instances``, as documentation shows it."""
    text = Path(module.__file__).with_name("site-config.yaml").read_text()
    (entry,) = yaml.safe_load(text)
    return entry


class Operations:
    """Stands for an OCS agent, and notes what is registered."""

    def __init__(self):
        self.registered = {}
        self.log = SimpleNamespace(info=self._ignore, warn=self._ignore, error=self._ignore)

    def _ignore(self, *args, **kwargs):
        pass

    def is_attached(self):
        return False

    subscribe_on_start = publish_to_feed = register_feed = _ignore

    def register_task(self, name, func, aborter=None, blocking=True, aborter_blocking=None, **_):
        self.registered[name] = ("Task", func, aborter)

    def register_process(self, name, start, stop, blocking=True, stopper_blocking=None, **_):
        self.registered[name] = ("Process", start, stop)


@pytest.fixture
def operations(agent_class, module, tmp_path, monkeypatch, pump):
    """Everything that ``build`` registers, with no options but those that the agent insists on."""
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path / "data"))
    for name in [name for name in os.environ if name.startswith("MYSQL_")]:
        monkeypatch.delenv(name)
    options = {action.dest for action in module.make_parser()._actions}
    arguments = ["--udp-port", str(free_port())] if "udp_port" in options else []
    if "publish" in options:
        arguments += ["--publish", "none"]
    if "target" in options:
        arguments += ["--target", "monitor", "--data-dir", str(tmp_path / "archive")]
    instance = AgentInstance(agent_class, "example", arguments)
    site_file = tmp_path / "default.yaml"
    site_file.write_text(site_config(tmp_path, 1, "realm", "site.north", [instance]))
    args = parse_args(agent_class, module.make_parser(), ["--site-file", str(site_file)])
    agent = Operations()
    on_shutdown = module.build(agent, args)
    yield agent.registered
    ends = [maybeDeferred(call) for call in on_shutdown or ()]
    pump(lambda: all(end.called for end in ends))


def test_the_class_is_in_its_module_and_main_takes_arguments(agent_class, module):
    assert inspect.isclass(getattr(module, agent_class))
    main = getattr(module, plugin.agents[agent_class].get("entry_point", "main"))
    assert inspect.signature(main).parameters["args"].default is None


def test_the_agent_file_is_wiring_only(module):
    text = Path(module.__file__).read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = [
        node.body[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, documented) and ast.get_docstring(node)
    ]
    words = sum(node.end_lineno - node.lineno + 1 for node in docstrings)
    assert len(text.splitlines()) - words <= MAX_LINES


def test_every_option_is_explained(module):
    actions = module.make_parser()._actions
    assert len(actions) > 1
    for action in actions:
        assert action.help, action.option_strings
        assert action.type is not bool, f"{action.option_strings}: any text would be true"
        assert not action.required, f"{action.option_strings}: a site config must be enough"


def test_make_parser_adds_to_a_parser(module):
    parser = module.make_parser()
    extended = module.make_parser(type(parser)(description="theirs"))
    assert extended.description == "theirs"
    assert extended.format_help().count("\n") >= parser.format_help().count("\n")


def test_operations_have_the_docstring_that_clients_show(agent_class, operations):
    assert operations
    for name, (kind, func, _) in operations.items():
        lines = inspect.getdoc(func).splitlines()
        assert re.fullmatch(rf"{name}\(.*\)", lines[0]), f"{agent_class}.{name}: {lines[0]}"
        assert lines[1] == ""
        assert lines[2].startswith(f"**{kind}** - "), f"{agent_class}.{name}: {lines[2]}"


def test_the_signature_in_the_docstring_is_what_clients_can_pass(agent_class, operations):
    for name, (_, func, _) in operations.items():
        signature = inspect.getdoc(func).splitlines()[0]
        shown = re.findall(r"[(,]\s*(\w+)", signature)
        screened = [key for key, _ in getattr(func, "_ocs_prescreen", [])]
        assert screened, f"{agent_class}.{name} takes any parameter: use ocs_agent.param"
        taken = [key for key in screened if key != "_"]
        assert sorted(shown) == sorted(taken), f"{agent_class}.{name}"


def test_processes_can_be_stopped(operations):
    for name, (kind, _, stop) in operations.items():
        assert kind == "Task" or stop is not None, name


def test_example_names_the_class_and_its_options_exist(agent_class, module, example, tmp_path):
    assert example["agent-class"] == agent_class
    instance = AgentInstance(agent_class, example["instance-id"], example["arguments"])
    site_file = tmp_path / "default.yaml"
    site_file.write_text(site_config(tmp_path, 1, "realm", "root", [instance]))
    args = parse_args(agent_class, module.make_parser(), ["--site-file", str(site_file)])
    assert args.instance_id == example["instance-id"]
    given = {str(option[0]) for option in example["arguments"]}
    known = {option for action in module.make_parser()._actions for option in action.option_strings}
    assert given <= known
    assert example["manage"] in InstanceConfig._MANAGE_MAP


def test_the_file_runs_as_a_script(module):
    result = subprocess.run(
        [sys.executable, module.__file__, "--help"], capture_output=True, text=True, check=True
    )
    assert "--instance-id" in result.stdout


def test_importing_an_agent_starts_nothing(module):
    code = f"""
import threading
import {module.__name__}
assert threading.active_count() == 1, threading.enumerate()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
