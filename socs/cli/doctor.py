"""``socs doctor``: check a site config and this host, and say what to change."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Mapping
from typing import Any

from socs.cli import (
    agent_checks,
    archive_checks,
    database_checks,
    host_checks,
    pv_gateway_checks,
    pv_monitor_checks,
    router_checks,
    site_checks,
    tango_checks,
)
from socs.cli.findings import Finding, fail, failed, print_findings
from socs.cli.host_checks import Listener
from socs.cli.site_checks import SiteView
from socs.errors import ConfigError
from socs.pysmurf.settings import stream_settings

MONITOR, ARCHIVER, BUILDER = "PysmurfMonitor", "PysmurfArchiver", "SlowSignalBuilder"
TANGO, GATEWAY, PV_MONITOR = "TangoEventMonitor", "PVGateway", "PVMonitor"
Parsed = Mapping[str, argparse.Namespace]  # options by instance id


def add_parser(commands: Any) -> None:
    """Add ``doctor`` to ``commands`` (of ``add_subparsers``)."""
    text = (
        "Check the site config, the router, the database and this host, and say what to change. "
        "Ends with status 1 if something does not work."
    )
    parser = commands.add_parser(
        "doctor", help="check a site and say what to change", description=text
    )
    parser.add_argument(
        "--site-file", metavar="FILE", help="site config (default: default.yaml in OCS_CONFIG_DIR)"
    )
    parser.add_argument(
        "--site-host",
        metavar="NAME",
        help="block of the site config that is this host's (default: the host name, or localhost)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    findings = examine(os.environ, args.site_file, args.site_host)
    print_findings(findings, as_json=args.json)
    return 1 if failed(findings) else 0


def examine(
    environ: Mapping[str, str], site_file: str | None = None, site_host: str | None = None
) -> list[Finding]:
    """All checks, in the order in which one would mend things."""
    view, found = examine_config(environ, site_file, site_host)
    parsed: Parsed = {}
    if view is not None:
        more, parsed = examine_agents(view)
        found += more
        found += router_checks.check_router(view.hub)
    instances = view.instances if view is not None else ()
    archivers = [each.instance_id for each in instances if each.agent_class == ARCHIVER]
    creators = [name for name, args in parsed.items() if getattr(args, "create_table", False)]
    found += database_checks.check_database(
        environ,
        archiver=bool(archivers),
        created_by=creators[0] if creators else None,
        copies_created_by=next((name for name in creators if name in archivers), None),
    )
    if view is not None:
        found += examine_host(view, parsed)
        for name in _here(view, parsed, TANGO):
            found += tango_checks.check_monitor(name, parsed[name], environ)
        for name in _here(view, parsed, GATEWAY):
            found += _check_gateway(view, name, parsed[name])
        for name in _here(view, parsed, PV_MONITOR):
            found += pv_monitor_checks.check_monitor(name, parsed[name], environ, view.instance_ids)
    return found + host_checks.check_programs()


def examine_config(
    environ: Mapping[str, str], site_file: str | None, site_host: str | None
) -> tuple[SiteView | None, list[Finding]]:
    """The checks of the site config file alone; no view if it is unfit for more."""
    path = site_checks.find_site_file(site_file, environ)
    if isinstance(path, Finding):
        return None, [path]
    data, reading = site_checks.read_site(path)
    if reading.level == "FAIL":
        return None, [reading]
    shape = site_checks.check_shape(data)
    found = [reading, *shape]
    if failed(shape):
        return None, found
    names = dict.fromkeys([site_host or socket.gethostname(), "localhost"])
    view, which = site_checks.view_of(data, names)
    return view, [*found, which, *site_checks.check_duplicate_ids(data)]


def examine_agents(view: SiteView) -> tuple[list[Finding], Parsed]:
    """The checks of the agents of this host, and their options as far as they are right."""
    offers, found = agent_checks.installed_offers()
    found += agent_checks.check_classes(view.instances, offers)
    modules = agent_checks.module_of(offers)
    parsed = {}
    for instance in view.instances:
        module = modules.get(instance.agent_class)
        if module is None:
            continue
        found += agent_checks.check_packages(instance, module)
        found += agent_checks.check_repeated_options(instance)
        args, finding = agent_checks.check_arguments(instance, module)
        found.append(finding)
        if args is not None:
            parsed[instance.instance_id] = args
    if view.host:
        plugins = agent_checks.plugin_of(offers)
        block, instances = view.host_block, view.instances
        found.append(site_checks.check_crossbar_timeout(view.host, block, instances, plugins))
    return found, parsed


def examine_host(view: SiteView, parsed: Parsed) -> list[Finding]:
    """The checks of this host's kernel, ports, directories and keys, for its agents."""
    listeners, found = _listeners(view, parsed)
    found += host_checks.check_shared_ports(listeners)
    rmem_max = host_checks.read_rmem_max()
    privileged = host_checks.has_net_admin()
    for name, needs in listeners:
        if rmem_max is not None:
            found.append(
                host_checks.check_receive_buffer(
                    name, needs.receive_buffer, rmem_max, privileged=privileged
                )
            )
        found += host_checks.check_senders(name, needs.allow)
        wrong_address = host_checks.check_address(name, needs.bind)
        found += wrong_address or [_check_port(view, name, needs)]
        found += host_checks.check_data_roots(name, needs.reads)
        found += host_checks.check_folders(name, needs.writes)
        if needs.spool_dir is not None:
            found.append(host_checks.check_spool(name, needs.spool_dir, needs.spool_quota))
    for name in _here(view, parsed, ARCHIVER):
        found += archive_checks.check_archiver(name, parsed[name], view.instance_ids)
    return found


