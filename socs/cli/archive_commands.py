"""``socs files verify`` and ``socs files audit``: is the archive what the table says?"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from socs.archive.audit import MIN_AGE, Audit
from socs.archive.audited import Audited
from socs.archive.examine import THREADS
from socs.archive.register import Register
from socs.archive.verify import DAY, Verified, Verify
from socs.cli.file_options import (
    add_data_dir,
    add_filters,
    add_names,
    add_state_filters,
    count,
    days,
    directory,
    file_filter,
    need_copies,
    seconds,
)
from socs.cli.long_job import LongJob
from socs.dataroots import DataRoots
from socs.db.engine import Database

STATUS = " Exit status: 0 when all is well, 1 when anything is not."
VERIFY = (
    "Read archived files again, those first that were not verified for the longest time, and "
    "compare their MD5 with that of the table. What is found is written down: a file that is gone "
    "is lost, one with other contents altered, until it is found right again." + STATUS
)
AUDIT = (
    "Compare table and archive, both ways: files that no row has (dark), rows whose file is gone "
    "(lost) or different (altered), and what does not belong there. Lost and altered files are "
    "marked in the table; nothing is deleted." + STATUS
)


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the commands with ``add(name, run, text)``."""
    verify = add("verify", _verify, "read archived files again, and compare")
    verify.description = VERIFY
    add_names(verify)
    add_filters(verify)
    add_state_filters(verify)
    verify.add_argument(
        "--older-than", type=days, metavar="DAYS", help="not verified for so many days"
    )
    verify.add_argument("--limit", type=count, metavar="N", help="at most N files")
    _add_archive(verify)
    audit = add("audit", _audit, "compare table and archive, both ways")
    audit.description = AUDIT
    _add_archive(audit)
    _add_audit_options(audit)


def _add_archive(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    parser.add_argument(
        "--threads",
        type=_some,
        default=THREADS,
        metavar="N",
        help="that read files (default %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="look, and change nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")


def _add_audit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hash", action="store_true", help="compare contents too, not only sizes")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="set altered copies aside, and have lost and altered files copied again that are "
        "still, with the announced MD5, where they were written (below a --data-root)",
    )
    parser.add_argument(
        "--data-root",
        action="append",
        type=directory,
        metavar="DIR",
        help="where files were written; may be given several times",
    )
    parser.add_argument(
        "--register-dark",
        metavar="INSTANCE",
        help="make rows for dark files, as registered by this instance id",
    )
    parser.add_argument("--site", metavar="NAME", help="site name for these rows")
    parser.add_argument(
        "--min-age",
        type=seconds,
        default=MIN_AGE,
        metavar="SECONDS",
        help="younger files are not called dark: their row may be on its way (default %(default)s)",
    )


def _some(text: str) -> int:
    if not count(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


# -- looking at the archive -----------------------------------------------------------------------


def _verify(database: Database, args: argparse.Namespace) -> int:
    need_copies(database)
    chosen = file_filter(args)
    verify = Verify(
        args.data_dir,
        only=chosen,
        older_than=None if args.older_than is None else time.time() - args.older_than * DAY,
        limit=args.limit,
        threads=args.threads,
        dry_run=args.dry_run,
    )

    def shown(found: Verified) -> tuple[int, int, str]:
        return found.looked_at, found.to_do, "verified"

    with LongJob(args, shown) as job:
        found = verify.run(database, progress=job.progress, on_finding=job.on_finding)
    named = len(chosen.ids) + len(chosen.paths)
    absent = max(0, named - found.to_do) if chosen.names_files else 0
    notes = []
    if absent:
        notes.append(f"{absent} of the files named are not archived below {args.data_dir}")
    job.finish(found, notes)
    return 1 if len(found.findings) or absent else 0


def _audit(database: Database, args: argparse.Namespace) -> int:
    need_copies(database)
    register = None
    if args.register_dark is not None:
        register = Register(args.register_dark, args.site)
    audit = Audit(
        args.data_dir,
        hash=args.hash,
        repair=args.repair,
        roots=DataRoots(args.data_root) if args.data_root else None,
        register=register,
        min_age=args.min_age,
        threads=args.threads,
        dry_run=args.dry_run,
    )

    def shown(found: Audited) -> tuple[int, int, str]:
        return found.timecodes_done, found.timecodes, f"day {found.timecode}"

    with LongJob(args, shown) as job:
        found = audit.run(database, progress=job.progress, on_finding=job.on_finding)
    job.finish(found, _elsewhere(found, args.data_dir))
    return 1 if len(found.findings) else 0


def _elsewhere(found: Audited, data_dir: str) -> list[str]:
    """What else there is to tell."""
    notes = []
    if found.outside:
        where = ", ".join(f"{name} ({number})" for name, number in found.outside.items())
        notes.append(f"not looked at, archived elsewhere: {where}")
    if found.outside and not found.rows:
        notes.append(f"no row lies below {data_dir}: is it spelt as the archiver's --data-dir?")
    if found.unsettled:
        notes.append(
            f"{found.unsettled} files were placed by an archiver that will find them again"
        )
    return notes
