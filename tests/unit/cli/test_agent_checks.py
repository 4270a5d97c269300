"""Checks of agents: classes, plugins, arguments, optional packages."""

import argparse
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from socs.cli import agent_checks
from socs.cli.agent_checks import Offer
from socs.cli.site_checks import Instance

MONITOR = "socs.agents.pysmurf_monitor.pysmurf_monitor"


def monitor(*arguments: str) -> Instance:
    return Instance("PysmurfMonitor", "m", arguments)


def test_right_arguments_are_taken_and_returned():
    args, finding = agent_checks.check_arguments(monitor("--udp-port", "9"), MONITOR)
    assert finding.level == "OK"
    assert args.udp_port == 9
    assert args.instance_id == "m"


@pytest.mark.parametrize(
    ("arguments", "words", "remedy"),
    [
        (["--udp-prt", "9"], "does not know --udp-prt 9", "did you mean --udp-port?"),
        (["stray"], "does not know stray", "correct"),
        (["--create-table", "perhaps"], "'perhaps' is neither true", "correct"),
        (["--udp-port", "x"], "invalid int value: 'x'", "correct"),
        (["--udp-port"], "expected one argument", "correct"),
        (["--help"], "would end at once", "--help"),
    ],
)
def test_wrong_arguments_fail_without_ending_the_program(arguments, words, remedy, capsys):
    args, finding = agent_checks.check_arguments(monitor(*arguments), MONITOR)
    assert args is None
    assert finding.level == "FAIL"
    assert finding.subject == "m"
    assert words in finding.text
    assert remedy in finding.remedy
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_options_of_the_site_config_are_known_too():
    _, finding = agent_checks.check_arguments(monitor("--log-dir", "/x"), MONITOR)
    assert finding.level == "OK"


def test_an_agent_that_cannot_be_imported_names_what_is_missing(monkeypatch):
    module = "socs.agents.tango_event_monitor.none"
    _, finding = agent_checks.check_arguments(Instance("TangoEventMonitor", "t"), module)
    assert finding.level == "FAIL"
    assert "cannot be imported" in finding.text
    assert "socs[tango]" in finding.remedy
    _, finding = agent_checks.check_arguments(Instance("Other", "o"), "surely_not_installed.agent")
    assert "surely_not_installed" in finding.remedy


@pytest.mark.parametrize("name", ["make_parser", "add_agent_args", "nothing"])
def test_parsers_of_other_collections(monkeypatch, name):
    def make_parser(parser=None):
        made = parser or argparse.ArgumentParser()
        made.add_argument("--mode")
        return made

    monkeypatch.setitem(sys.modules, "foreign_agent", SimpleNamespace(**{name: make_parser}))
    _, finding = agent_checks.check_arguments(Instance("F", "f", ["--mod3", "x"]), "foreign_agent")
    assert finding.level == ("OK" if name == "nothing" else "FAIL")
    if name == "nothing":
        assert "cannot be checked" in finding.text


def test_a_repeated_option_is_warned_of():
    (finding,) = agent_checks.check_repeated_options(
        monitor("--data-root", "/a", "--data-root", "/b", "--udp-port", "-1")
    )
    assert (finding.level, finding.text) == (
        "WARN",
        "--data-root is given 2 times; only the last counts",
    )


OFFERS = [Offer("A", "ocs", "ocs.a"), Offer("B", "socs", "socs.b")]


def test_unknown_classes_fail_with_the_nearest_name():
    offers = [Offer("PysmurfMonitor", "socs", MONITOR)]
    (finding,) = agent_checks.check_classes([Instance("PysmurfMonitr", "m")], offers)
    assert finding.level == "FAIL"
    assert "not known to any installed plugin" in finding.text
    assert finding.remedy == "did you mean PysmurfMonitor?"
    (finding,) = agent_checks.check_classes([Instance("Zebra", "z")], offers)
    assert finding.remedy.startswith("install the package")


@pytest.mark.parametrize(("used", "level"), [("A", "FAIL"), ("B", "WARN")])
def test_a_class_of_two_plugins_fails_if_used(used, level):
    offers = [*OFFERS, Offer("A", "other", "other.a")]
    (finding,) = agent_checks.check_classes([Instance(used, "x")], offers)
    assert finding.level == level
    assert "ocs, other" in finding.text
    assert "random" in finding.text


def test_the_first_plugin_counts():
    offers = [*OFFERS, Offer("A", "other", "other.a")]
    assert agent_checks.module_of(offers)["A"] == "ocs.a"
    assert agent_checks.plugin_of(offers)["A"] == "ocs"


def test_installed_plugins_are_found():
    offers, found = agent_checks.installed_offers()
    assert found == []
    known = {(offer.agent_class, offer.plugin) for offer in offers}
    assert {("PysmurfMonitor", "socs"), ("HostManager", "ocs")} <= known


class Point:
    """An entry point of a distribution."""

    def __init__(self, name, owner, agents):
        self.name, self.dist, self._agents = name, SimpleNamespace(name=owner), agents

    def load(self):
        if self._agents is None:
            raise ImportError("broken")
        return SimpleNamespace(agents=self._agents)


def test_plugins_that_clash_or_do_not_load(monkeypatch):
    points = [
        Point("x", "one", {"A": {"module": "one.a"}}),
        Point("x", "two", {"B": {"module": "two.b"}}),
        Point("y", "three", None),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    offers, (clash, broken) = agent_checks.installed_offers()
    assert (clash.level, clash.subject) == ("FAIL", "plugin x")
    assert "one, two" in clash.text
    assert (broken.level, broken.subject) == ("WARN", "plugin y")
    assert "broken" in broken.text
    assert [offer.module for offer in offers] == ["one.a", "two.b"]


REQUIREMENTS = [
    "numpy>=1.24",
    "surely-not-installed>=10; extra == 'tango'",
    'pytest>=8; extra == "tango"',
    "missing-too; extra == 'tango-more'",
    "not-installed-either; extra == 'epics'",
]


def test_missing_optional_packages():
    instance = Instance("TangoEventMonitor", "t")
    module = "socs.agents.tango_event_monitor.tango_event_monitor"
    (finding,) = agent_checks.check_packages(instance, module, REQUIREMENTS)
    assert finding.level == "FAIL"
    assert finding.text == "TangoEventMonitor needs surely-not-installed, not installed"
    assert finding.remedy == "pip install 'socs[tango]'"


def test_packages_that_only_one_task_needs():
    instance = Instance("PVMonitor", "p")
    module = "socs.agents.pv_monitor.pv_monitor"
    (finding,) = agent_checks.check_packages(instance, module, REQUIREMENTS)
    assert finding.level == "WARN"
    assert finding.text == "the task cainfo of PVMonitor needs not-installed-either, not installed"
    assert finding.remedy == "pip install 'socs[epics]'"


def test_agents_of_the_base_installation_need_nothing_more():
    assert agent_checks.check_packages(monitor(), MONITOR, REQUIREMENTS) == []


def test_each_extra_is_one_of_the_package():
    extras = set(metadata.metadata("socs").get_all("Provides-Extra"))
    assert set(agent_checks.EXTRAS.values()) <= extras
    assert set(agent_checks.NEEDED_FOR) <= set(agent_checks.EXTRAS)
