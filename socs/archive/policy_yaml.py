"""How a site writes down which files may be deleted. Pure.

::

    delete_after: 7d                # age of the verified copy
    rules:                          # the first that matches a file decides
      - keep: always
        action: ["setup", "*tune*", "*_iv", "uxm_*"]
      - keep: {newest: 3}
        action: "take_bgmap"
      - delete_after: 1d
        plot: true

Whatever is wrong with it is told with the line that it is on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
import yaml

from socs.archive.policy import NEVER, UNITS, Policy, Rule
from socs.errors import ConfigError

DEFAULT = """\
delete_after: 30d
rules:
  - keep: always                # tunes, IVs and channel assignments, by what made them
    action: [setup, "*_setup", uxm_relock, tune, "tune_*", "*_tune", "*_tune_*",
             iv, "iv_*", "*_iv", "*_iv_*"]
  - keep: always                # the same by file name: <ctime>_tune.npy, <ctime>_iv.npy, ...
    name: ["*_tune.*", "*_tune_*", "*_iv.*", "*_iv_*", "*_channel_assignment*"]
  - keep: {newest: 1, by: action}
    action: take_bgmap
  - keep: {newest: 1, by: action}
    action: take_bias_steps
"""

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([smhdw])")
_CRITERIA = ("action", "name", "pub_id", "instance_id", "format")
_TEXT = "tag:yaml.org,2002:str"

_Patterns = str | Annotated[list[str], msgspec.Meta(min_length=1)]


class _Newest(msgspec.Struct, forbid_unknown_fields=True):
    newest: Annotated[int, msgspec.Meta(ge=1)]
    by: Literal["file", "action"] = "file"


class _RuleText(msgspec.Struct, forbid_unknown_fields=True):
    keep: str | _Newest | None = None
    delete_after: str | None = None
    action: _Patterns | None = None
    name: _Patterns | None = None
    pub_id: _Patterns | None = None
    instance_id: _Patterns | None = None
    format: _Patterns | None = None
    plot: bool | None = None


class _PolicyText(msgspec.Struct, forbid_unknown_fields=True):
    delete_after: str
    rules: list[_RuleText] = []


def default_policy() -> Policy:
    """What holds where a site gives no policy: :data:`DEFAULT`."""
    return read_policy(DEFAULT, "the default policy")


def read_policy(text: str, where: str) -> Policy:
    """The policy in ``text``, YAML from ``where``.

    Raises:
        ConfigError: there is none; the message names the line and the key.
    """
    tree, data = _parsed(text, where)
    lines = _lines(tree)
    try:
        read = msgspec.convert(data, _PolicyText)
    except msgspec.ValidationError as error:
        raise _misread(str(error), lines, where) from error
    after = _seconds(read.delete_after, f"{where}, line {lines['delete_after']}: delete_after")
    rules: list[Rule] = []
    for number, rule in enumerate(read.rules):
        place = f"{where}, line {lines[f'rules[{number}]']}: rule {number + 1}"
        if rules and not rules[-1].patterns and rules[-1].plot is None:
            raise ConfigError(f"{place} never decides, as rule {number} matches all files")
        rules.append(_rule(rule, after, place))
    return Policy(after, tuple(rules))


def _rule(rule: _RuleText, default: float, place: str) -> Rule:
    after = default
    if rule.delete_after is not None:
        after = _seconds(rule.delete_after, f"{place}: delete_after")
    newest = rule.keep if isinstance(rule.keep, _Newest) else None
    always = rule.keep == "always"
    if rule.keep is None and rule.delete_after is None:
        raise ConfigError(f"{place} has neither keep nor delete_after")
    if always and rule.delete_after is not None:
        raise ConfigError(f"{place} has both keep: always and delete_after")
    if rule.keep is not None and not always and newest is None:
        raise ConfigError(f"{place}: keep is {rule.keep!r}: give always, or {{newest: N}}")
    patterns = []
    for criterion in _CRITERIA:
        given = getattr(rule, criterion)
        if given is not None:
            patterns.append((criterion, (given,) if isinstance(given, str) else tuple(given)))
    return Rule(
        patterns=tuple(patterns),
        plot=rule.plot,
        keep=always,
        newest=newest.newest if newest else None,
        by_action=newest is not None and newest.by == "action",
        after=after,
    )


def _seconds(text: str, place: str) -> float:
    if text == "never":
        return NEVER
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{place} is {text!r}: give a number with s, m, h, d or w, or never")
    return float(found[1]) * UNITS[found[2]]


# -- places in the text ---------------------------------------------------------------------------


def _parsed(text: str, where: str) -> tuple[yaml.Node, Any]:
    """The nodes of a YAML text, which know their lines, and what they mean."""
    try:
        loader = yaml.SafeLoader(text)
        tree = loader.get_single_node()
        if tree is None:
            raise ConfigError(f"{where} is empty; it needs delete_after")
        _check_keys(tree, where)
        return tree, loader.construct_document(tree)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: an impossible date
        raise ConfigError(f"{where} is no YAML: {' '.join(str(error).split())}") from error


def _children(node: yaml.Node) -> Sequence[tuple[str, yaml.Node, int]]:
    """``(step, child, line)`` of what is in ``node``; steps are as in msgspec's paths."""
    if isinstance(node, yaml.MappingNode):
        return [(f".{key.value}", child, key.start_mark.line + 1) for key, child in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(f"[{n}]", child, child.start_mark.line + 1) for n, child in enumerate(node.value)]
    return []


def _check_keys(node: yaml.Node, where: str) -> None:
    seen = set()
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            place = f"{where}, line {key.start_mark.line + 1}"
            if key.tag != _TEXT:
                raise ConfigError(f"{place}: {key.value!r} is no key")
            if key.value in seen:
                raise ConfigError(f"{place}: {key.value} is given twice")
            seen.add(key.value)
    for _, child, _ in _children(node):
        _check_keys(child, where)


def _lines(node: yaml.Node, path: str = "") -> dict[str, int]:
    """``{path: line}`` of all below ``node``, e.g. ``rules[0].keep``."""
    found = {}
    for step, child, line in _children(node):
        below = f"{path}{step}".lstrip(".")
        found[below] = line
        found.update(_lines(child, below))
    return found


def _keys(path: str) -> tuple[str, ...]:
    """The keys of the mapping at ``path``."""
    if path.endswith(".keep"):
        return _Newest.__struct_fields__
    return _RuleText.__struct_fields__ if path else _PolicyText.__struct_fields__


def _misread(text: str, lines: dict[str, int], where: str) -> ConfigError:
    """msgspec's message with the line, in the words of YAML, and with rules counted from 1."""
    problem, _, place = text.partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    problem = problem.replace("Object missing required field", "there is no key")
    problem = problem.replace("`object", "`mapping").replace("array", "list")
    line = lines.get(path, 1)
    unknown = re.search(r"unknown field `(.*)`", problem)
    if unknown:
        problem = f"unknown key `{unknown[1]}`; there are {', '.join(_keys(path))}"
        line = lines.get(f"{path}.{unknown[1]}".lstrip("."), line)
    path = re.sub(r"^rules\[(\d+)\]\.?", lambda n: f"rule {int(n[1]) + 1}: ", path)
    path = f"{path.removesuffix(': ')}: " if path else ""
    return ConfigError(f"{where}, line {line}: {path}{problem}")
