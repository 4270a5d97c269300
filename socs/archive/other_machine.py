"""Files on another machine: the options that say how it is reached, and what deletes there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from socs.archive.prune_local import LocalSources
from socs.archive.prune_remote import RemoteSources
from socs.archive.rsync import Rsync
from socs.archive.sources import Sources
from socs.dataroots import DataRoots
from socs.errors import ConfigError
from socs.options import whole


def add_ssh_options(options: argparse._ActionsContainer) -> None:
    """Add the options that say on which machine files are, and how ssh gets there."""
    options.add_argument(
        "--host",
        metavar="[USER@]HOST",
        help="machine that the files are on, reached with rsync over ssh (default: this one)",
    )
    options.add_argument("--user", metavar="NAME", help="user to log in as on --host")
    options.add_argument(
        "--ssh-port", type=whole(1), metavar="PORT", help="port of the SSH server (default 22)"
    )
    options.add_argument(
        "--ssh-key", metavar="FILE", help="private key for --host, without a passphrase"
    )


def host_and_user(args: argparse.Namespace) -> tuple[str | None, str | None]:
    """The machine, None for this one, and the user to log in as there, None for ssh's choice.

    Raises:
        ConfigError: ``--host`` and ``--user`` name two users.
    """
    if not args.host or "@" not in args.host:
        return args.host, args.user
    user, _, host = args.host.rpartition("@")
    if args.user not in {None, user}:
        raise ConfigError(f"--host {args.host} and --user {args.user} name two users")
    return host, user


def sources_at(rsync: Rsync | None, roots: Sequence[str], data_dir: str) -> Sources:
    """What deletes archived files below ``roots``: where ``rsync`` gets, or on this machine.

    Raises:
        ConfigError: a root, or how the machine is reached, is wrong; the message names it.
    """
    if rsync is None:
        return LocalSources(DataRoots(roots), data_dir)
    return RemoteSources(rsync, roots, data_dir)
