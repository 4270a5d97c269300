"""The files of a small OCS site on this machine: text in, text out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from socs.errors import ConfigError
from socs.sim.ports import LOOPBACK

HOST = "localhost"  # name of the only host in the site config
INSTANCE_ID = re.compile(r"[A-Za-z0-9_-]+")  # also a file name, and one component of a WAMP address


@dataclass(frozen=True)
class AgentInstance:
    """One entry of ``agent-instances`` in a site config.

    Args:
        arguments: command line arguments, nested as OCS allows: ``[["--udp-port", 8200]]``.
        manage: what HostManager is to do with it.

    Raises:
        ConfigError: the id cannot be part of an address.
    """

    agent_class: str
    instance_id: str
    arguments: list[Any] = field(default_factory=list)
    manage: str = "ignore"

    def __post_init__(self) -> None:
        if not INSTANCE_ID.fullmatch(self.instance_id):
            raise ConfigError(f"instance-id {self.instance_id!r}: use letters, digits, '_' and '-'")


def site_config(
    directory: Path, port: int, realm: str, address_root: str, instances: Iterable[AgentInstance]
) -> str:
    """The site config (YAML) of a site with one host and its router on ``127.0.0.1:port``."""
    agents = [
        {
            "agent-class": instance.agent_class,
            "instance-id": instance.instance_id,
            "manage": instance.manage,
            "arguments": instance.arguments,
        }
        for instance in instances
    ]
    host = {
        "log-dir": str(directory / "log"),
        "crossbar": {"config-dir": str(directory / "crossbar"), "bin": "crossbar"},
        "crossbar_timeout": 0,  # agents wait for a lost router for as long as it takes
        "agent-instances": agents,
    }
    hub = {
        "wamp_server": f"ws://{LOOPBACK}:{port}/ws",
        "wamp_http": f"http://{LOOPBACK}:{port}/call",
        "wamp_realm": realm,
        "address_root": address_root,
    }
    return yaml.safe_dump({"hub": hub, "hosts": {HOST: host}}, sort_keys=False)


def router_config(port: int, realm: str, address_root: str) -> str:
    """The router's config (JSON): one worker, on 127.0.0.1 only.

    Roles and paths are those that ``ocs-local-support generate_crossbar_config`` makes, with a ping
    size that crossbar 23.1 and later accept, and a status page under ``/info``.
    """
    roles = [
        _role("iocs_agent", address_root, may_register=True),
        _role("iocs_controller", address_root, may_register=False),
    ]
    websocket = {
        "type": "websocket",
        "auth": {"anonymous": {"type": "static", "role": "iocs_agent"}},
        "options": {
            "open_handshake_timeout": 2500,
            "close_handshake_timeout": 1000,
            "auto_ping_interval": 10000,
            "auto_ping_timeout": 5000,
            "auto_ping_size": 12,
        },
    }
    paths = {
        "ws": websocket,
        "call": {"type": "caller", "realm": realm, "role": "iocs_controller", "options": {}},
        "info": {"type": "nodeinfo"},
    }
    endpoint = {"type": "tcp", "port": port, "interface": LOOPBACK}
    worker = {
        "type": "router",
        "realms": [{"name": realm, "roles": roles}],
        "transports": [{"type": "web", "endpoint": endpoint, "paths": paths}],
    }
    return json.dumps({"version": 2, "workers": [worker]}, indent=4)


def _role(name: str, address_root: str, *, may_register: bool) -> dict[str, Any]:
    allow = {"call": True, "register": may_register, "publish": True, "subscribe": True}
    permission = {
        "uri": f"{address_root}.",
        "match": "prefix",
        "allow": allow,
        "disclose": {"caller": False, "publisher": False},
        "cache": True,
    }
    return {"name": name, "permissions": [permission]}
