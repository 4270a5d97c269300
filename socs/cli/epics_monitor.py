"""Asking a PV monitor: its Tasks, as an OCS client calls them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from ocs import OK, site_config
from ocs.client_http import ControlClientError
from ocs.ocs_client import OCSReply

from socs.agent_client import LONGEST_ANSWER, AgentClient, NoAnswer
from socs.epics.rows import Row
from socs.errors import ConfigError, NotAllowed, StorageUnavailable
from socs.options import seconds

AGENT_CLASS = "PVMonitor"
PAGE = 1000  # rows at a time; the most that it gives
BUSY_FOR = 10.0  # s in which others' questions of the same kind are waited for
BUSY_PERIOD = 0.05  # s between two attempts
NO_ANSWER = (ControlClientError, OSError, ValueError)  # requests' errors are OSErrors
IN_PROGRESS = "already in progress"


def add_site_options(parser: argparse.ArgumentParser) -> None:
    """Add where the monitor is."""
    group = parser.add_argument_group("the monitor that is asked")
    group.add_argument(
        "--monitor",
        metavar="INSTANCE-ID",
        help=f"of the agent (default: the only {AGENT_CLASS} of the site config)",
    )
    group.add_argument(
        "--site-file", metavar="FILE", help="site config (default: default.yaml in OCS_CONFIG_DIR)"
    )
    group.add_argument(
        "--site-host",
        metavar="NAME",
        help="block of the site config that is this host's (default: the host name, or localhost)",
    )
    group.add_argument(
        "--router-timeout",
        type=seconds,
        default=LONGEST_ANSWER,
        metavar="SECONDS",
        help="for each answer that comes by the router [s] (default %(default)g)",
    )


class SiteOfMonitor:
    """Where a monitor is, by the site config.

    Args:
        args: with the options of :func:`add_site_options`.

    Attributes:
        instance_id: of the monitor.
        address: of it in the router.
        url, realm: where agents reach the router.
        words: options for a client of OCS.
        timeout: for each answer [s].

    Raises:
        ConfigError: the site config is missing or lacks something; the message says what to set.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.words = [
            word
            for name in ("site_file", "site_host")
            if (value := getattr(args, name)) is not None
            for word in (f"--{name.replace('_', '-')}", value)
        ]
        self.timeout: float = args.router_timeout
        try:
            parsed = site_config.add_arguments().parse_args(self.words)
            site, _, _ = site_config.get_config(parsed, "*control*")
            hub = site.hub.data
            self.instance_id = args.monitor or _only_monitor(site)
            self.address = f"{hub['address_root']}.{self.instance_id}"
            self.url, self.realm = hub["wamp_server"], hub["wamp_realm"]
            self.http = hub["wamp_http"]
        except AssertionError as error:  # what OCS says when it has nothing to look in
            raise ConfigError(
                "no site config: set OCS_CONFIG_DIR to its directory, or give --site-file"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"cannot read the site config: {error}; see OCS_CONFIG_DIR and --site-file"
            ) from error
        except yaml.YAMLError as error:
            raise ConfigError(f"the site config is not YAML: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                "the site config is not of the right shape, or lacks something "
                f"({error}): `socs doctor` tells what it needs"
            ) from error


def _only_monitor(site: Any) -> str:
    found = [
        instance["instance-id"]
        for host in site.hosts.values()
        for instance in host.instances
        if instance.get("agent-class") == AGENT_CLASS
    ]
    if len(found) != 1:
        which = f"there are {', '.join(found)}" if found else "there is none"
        raise ConfigError(f"give --monitor: which {AGENT_CLASS} is to be asked ({which})")
    return str(found[0])


class Monitor:
    """A PV monitor, asked through the router.

    Args:
        site: where it is.

    Raises:
        StorageUnavailable: the router or the agent does not answer; the message says which, and
            what to look at.
        ConfigError: the agent is another one.
    """

    def __init__(self, site: SiteOfMonitor) -> None:
        self._site = site
        try:
            self._client = AgentClient(site.instance_id, site.words, site.timeout)
        except NO_ANSWER as error:
            raise self._away(error) from error
        if not hasattr(self._client, "pv_info"):
            raise ConfigError(f"{site.instance_id} is no {AGENT_CLASS}: give --monitor")

    def ask(self, task: str, **params: Any) -> Row:
        """The session data of a Task.

        Raises:
            StorageUnavailable: there was no answer.
            NotAllowed: it was refused; the message names the parameter.
        """
        given = {name: value for name, value in params.items() if value is not None}
        operation = getattr(self._client, task)
        deadline = time.monotonic() + BUSY_FOR
        while True:
            try:
                begun = operation.start(**given)
                ended = operation.wait() if begun.status == OK else begun
            except NO_ANSWER as error:
                raise self._away(error) from error
            if begun.status != OK and IN_PROGRESS not in str(begun.msg):
                raise NotAllowed(f"{task}: {begun.msg}")
            ours = begun.status == OK and _number(begun) == _number(ended)
            if ours:
                return self._found(task, ended)
            # Somebody else asks the same just now, or did before we had our answer.
            if time.monotonic() > deadline:
                raise StorageUnavailable(
                    f"{self._site.instance_id} is busy with {task} for others; try again"
                )
            time.sleep(BUSY_PERIOD)

    def _found(self, task: str, reply: OCSReply) -> Row:
        session = reply.session
        if not session.get("success"):
            said = [text for _, text in session.get("messages", [])]
            raise NotAllowed(said[-2] if len(said) > 1 else f"{task}: no success")
        return dict(session.get("data") or {})

    def pages(self, task: str, **params: Any) -> Iterator[Row]:
        """Page after page of a list, each as the Task gives it."""
        start = 0
        while True:
            page = self.ask(task, start=start, most=PAGE, **params)
            yield page
            start += len(page["rows"])
            if not page["rows"] or start >= page["total"]:
                return

    def status(self) -> Row:
        """The session data of its Process.

        Raises:
            StorageUnavailable: there was no answer, or it does not monitor.
        """
        try:
            reply = self._client.monitor.status()
        except NO_ANSWER as error:
            raise self._away(error) from error
        session = reply.session or {}
        if session.get("status") not in ("starting", "running"):
            raise StorageUnavailable(
                f"{self._site.instance_id} does not monitor: start its process `monitor`"
            )
        return dict(session.get("data") or {})

    def _away(self, error: Exception) -> StorageUnavailable:
        text = str(error)
        if isinstance(error, NoAnswer):
            why = (
                f"{text}: the router or {self._site.instance_id} hangs; `socs doctor` tells "
                "whether it is the router. If they are merely busy, give --router-timeout"
            )
        elif "no_such_procedure" in text:
            why = f"no agent {self._site.instance_id} is at the router: start it, or give --monitor"
        elif "connection_error" in text or isinstance(error, OSError):
            why = (
                f"no router answers at {self._site.http}: start it, or correct hub.wamp_http in "
                "the site config"
            )
        else:
            why = f"no answer of {self._site.instance_id} by {self._site.http}: {text}"
        return StorageUnavailable(why)


def _number(reply: Any) -> Any:
    session: Mapping[str, Any] = reply.session or {}
    return session.get("session_id")
