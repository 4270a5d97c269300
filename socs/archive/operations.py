"""What the agent's Tasks do: an operator's decisions and checks, for the archive of one agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from socs.archive import decisions
from socs.archive.audit import Audit
from socs.archive.policy import Policy
from socs.archive.policy_yaml import default_policy, read_policy
from socs.archive.prune import Prune
from socs.archive.register import Register
from socs.archive.settings import ArchiveSettings
from socs.archive.verify import Verify
from socs.dataroots import DataRoots
from socs.db.engine import Database
from socs.db.file_filter import FileFilter
from socs.errors import ConfigError
from socs.problems import fitting, printable

LISTED = 200  # failed files told at once, at most
LIST_BYTES = 60_000  # of them as JSON
DAY = 86400.0  # s
FILTERS = ("ids", "path", "state", "cause", "action", "pub_id")

Progress = Callable[[Any], bool]


def chosen_files(settings: ArchiveSettings, params: Mapping[str, Any]) -> FileFilter:
    """The files of this archiver that the parameters of a Task name.

    Args:
        settings: of the archiver.
        params: values by the names in :data:`FILTERS`; None for any.
    """

    def one(name: str) -> tuple[Any, ...]:
        return () if params.get(name) is None else (params[name],)

    return FileFilter(
        ids=tuple(params.get("ids") or ()),
        path=params.get("path"),
        states=one("state"),
        causes=one("cause"),
        action=params.get("action"),
        pub_id=params.get("pub_id"),
        instance_ids=tuple(settings.targets),
    )


def is_chosen(params: Mapping[str, Any]) -> bool:
    """Do the parameters name any files, or all?"""
    return bool(params.get("all_files")) or any(params.get(name) for name in FILTERS)


def list_failed(
    settings: ArchiveSettings, database: Database, params: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The newest files without a good copy, fit for session data."""
    limit = min(params.get("limit") or LISTED, LISTED)
    rows = decisions.failed(database, chosen_files(settings, params), limit)
    shown = [
        {
            "id": row["id"],
            "path": printable(row["path"]),
            "state": row["state"],
            "cause": row["cause"],
            "detail": printable(row["detail"] or ""),
            "attempts": row["failed_copy_attempts"],
        }
        for row in rows
    ]
    return fitting(shown, LIST_BYTES)


def retry(settings: ArchiveSettings, database: Database, params: Mapping[str, Any]) -> str:
    """Have files archived after all; what to tell."""
    accept = params["accept_changed"]
    matched, done = decisions.retry(database, chosen_files(settings, params), accept_changed=accept)
    rest = matched - done
    note = f"; of {rest} damaged copies it is not known where they were written" if rest else ""
    return f"{done} files are tried again{note}"


def ignore(settings: ArchiveSettings, database: Database, params: Mapping[str, Any]) -> str:
    """Do not archive files; what to tell."""
    _, done = decisions.ignore(database, chosen_files(settings, params), params["reason"])
    return f"{done} files are ignored"


def verify(
    settings: ArchiveSettings,
    database: Database,
    params: Mapping[str, Any],
    progress: Progress,
) -> Any:
    """Hash archived files again; see :class:`socs.archive.verify.Verify`."""
    days = params.get("older_than")
    work = Verify(
        settings.data_dir,
        only=chosen_files(settings, params),
        older_than=None if days is None else time.time() - days * DAY,
        limit=params.get("limit"),
    )
    return work.run(database, progress=progress)


def audit(
    settings: ArchiveSettings,
    database: Database,
    params: Mapping[str, Any],
    progress: Progress,
) -> Any:
    """Compare the archive with the table; see :class:`socs.archive.audit.Audit`."""
    register = Register(settings.targets[0]) if params["register_dark"] else None
    work = Audit(
        settings.data_dir,
        hash=params["hash"],
        repair=params["repair"],
        roots=None if settings.host else DataRoots(settings.roots),
        register=register,
        min_age=params["min_age"],
    )
    return work.run(database, progress=progress)


def delete_local(
    settings: ArchiveSettings,
    database: Database,
    params: Mapping[str, Any],
    progress: Progress,
) -> Any:
    """Delete archived files where they were written; see :class:`socs.archive.prune.Prune`."""
    with closing(settings.sources()) as sources:
        work = Prune(policy_of(settings.prune_policy), settings.data_dir, settings.targets, sources)
        return work.run(database, now=time.time(), dry_run=params["dry_run"], progress=progress)


def policy_of(file: str | None, option: str = "--prune-policy") -> Policy:
    """The policy in the YAML ``file``, which ``option`` named, or the one that applies without.

    Raises:
        ConfigError: it cannot be read, or understood.
    """
    if file is None:
        return default_policy()
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option} {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{option} {file} is not text in UTF-8") from error
    return read_policy(text, f"{option} {file}")