def _listeners(view: SiteView, parsed: Parsed) -> tuple[list[tuple[str, Listener]], list[Finding]]:
    """The agents that take datagrams, with what they need; and options that cannot be right."""
    found = [(name, _of_monitor(parsed[name])) for name in _here(view, parsed, MONITOR)]
    wrong = []
    for name in _here(view, parsed, BUILDER):
        try:
            found.append((name, _of_builder(parsed[name])))
        except ConfigError as error:
            wrong.append(fail(name, f"{BUILDER}: {error}", host_checks.CORRECT))
    return found, wrong


def _of_monitor(args: argparse.Namespace) -> Listener:
    settings = stream_settings(args)
    return Listener(
        bind=settings.bind,
        port=settings.port,
        allow=settings.allow,
        receive_buffer=settings.receive_buffer,
        spool_dir=settings.spool_dir,
        spool_quota=settings.spool_quota,
        reads=settings.roots,
    )


def _of_builder(args: argparse.Namespace) -> Listener:
    from socs.slow_signal.options import builder_settings  # noqa: PLC0415  needs an extra

    settings = builder_settings(args)
    stream = settings.stream
    return Listener(
        bind=stream.listen_ip,
        port=stream.listen_port,
        allow=stream.allow,
        receive_buffer=stream.receive_buffer,
        spool_dir=settings.spool_dir if settings.roots else None,
        spool_quota=settings.spool_quota,
        writes=settings.roots,
    )


def _here(view: SiteView, parsed: Parsed, agent_class: str) -> list[str]:
    """Instance ids of the agents of a class that run on this host itself, with right options."""
    names = [
        instance.instance_id
        for instance in view.instances
        if instance.agent_class == agent_class
        and instance.instance_id in parsed
        and not instance.in_container
    ]
    return list(dict.fromkeys(names))


def _check_gateway(view: SiteView, name: str, args: argparse.Namespace) -> list[Finding]:
    return pv_gateway_checks.check_gateway(
        name, args, lambda: router_checks.agent_answers(view.hub, name)
    )


def _check_port(view: SiteView, name: str, needs: Listener) -> Finding:
    table = host_checks.UDP_TABLE.read_text() if host_checks.UDP_TABLE.exists() else ""
    return host_checks.check_udp_port(
        name,
        needs.bind,
        needs.port,
        host_checks.udp_listeners(table),
        lambda: router_checks.agent_answers(view.hub, name),
    )
