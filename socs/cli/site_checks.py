"""Checks of a site config file: found, readable, of the right shape, nothing named twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from socs.cli.findings import Finding, fail, ok, warn

SUBJECT = "site config"
# What OCS takes for `manage`; an instance without it is managed as host/up.
MANAGE = {
    *("ignore", "host/up", "host/down", "docker/up", "docker/down"),
    *("yes", "no", "up", "down", "host", "docker"),
}
INSTANCE_KEYS = {"agent-class", "instance-id", "arguments", "manage"}
ADDRESS_PART = re.compile(r"[^\s.#]+")  # one component of a WAMP address
STOCK_CROSSBAR_TIMEOUT = 10  # s; what OCS assumes
OUR_PLUGIN = "socs"


@dataclass(frozen=True)
class Instance:
    """One agent of a site. ``arguments`` are flat and text, as OCS makes them."""

    agent_class: str
    instance_id: str
    arguments: Sequence[str] = ()
    manage: str = "host/up"

    @property
    def in_container(self) -> bool:
        """Whether it runs with the files and ports of a container, not of this host."""
        return self.manage.startswith("docker")


@dataclass(frozen=True)
class SiteView:
    """What of a site config concerns one host.

    Attributes:
        hub: the ``hub`` block, with what the host's block overrides.
        host: name of the host's block; empty if there is none for this host.
        host_block: that block.
        instances: the agents of that block.
        instance_ids: those of all agents of the site.
    """

    hub: Mapping[str, Any]
    host: str = ""
    host_block: Mapping[str, Any] = field(default_factory=dict)
    instances: Sequence[Instance] = ()
    instance_ids: Sequence[str] = ()


def find_site_file(site_file: str | None, environ: Mapping[str, str]) -> Path | Finding:
    """The site config file that is named, or that OCS would find by itself."""
    if site_file is not None:
        return Path(site_file)
    directory = environ.get("OCS_CONFIG_DIR")
    if not directory:
        remedy = "set OCS_CONFIG_DIR to the directory of default.yaml, or give --site-file"
        return fail(SUBJECT, "OCS_CONFIG_DIR is not set", remedy)
    return Path(directory) / "default.yaml"


def read_site(path: Path) -> tuple[Any, Finding]:
    """The contents of a site config file (None if it cannot be read), and how that went."""
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        remedy = "give the right --site-file or OCS_CONFIG_DIR; see `socs demo` for an example"
        return None, fail(SUBJECT, f"{path}: {error.strerror}", remedy)
    except UnicodeDecodeError:
        return None, fail(SUBJECT, f"{path} is not UTF-8 text", "name a YAML file")
    except yaml.YAMLError as error:
        text = f"{path} is not YAML: {' '.join(str(error).split())}"
        return None, fail(SUBJECT, text, "mend the line that it names")
    return data, ok(SUBJECT, f"read {path}")


def check_shape(data: Any) -> list[Finding]:
    """Whether ``data`` is what OCS expects of a site config. OK only as a whole."""
    if not isinstance(data, dict):
        return [_shape("the file is not a mapping", "begin it with the blocks `hub:` and `hosts:`")]
    found = _check_hub(data.get("hub"))
    hosts = data.get("hosts")
    if not isinstance(hosts, dict) or not hosts:
        remedy = "add a block for each host, or one called localhost"
        found.append(_shape("`hosts` is missing, empty, or not a mapping", remedy))
        return found
    for name, block in hosts.items():
        found += _check_host(f"hosts.{name}", block)
    return found or [ok(SUBJECT, f"of the right shape; hosts: {', '.join(map(str, hosts))}")]


def _shape(text: str, remedy: str) -> Finding:
    return fail(SUBJECT, text, remedy)


def _check_hub(hub: Any) -> list[Finding]:
    if not isinstance(hub, dict):
        remedy = "add it, with wamp_server, wamp_http, wamp_realm and address_root"
        return [_shape("the block `hub` is missing or not a mapping", remedy)]
    found = []
    for key in ("wamp_server", "wamp_realm", "address_root"):
        if not isinstance(hub.get(key), str) or not hub[key]:
            found.append(_shape(f"`hub.{key}` is missing or not text", "add it to the hub block"))
    if "wamp_http" not in hub:
        remedy = "add it, e.g. http://HOST:8001/call"
        found.append(warn(SUBJECT, "without `hub.wamp_http` no OCS client can be used", remedy))
    return found


def _check_host(where: str, block: Any) -> list[Finding]:
    if not isinstance(block, dict):
        return [_shape(f"`{where}` is not a mapping", "give it a list `agent-instances:`")]
    instances = block.get("agent-instances")
    if not isinstance(instances, list):
        remedy = "add it to the block; `agent-instances: []` if there are none"
        return [_shape(f"`{where}.agent-instances` is missing or not a list", remedy)]
    found = []
    for number, instance in enumerate(instances):
        found += _check_instance(f"{where}.agent-instances[{number}]", instance)
    return found


def _check_instance(where: str, instance: Any) -> list[Finding]:
    if not isinstance(instance, dict):
        return [_shape(f"`{where}` is not a mapping", "give it agent-class and instance-id")]
    found = []
    for key in ("agent-class", "instance-id"):
        if not isinstance(instance.get(key), str) or not instance[key]:
            found.append(_shape(f"`{where}.{key}` is missing or not text", f"add the {key}"))
    name = instance.get("instance-id")
    if isinstance(name, str) and name and not ADDRESS_PART.fullmatch(name):
        remedy = "use letters, digits, '_' and '-'"
        found.append(_shape(f"instance-id {name!r} cannot be part of an address", remedy))
    if not isinstance(instance.get("arguments", []), list):
        remedy = "write it as a list: [['--option', 'value'], ...]"
        found.append(_shape(f"`{where}.arguments` is not a list", remedy))
    manage = instance.get("manage")
    if manage is not None and (not isinstance(manage, str) or manage not in MANAGE):
        # YAML reads a bare yes and no as true and false
        remedy = f"use one of {', '.join(sorted(MANAGE))}; quote yes and no"
        found.append(_shape(f"`{where}.manage` is {manage!r}", remedy))
    unknown = sorted(map(str, instance.keys() - INSTANCE_KEYS))
    if unknown:
        text = f"`{where}` has keys that OCS does not know: {', '.join(unknown)}"
        remedy = f"the keys are {', '.join(sorted(INSTANCE_KEYS))}"
        found.append(warn(SUBJECT, text, remedy))
    return found


def view_of(data: Mapping[str, Any], host_names: Iterable[str]) -> tuple[SiteView, Finding]:
    """What of a site config (of the right shape) concerns this host, and which block that is.

    Args:
        host_names: names of this host; the first that has a block counts.
    """
    names = list(host_names)
    host = next((name for name in names if name in data["hosts"]), None)
    if host is None:
        present = ", ".join(map(str, data["hosts"]))
        text = f"no block in `hosts` for {' or '.join(names)}; it has {present}"
        remedy = "give --site-host, or add a block"
        return SiteView(data["hub"]), fail("host", text, remedy)
    block = data["hosts"][host]
    overrides = {
        key: block[key] for key in ("wamp_server", "wamp_http", "wamp_realm") if key in block
    }
    instances = [_instance(each) for each in block["agent-instances"]]
    agents = ", ".join(each.instance_id for each in instances) or "none"
    view = SiteView({**data["hub"], **overrides}, host, block, instances, list(_ids(data)))
    return view, ok("host", f"block {host!r}, agents: {agents}")


def _instance(block: Mapping[str, Any]) -> Instance:
    return Instance(
        block["agent-class"],
        block["instance-id"],
        list(map(str, _flat(block.get("arguments", [])))),
        block.get("manage") or "host/up",
    )


def _flat(items: Iterable[Any]) -> Iterable[Any]:
    for item in items:
        if isinstance(item, list | tuple):
            yield from _flat(item)
        else:
            yield item


def check_duplicate_ids(data: Mapping[str, Any]) -> list[Finding]:
    """Instance ids that more than one agent has, on whichever host; they are addresses."""
    ids = Counter(_ids(data))
    remedy = "give each agent an id of its own; the router lets only one of them in"
    return [
        fail("instance-id", f"{name!r} is used {count} times", remedy)
        for name, count in ids.items()
        if count > 1
    ]


def _ids(data: Mapping[str, Any]) -> Iterable[str]:
    for block in data["hosts"].values():
        for instance in block["agent-instances"]:
            yield instance["instance-id"]


def check_crossbar_timeout(
    host: str,
    block: Mapping[str, Any],
    instances: Sequence[Instance],
    plugin_of: Mapping[str, str],
) -> Finding:
    """Whether agents end themselves when the router is away for some seconds.

    Args:
        plugin_of: plugin by agent class; agents of socs assume 0, those of others 10 s.
    """
    mortal = {}
    for instance in instances:
        ours = plugin_of.get(instance.agent_class) == OUR_PLUGIN
        timeout = block.get("crossbar_timeout", 0 if ours else STOCK_CROSSBAR_TIMEOUT)
        own = list(_values_of("--crossbar-timeout", instance.arguments))
        timeout = own[-1] if own else timeout
        if str(timeout) != "0":
            mortal[instance.instance_id] = timeout
    if not mortal:
        return ok("crossbar_timeout", "agents wait for a lost router for as long as it takes")
    names = ", ".join(f"{name} ({timeout} s)" for name, timeout in mortal.items())
    text = f"these agents end themselves after a router restart: {names}"
    remedy = f"put `crossbar_timeout: 0` into the block `hosts.{host}`"
    return warn("crossbar_timeout", text, remedy)


def _values_of(option: str, arguments: Sequence[str]) -> Iterable[str]:
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        if word == option:
            yield following
        elif word.startswith(f"{option}="):
            yield word.partition("=")[2]
