"""Checks of an archiver: what it copies, where to, and the way there."""

from __future__ import annotations

import argparse
import os
import shutil
import stat
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from socs.archive.settings import ArchiveSettings, archive_settings
from socs.cli.findings import Finding, fail, ok, warn
from socs.cli.host_checks import CORRECT, PROGRAMS, check_data_roots, user
from socs.errors import ConfigError

GIB = 1 << 30
Which = Callable[[str], str | None]


def check_archiver(
    subject: str,
    args: argparse.Namespace,
    instance_ids: Collection[str],
    which: Which = shutil.which,
) -> list[Finding]:
    """All checks of an archiver that runs on this host, with its options parsed.

    Args:
        instance_ids: those of all agents of the site.
        which: finds programs.
    """
    try:
        settings = archive_settings(args)
    except ConfigError as error:
        return [fail(subject, str(error), CORRECT)]
    found = check_targets(subject, settings.targets, instance_ids)
    found.append(check_data_dir(subject, settings.data_dir))
    if settings.host is None:
        return found + check_data_roots(subject, settings.roots)
    return found + check_way(subject, settings, which)


def check_targets(
    subject: str, targets: Sequence[str], instance_ids: Collection[str]
) -> list[Finding]:
    """Targets that are no agents of this site; nothing of theirs will ever be archived."""
    return [
        warn(
            subject,
            f"--target {target} is no agent in the site config",
            "give the instance-id of the agent that registers the files",
        )
        for target in targets
        if target not in instance_ids
    ]


def check_data_dir(subject: str, directory: str) -> Finding:
    """Whether the archive is there and can be written."""
    path = Path(directory)
    if not path.is_dir():
        text = f"--data-dir {directory} is no directory here"
        return fail(subject, text, "mount the storage, or make the directory, or correct it")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        text = f"--data-dir {directory} cannot be read and written by {user()}"
        return fail(subject, text, "give it to the user that runs the agent")
    free = shutil.disk_usage(path).free
    return ok(subject, f"--data-dir {directory} can be written, {free / GIB:.0f} GiB free")


def check_way(subject: str, settings: ArchiveSettings, which: Which) -> list[Finding]:
    """Whether rsync, ssh and the key for ``--host`` are there; the host itself is not asked."""
    found = [
        fail(subject, f"--host needs {name}, not installed", f"apt-get install {package}")
        for name, package in zip(PROGRAMS, ("rsync", "openssh-client"), strict=True)
        if which(name) is None
    ]
    if settings.ssh_key is not None:
        found.append(check_key(subject, settings.ssh_key))
    return found


def check_key(subject: str, key: str) -> Finding:
    """Whether ssh will take the private key in the file ``key``."""
    try:
        mode = stat.S_IMODE(os.stat(key).st_mode)
    except OSError as error:
        remedy = "make one with ssh-keygen, or correct --ssh-key"
        return fail(subject, f"--ssh-key {key}: {error.strerror}", remedy)
    if not os.path.isfile(key) or not os.access(key, os.R_OK):
        text = f"--ssh-key {key} cannot be read by {user()}"
        return fail(subject, text, "give the file to the user that runs the agent")
    if mode & 0o077:
        text = f"--ssh-key {key} has mode {mode:04o}; ssh refuses a key that others may read"
        return fail(subject, text, f"chmod 0600 {key}")
    return ok(subject, f"--ssh-key {key} can be read, by its owner only")
