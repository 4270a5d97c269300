"""PysmurfArchiver: registered files are copied to storage, verified, and their rows say so.

The work is done in :mod:`socs.archive`; this file wires it to OCS.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from ocs import ocs_agent
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread

from socs.agent import Reply, end_soon, line_logger, run_agent, show_status
from socs.archive import operations
from socs.archive.publish import ArchiveFeeds
from socs.archive.service import ArchiveService
from socs.archive.settings import add_options, archive_settings
from socs.db.engine import Database
from socs.errors import OurError, SocsError

Task = Callable[..., Reply]


def _filters(task: Task) -> Task:
    """Parameters of a Task that choose files."""
    for name in ("path", "state", "cause", "action", "pub_id"):
        task = ocs_agent.param(name, default=None, type=str)(task)
    task = ocs_agent.param("ids", default=None, type=list)(task)
    chosen: Task = ocs_agent.param("all_files", default=False, type=bool)(task)
    return chosen


class PysmurfArchiver:
    """Copies the files that agents have registered to storage, and verifies them.

    Args:
        agent: the OCS agent.
        args: parsed options, see :func:`make_parser`.

    Raises:
        ConfigError: an option or an environment variable is wrong; the message names it.
    """

    def __init__(self, agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> None:
        self.agent = agent
        self.log = agent.log
        self._report = line_logger(agent.log)
        self.settings = archive_settings(args)
        self.database = Database()
        self.feeds = ArchiveFeeds(agent)
        self.service: ArchiveService | None = None

    # -- operations -----------------------------------------------------------------------------

    @ocs_agent.param("_")
    @inlineCallbacks
    def run(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Any:
        """run()

        **Process** - Copies uncopied files of the targets, and verifies them. Started with the
        agent, unless ``--mode`` says otherwise.

        Notes:
            The session data hold every counter by name (see the counters reference), how far the
            archive is, what is being copied, and why anything is held up::

                >>> response.session['data']
                {'timestamp': 1700000000.0,
                 'counters': {'files_archived': 1187, 'attempts_missing': 5, ...},
                 'unaccounted': {},
                 'troubles': [],
                 'archive_stats': {'num_files': 1200, 'uncopied_files': 12, 'failed': 1,
                                   'bytes': 74000000, 'last_file_added': '/data/...',
                                   'last_file_copied': '/archive/...',
                                   'finalized_until': 1700000000.0},
                 'states': {'copying': 12, 'missing': 1},
                 'notes': [],
                 'current': [{'path': '/data/.../1700000000_tune.npy', 'bytes': 8388608}],
                 'failed_files': [{'id': 7, 'path': ..., 'state': 'missing', ...}],
                 'archive': {'data_dir': '/archive/smurf', 'targets': ['pysmurf-monitor']},
                 'database': {'where': 'MariaDB socs@db:3306/files', 'state': 'up', ...}}

            The session is *degraded* while ``troubles`` is not empty.

        """
        try:
            service = yield deferToThread(self._start)
        except OurError as error:
            return False, str(error)
        yield show_status(session, service.status, self.settings.data_dir, then=self.feeds.update)
        yield self.close()
        status = service.status()
        session.data = {"timestamp": time.time(), **status}
        self.feeds.update(status)
        return True, "Stopped archiving"

    def _start(self) -> ArchiveService:
        self.service = ArchiveService(self.settings, self.database, report=self._report)
        self.service.start()
        return self.service

    @inlineCallbacks
    def close(self) -> Any:
        """Stop archiving; what is under way is done again after the next start."""
        service, self.service = self.service, None
        if service is not None:
            yield deferToThread(service.stop)

    @_filters
    @ocs_agent.param("accept_changed", default=False, type=bool)
    def retry(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """retry(ids=None, path=None, state=None, cause=None, action=None, pub_id=None, \
all_files=False, accept_changed=False)

        **Task** - Has files archived after all that are missing, changed, failed, lost or altered.
        Those that wait are due at once. Ignored ones only if ``ids`` or ``state`` name them.

        Parameters:
            ids (list): Numbers of rows of the files table.
            path (str): Pattern for whole paths; ``*`` stands for any characters.
            state (str): State of the copy, as ``list_failed`` tells it.
            cause (str): Cause of the last failure, as ``list_failed`` tells it.
            action (str): Action in the row.
            pub_id (str): Publisher id in the row.
            all_files (bool): All files of the targets, when nothing else is given.
            accept_changed (bool): The contents that changed files were found to have are right.

        """
        return self._decide(session, params, operations.retry)

    @_filters
    @ocs_agent.param("reason", default="told by an operator", type=str)
    def ignore(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """ignore(ids=None, path=None, state=None, cause=None, action=None, pub_id=None, \
all_files=False, reason='told by an operator')

        **Task** - Does not archive files, though they are registered. ``retry`` takes it back.

        Parameters:
            reason (str): Is kept with each file.
            ids, path, state, cause, action, pub_id, all_files: See ``retry``.

        """
        return self._decide(session, params, operations.ignore)

    def _decide(
        self, session: ocs_agent.OpSession, params: dict[str, Any], act: Callable[..., str]
    ) -> Reply:
        if not operations.is_chosen(params):
            return False, "Which files? Give a filter, or all_files=True"
        try:
            text = act(self.settings, self.database, params)
        except SocsError as error:
            return False, str(error)
        if self.service is not None:
            self.service.look_now()
        return True, text

    @_filters
    @ocs_agent.param("limit", default=operations.LISTED, type=int, check=lambda n: n > 0)
    def list_failed(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """list_failed(ids=None, path=None, state=None, cause=None, action=None, pub_id=None, \
all_files=False, limit=200)

        **Task** - Lists files that are not archived and not tried again, and those whose archived
        copy is damaged, the newest first.

        Parameters:
            limit (int): At most so many.
            ids, path, state, cause, action, pub_id: See ``retry``.

        Notes:
            The list is in the session data::

                >>> response.session['data']
                {'files': [{'id': 7, 'path': '/data/...', 'state': 'missing',
                            'cause': 'attempts_missing', 'detail': 'there is no such file',
                            'attempts': 5}]}

        """
        try:
            found = operations.list_failed(self.settings, self.database, params)
        except SocsError as error:
            return False, str(error)
        session.data = {"timestamp": time.time(), "files": found}
        return True, f"{len(found)} files"

    @_filters
    @ocs_agent.param("older_than", default=None, type=float, check=lambda days: days >= 0)
    @ocs_agent.param("limit", default=None, type=int, check=lambda n: n > 0)
    def verify(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """verify(ids=None, path=None, state=None, cause=None, action=None, pub_id=None, \
all_files=False, older_than=None, limit=None)

        **Task** - Computes the MD5 of archived files again: what has gone is *lost*, what is
        different *altered*. The longest unverified come first. May be aborted.

        Parameters:
            older_than (float): Only what was not verified for so many days.
            limit (int): At most so many files.
            ids, path, state, cause, action, pub_id: See ``retry``. Without any, all are verified.

        Notes:
            How far it is, and what it found, is in the session data::

                >>> response.session['data']
                {'to_do': 1000, 'looked_at': 700, 'right': 699, 'bytes': 7000000,
                 'counts': {'altered': 1}, 'findings': [{'kind': 'altered', ...}], ...}

        """
        return self._work(session, params, operations.verify)

    @ocs_agent.param("hash", default=False, type=bool)
    @ocs_agent.param("repair", default=False, type=bool)
    @ocs_agent.param("register_dark", default=False, type=bool)
    @ocs_agent.param("min_age", default=60.0, type=float, check=lambda seconds: seconds >= 0)
    def audit(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """audit(hash=False, repair=False, register_dark=False, min_age=60)

        **Task** - Compares the archive with the table, both ways: files without a row (dark), rows
        without a file (lost), files that are not what was archived (altered). Deletes nothing.
        May be aborted.

        Parameters:
            hash (bool): Compare contents. Without it, sizes.
            repair (bool): Have lost and altered files copied again, if they are still where they
                were written.
            register_dark (bool): Make rows for dark files.
            min_age (float): Files younger than this [s] are not called dark.

        Notes:
            How far it is, and what it found, is in the session data, as for ``verify``.

        """
        return self._work(session, params, operations.audit)

    @ocs_agent.param("dry_run", default=True, type=bool)
    def delete_local(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """delete_local(dry_run=True)

        **Task** - Deletes files where they were written, as the policy of ``--prune-policy`` says:
        only what the table says is archived, and whose archived copy is verified at that moment.
        May be aborted.

        Parameters:
            dry_run (bool): Say what would be deleted, and delete nothing.

        Notes:
            Numbers and sizes of the files by outcome are in the session data::

                >>> response.session['data']
                {'dry_run': True, 'total': 1000, 'looked_at': 1000,
                 'files': {'deleted': 900, 'kept': 100}, 'bytes': {...}}

        """
        return self._work(session, params, operations.delete_local)

    def _work(
        self, session: ocs_agent.OpSession, params: dict[str, Any], work: Callable[..., Any]
    ) -> Reply:
        """Result of a Task that takes long."""

        def progress(found: Any) -> bool:
            session.data = {"timestamp": time.time(), **found.as_dict()}
            return bool(session.status == "running")

        try:
            found = work(self.settings, self.database, params, progress)
        except SocsError as error:
            return False, str(error)
        session.data = {"timestamp": time.time(), **found.as_dict()}
        alarming = getattr(found, "alarming", 0)  # copies that were found bad before a deletion
        return session.status == "running" and not alarming, found.summary()


def make_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of this agent, added to ``parser``."""
    parser = parser or argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    return parser


def build(agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> list[Any]:
    """Register the operations; returns what to call when the agent ends."""
    archiver = PysmurfArchiver(agent, args)
    at_once = args.mode == "run"
    agent.register_process("run", archiver.run, end_soon, blocking=False, startup=at_once)
    agent.register_task("retry", archiver.retry)
    agent.register_task("ignore", archiver.ignore)
    agent.register_task("list_failed", archiver.list_failed)
    for task in (archiver.verify, archiver.audit, archiver.delete_local):
        agent.register_task(task.__name__, task, aborter=end_soon, aborter_blocking=False)
    return [archiver.close]


def main(args: list[str] | None = None) -> None:
    """Run the agent."""
    run_agent("PysmurfArchiver", make_parser, build, args)


if __name__ == "__main__":
    main()
