"""Checks of a gateway of EPICS traffic: how it can listen here, and what it can hear."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network

from socs.cli.findings import Finding, fail, ok, warn
from socs.cli.host_checks import (
    CORRECT,
    check_receive_buffer,
    check_senders,
    has_net_admin,
    read_rmem_max,
)
from socs.epics.gateway.listening import Surroundings, choose, look_around
from socs.epics.gateway.options import gateway_settings
from socs.epics.gateway.settings import GatewaySettings
from socs.errors import ConfigError
from socs.wire.pcap import PcapFile

DISCARD = 9  # a port to look up a route with; nothing is sent there
LISTENING = "see 'EPICS: listening and searching' in the reference for what suits this host"


def check_gateway(
    subject: str, args: argparse.Namespace, answers: Callable[[], bool]
) -> list[Finding]:
    """Whether the gateway with these options can do its work.

    Args:
        subject: its instance id.
        args: its options.
        answers: whether it has joined the router; asked only if that matters.
    """
    try:
        settings = gateway_settings(args)
        if settings.source is not None:
            PcapFile(settings.source).close()
            return [ok(subject, f"replays {settings.source}, which can be read")]
    except ConfigError as error:
        return [fail(subject, f"PVGateway: {error}", CORRECT)]
    found = [] if answers() else check_listening(subject, settings)
    rmem_max = read_rmem_max()
    if rmem_max is not None:
        wanted, privileged = settings.receive_buffer, has_net_admin()
        found.append(check_receive_buffer(subject, wanted, rmem_max, privileged=privileged))
    found += check_senders(subject, settings.allow)
    return found + check_networks(subject, settings.networks)


def check_listening(
    subject: str, settings: GatewaySettings, here: Surroundings | None = None
) -> list[Finding]:
    """How it would listen, if it were started by this user now.

    Args:
        subject: its instance id.
        settings: of the gateway.
        here: what there is on this host; looked at if omitted.
    """
    ports = settings.ports.by_use()
    try:
        choice = choose(ports, here or look_around(ports.values()), settings.listen)
    except ConfigError as error:
        return [fail(subject, f"PVGateway: {error}", LISTENING)]
    told = ok(subject, choice.reason)
    left_out = [f"{use} are not heard: {why}" for use, why in choice.left_out.items()]
    return [told, *(warn(subject, text, LISTENING) for text in (*left_out, *choice.warnings))]


def check_networks(subject: str, networks: Sequence[str]) -> list[Finding]:
    """Whether this host has an address in each of the networks that are to be heard."""
    far = [network for network in networks if not is_here(network)]
    if not networks:
        remedy = "give --networks, so that monitors know what is not heard while it is away"
        return [warn(subject, "does not say which networks it hears", remedy)]
    if far:
        text = f"--networks: this host has no address in {', '.join(far)}"
        return [warn(subject, text, "broadcasts pass no router: run it on a host that has")]
    return [ok(subject, f"this host has an address in {', '.join(networks)}")]


def is_here(network: str) -> bool:
    """Whether this host sends to ``network`` from an address inside of it."""
    inside = IPv4Network(network)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        try:
            probe.connect((str(inside.broadcast_address), DISCARD))
        except OSError:
            return False
        return IPv4Address(probe.getsockname()[0]) in inside
