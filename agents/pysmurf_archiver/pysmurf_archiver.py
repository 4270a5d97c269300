"""PysmurfArchiver: registered files are copied to storage, verified, and their rows say so.

The work is done in :mod:`socs.archive`; this file wires it to OCS.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from ocs import ocs_agent
from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.threads import deferToThread

from socs.agent import patiently, run_agent, sleep
from socs.archive.publish import ArchiveFeeds
from socs.archive.service import ArchiveService
from socs.archive.settings import add_options, archive_settings
from socs.db.engine import Database
from socs.errors import OurError

PERIOD = 1.0  # s between updates of session data
Reply = tuple[bool, str]


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
        self.settings = archive_settings(args)
        self.database = Database()
        self.feeds = ArchiveFeeds(agent)
        self.service: ArchiveService | None = None

    def _report(self, text: str) -> None:
        """A line for the log, from any thread."""
        reactor.callFromThread(self.log.info, "{text}", text=text)

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
        while session.status in ("starting", "running"):
            yield self._update(session, service)
            yield sleep(PERIOD)
        yield self.close()
        self._show(session, service.status())
        return True, "Stopped archiving"

    def _start(self) -> ArchiveService:
        self.service = ArchiveService(self.settings, self.database, report=self._report)
        self.service.start()
        return self.service

    @inlineCallbacks
    def _update(self, session: ocs_agent.OpSession, service: ArchiveService) -> Any:
        def stuck() -> None:
            session.degraded = True
            session.data["troubles"] = [f"{self.settings.data_dir} hangs"]

        status = yield patiently(
            deferToThread(service.status),
            wanted=lambda: session.status in ("starting", "running"),
            stuck=stuck,
        )
        if status is not None:
            session.degraded = bool(status["troubles"])
            self._show(session, status)

    def _show(self, session: ocs_agent.OpSession, status: dict[str, Any]) -> None:
        session.data = {"timestamp": time.time(), **status}
        self.feeds.update(status)

    def _stop_run(self, session: ocs_agent.OpSession, params: Any) -> Deferred[Reply]:
        """Stop the Process ``run``."""
        session.set_status("stopping")
        return succeed((True, "Will stop archiving"))

    @inlineCallbacks
    def close(self) -> Any:
        """Stop archiving; what is under way is done again after the next start."""
        service, self.service = self.service, None
        if service is not None:
            yield deferToThread(service.stop)


def make_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of this agent, added to ``parser``."""
    parser = parser or argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    return parser


def build(agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> list[Any]:
    """Register the operations; returns what to call when the agent ends."""
    archiver = PysmurfArchiver(agent, args)
    at_once = args.mode == "run"
    agent.register_process("run", archiver.run, archiver._stop_run, blocking=False, startup=at_once)
    return [archiver.close]


def main(args: list[str] | None = None) -> None:
    """Run the agent."""
    run_agent("PysmurfArchiver", make_parser, build, args)


if __name__ == "__main__":
    main()
