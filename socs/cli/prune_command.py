"""``socs files prune``: delete files where they were written, once they are safe in the archive."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import closing
from types import TracebackType

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from socs.archive.operations import policy_of
from socs.archive.other_machine import add_ssh_options, host_and_user, sources_at
from socs.archive.prune import Decision, Prune, Pruned
from socs.archive.rsync import Rsync
from socs.archive.sources import DELETED, OUTCOMES, Sources
from socs.cli.file_options import add_data_dir, directory, need_copies
from socs.cli.output import escaped, json_line, tab_separated
from socs.db.engine import Database
from socs.db.file_filter import FileFilter
from socs.errors import ConfigError

COLUMNS = ("outcome", "id", "size", "source", "why")
PRUNE = (
    "Delete files where they were written, as a policy says, each after its archived copy was "
    "hashed once more and found right, and after the file itself was found to have the same "
    "contents. Without --delete nothing is deleted: it prints what would be, and why. Exit "
    "status: 0, or 1 if an archived copy is lost or altered, or cannot be read."
)


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command with ``add(name, run, text)``."""
    prune = add("prune", _prune, "delete files where they were written, once archived")
    prune.description = PRUNE
    prune.add_argument("--delete", action="store_true", help="delete, and not only say what")
    _add_places(prune)
    _add_choice(prune)
    add_ssh_options(prune)
    prune.add_argument("--quiet", action="store_true", help="print numbers, not each file")


def _add_places(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    parser.add_argument(
        "--data-root",
        required=True,
        nargs="+",
        action="extend",
        type=directory,
        metavar="DIR",
        help="directories below which files may be deleted",
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--instance-id",
        required=True,
        nargs="+",
        action="extend",
        metavar="ID",
        help="agents whose files are on this machine, or on --host; all others are left alone",
    )
    parser.add_argument(
        "--policy", metavar="FILE", help="YAML file; without one, the default of the how-to holds"
    )
    parser.add_argument("--pub-id", metavar="ID", help="only files announced by this publisher")
    parser.add_argument("--action", dest="of_action", metavar="NAME", help="only of this action")
    parser.add_argument("--format", metavar="NAME", help="only of this format")


def _prune(database: Database, args: argparse.Namespace) -> int:
    need_copies(database)
    policy = policy_of(args.policy, "--policy")
    only = FileFilter(pub_id=args.pub_id, action=args.of_action, format=args.format)
    with closing(_sources(args)) as sources, _Shown(args) as shown:
        pruned = Prune(policy, args.data_dir, args.instance_id, sources, only).run(
            database,
            now=time.time(),
            dry_run=not args.delete,
            progress=shown.progress,
            on_decision=shown.on_decision,
        )
    return 1 if pruned.alarming else 0


def _sources(args: argparse.Namespace) -> Sources:
    host, user = host_and_user(args)
    rsync = None
    if host is None:
        for option, value in (("--user", args.user), ("--ssh-key", args.ssh_key)):
            if value is not None:
                raise ConfigError(f"{option} is for another machine; give its --host as well")
    else:
        rsync = Rsync(host=host, user=user, port=args.ssh_port, key=args.ssh_key)
    return sources_at(rsync, args.data_root, args.data_dir)


# -- what is shown --------------------------------------------------------------------------------


class _Shown:
    """Shows one run; a context manager. A bar if standard error is a terminal."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._json, self._quiet, self._dry_run = args.json, args.quiet, not args.delete
        self._terminal = sys.stdout.isatty()
        self._pruned = Pruned(self._dry_run)
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[size]}"),
            console=Console(stderr=True),
            redirect_stdout=self._terminal,  # lines go above the bar
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=None, size="")

    def __enter__(self) -> _Shown:
        if self._dry_run:
            _say("dry run: nothing is deleted without --delete")
        if not (self._quiet or self._json or self._terminal):
            print("\t".join(COLUMNS))
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        pruned = self._pruned
        if self._json:
            print(json_line({"summary": pruned.as_dict()}))
        for outcome, meaning in OUTCOMES.items():
            if number := pruned.files[outcome]:
                size = decimal(pruned.bytes[outcome])
                files = "1 file" if number == 1 else f"{number} files"
                _say(f"{self._word(outcome)}: {files}, {size}: {meaning}")
        if not pruned.files and error is None:
            _say(
                "no archived file of these agents (--instance-id) is as old as the policy asks for"
            )
        if self._dry_run:
            _say("dry run: nothing was deleted")

    def progress(self, pruned: Pruned) -> bool:
        """Show how far it is; go on."""
        self._pruned = pruned
        size = decimal(pruned.bytes[DELETED])
        total = pruned.total or None
        self._bar.update(self._task, completed=pruned.looked_at, total=total, size=size)
        return True

    def on_decision(self, decision: Decision) -> None:
        """Print what became of a file."""
        if not self._quiet:
            print(self._line(decision), flush=True)

    def _line(self, decision: Decision) -> str:
        row = {name: getattr(decision, name) for name in decision.__struct_fields__}
        if self._json:
            return json_line(row | {"dry_run": self._dry_run})
        row["outcome"] = self._word(decision.outcome)
        if not self._terminal:
            return tab_separated(row, COLUMNS)
        size = "" if decision.size is None else decimal(decision.size)
        source, why = escaped(decision.source), escaped(decision.why)
        return f"{row['outcome']:12} {size:>9}  {source}  ({why})"

    def _word(self, outcome: str) -> str:
        return "would delete" if outcome == DELETED and self._dry_run else outcome


def _say(text: str) -> None:
    print(f"socs: {text}", file=sys.stderr)
