"""Checks of the agents of a site: known to a plugin, importable, their arguments accepted."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, NoReturn

from ocs import site_config

from socs.cli.findings import Finding, fail, ok, warn
from socs.cli.site_checks import Instance

GROUP = "ocs.plugins"
# Agents (by their folder) that need more than the base installation: the extra that brings it.
EXTRAS = {
    "slow_signal_builder": "slow-signal",
    "tango_event_monitor": "tango",
    "pv_monitor": "epics",
}
NEEDED_FOR = {"pv_monitor": "cainfo"}  # tasks, by agents that do all else without their extra


@dataclass(frozen=True)
class Offer:
    """An agent class as a plugin offers it."""

    agent_class: str
    plugin: str
    module: str


def installed_offers() -> tuple[list[Offer], list[Finding]]:
    """The agent classes of all installed plugins, and what is wrong with the plugins."""
    points = list(metadata.entry_points(group=GROUP))
    offers, found = [], []
    for name, count in Counter(point.name for point in points).items():
        if count > 1:
            owners = ", ".join(sorted({p.dist.name for p in points if p.name == name and p.dist}))
            text = f"{count} packages ({owners}) have a plugin of this name; no agent will start"
            found.append(fail(f"plugin {name}", text, "uninstall all but one of them"))
    for point in points:
        try:
            with _quiet():
                agents = dict(point.load().agents)
        except Exception as error:  # noqa: BLE001  foreign code; what it raises is the finding
            text = f"cannot be loaded: {_one_line(error)}"
            found.append(warn(f"plugin {point.name}", text, "install it anew, or uninstall it"))
            continue
        offers += [Offer(name, point.name, info["module"]) for name, info in agents.items()]
    return offers, found


def check_classes(instances: Sequence[Instance], offers: Sequence[Offer]) -> list[Finding]:
    """Classes of the site that no plugin knows, and classes that several plugins offer."""
    found = []
    known = {offer.agent_class for offer in offers}
    for instance in instances:
        if instance.agent_class not in known:
            near = difflib.get_close_matches(instance.agent_class, known, n=1)
            remedy = (
                f"did you mean {near[0]}?" if near else "install the package whose plugin offers it"
            )
            text = f"agent class {instance.agent_class} is not known to any installed plugin"
            found.append(fail(instance.instance_id, text, remedy))
    used = {instance.agent_class for instance in instances}
    for name in sorted(known):
        plugins = [offer.plugin for offer in offers if offer.agent_class == name]
        if len(plugins) > 1:
            text = f"offered by the plugins {', '.join(plugins)}; which one starts is random"
            level = fail if name in used else warn
            found.append(level(f"agent class {name}", text, "uninstall all but one of them"))
    return found


def check_arguments(instance: Instance, module: str) -> tuple[argparse.Namespace | None, Finding]:
    """Whether the agent takes its arguments; also what it makes of them."""
    try:
        with _quiet():
            loaded = importlib.import_module(module)
    except ImportError as error:
        text = f"{module} cannot be imported: {_one_line(error)}"
        return None, fail(instance.instance_id, text, _install_line(module, error))
    except Exception as error:  # noqa: BLE001  foreign code; what it raises is the finding
        text = f"{module} cannot be imported: {_one_line(error)}"
        return None, fail(instance.instance_id, text, "mend or reinstall the package of this agent")
    # the second name is that of agents made after older examples of OCS
    names = ("make_parser", "add_agent_args")
    make_parser = next((getattr(loaded, name) for name in names if hasattr(loaded, name)), None)
    if make_parser is None:
        return None, ok(instance.instance_id, f"{instance.agent_class}; options cannot be checked")
    return parse(instance, make_parser)


def parse(
    instance: Instance, make_parser: Callable[[], argparse.ArgumentParser]
) -> tuple[argparse.Namespace | None, Finding]:
    """Parse the arguments of ``instance`` as OCS would, without ending the program."""
    parser = make_parser()
    site_config.add_arguments(parser)
    setattr(parser, "error", _refuse)  # noqa: B010  it would end the program
    words = site_config.ArgContainer(list(instance.arguments)).to_list()
    try:
        with _quiet():
            args, unknown = parser.parse_known_args([*words, "--instance-id", instance.instance_id])
    except SystemExit:
        text = f"{instance.agent_class} would end at once with these arguments"
        return None, fail(instance.instance_id, text, "take --help and the like out of them")
    except _RefusedError as error:
        remedy = "correct its `arguments` in the site config"
        return None, fail(instance.instance_id, f"{instance.agent_class}: {error}", remedy)
    if unknown:
        options = [option for action in parser._actions for option in action.option_strings]
        near = difflib.get_close_matches(unknown[0], options, n=1)
        remedy = f"did you mean {near[0]}?" if near else "correct its `arguments`"
        text = f"{instance.agent_class} does not know {' '.join(unknown)}"
        return None, fail(instance.instance_id, text, remedy)
    return args, ok(instance.instance_id, f"{instance.agent_class} takes its arguments")


def check_repeated_options(instance: Instance) -> list[Finding]:
    """Options given more than once, of which OCS silently keeps only the last."""
    options = Counter(word for word in instance.arguments if re.match(r"--?[A-Za-z]", word))
    remedy = "give it once, with all its values behind it"
    return [
        warn(instance.instance_id, f"{option} is given {count} times; only the last counts", remedy)
        for option, count in options.items()
        if count > 1
    ]


def check_packages(
    instance: Instance, module: str, requirements: Iterable[str] | None = None
) -> list[Finding]:
    """Optional packages that an agent of ours needs and that are not installed.

    Args:
        requirements: of our package, as its metadata has them; looked up if omitted.
    """
    agent = next((part for part in module.split(".") if part in EXTRAS), None)
    if agent is None:
        return []
    extra, task = EXTRAS[agent], NEEDED_FOR.get(agent)
    if requirements is None:
        requirements = metadata.requires("socs") or ()
    missing = [name for name in _packages_of(extra, requirements) if not _installed(name)]
    if not missing:
        return []
    who = f"the task {task} of {instance.agent_class}" if task else instance.agent_class
    text = f"{who} needs {', '.join(missing)}, not installed"
    return [(warn if task else fail)(instance.instance_id, text, f"pip install 'socs[{extra}]'")]


def _packages_of(extra: str, requirements: Iterable[str]) -> list[str]:
    marker = re.compile(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""")
    return [
        re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        for requirement in requirements
        if marker.search(requirement)
    ]


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def module_of(offers: Sequence[Offer]) -> Mapping[str, str]:
    """Module by agent class; the first plugin that offers a class counts."""
    return {offer.agent_class: offer.module for offer in reversed(offers)}


def plugin_of(offers: Sequence[Offer]) -> Mapping[str, str]:
    """Plugin by agent class; the first that offers a class counts."""
    return {offer.agent_class: offer.plugin for offer in reversed(offers)}


class _RefusedError(Exception):
    """What a parser says instead of ending the program."""


def _refuse(message: str) -> NoReturn:
    raise _RefusedError(message)


def _install_line(module: str, error: ImportError) -> str:
    extra = next((EXTRAS[part] for part in module.split(".") if part in EXTRAS), None)
    if extra is not None:
        return f"pip install 'socs[{extra}]'"
    return (
        f"install the package that brings {error.name}" if error.name else "reinstall its package"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _quiet() -> Any:
    """Keep what agents print when they are imported or parsed out of our output."""
    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
    return stack
