"""What an OCS client hears on the feeds of an agent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from socs.sim.site import Site
from socs.testing import wait_until

Heard = Callable[[], list[dict[str, Any]]]


@contextmanager
def listening(site: Site, instance_id: str, output: Path) -> Iterator[Heard]:
    """What ``ocs-client-cli listen --json`` has printed so far for all feeds of an agent.

    Args:
        site: with the router running.
        instance_id: of the agent.
        output: file for what it prints.
    """
    program = Path(sys.executable).with_name("ocs-client-cli")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [program, "listen", "--json", f"{site.address_root}.{instance_id}.feeds."],
            env={**os.environ, **site.environment(), "PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )

    def messages() -> list[dict[str, Any]]:
        found = []
        for line in output.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    try:
        wait_until(messages, 20, "the listener to hear something")
        yield messages
    finally:
        process.kill()
        process.wait()
