"""PysmurfMonitor: announced files become rows; session data and metadata become feeds.

The work is done in :mod:`socs.pysmurf`; this file wires it to OCS.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from ocs import ocs_agent
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.threads import deferToThread

from socs.agent import Reply, end_soon, line_logger, reply_of, run_agent, show_status
from socs.dataroots import DataRoots
from socs.db import pysmurf_files_manager
from socs.db.engine import Database
from socs.errors import OurError, SocsError, StorageUnavailable
from socs.problems import Problems
from socs.pysmurf.decode import Message
from socs.pysmurf.publish import FeedPublisher
from socs.pysmurf.rescan import Rescan
from socs.pysmurf.settings import add_options, row_constants, stream_settings
from socs.pysmurf.stream import PysmurfStream

NOT_LISTENING = "Not listening: start the process run first"


class PysmurfMonitor:
    """Registers the files that pysmurf announces over UDP, and relays its session data.

    It listens from the moment it is started, also while the router or the database is away.

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
        self.create_table = args.create_table
        self.database = Database()
        self.roots = DataRoots(args.data_root)
        self.feeds = FeedPublisher(agent, problems=Problems(self._report))
        self.settings = stream_settings(args)
        self.constants = row_constants(args)
        self._closing = False
        self.stream: PysmurfStream | None = None
        self._listen()

    def _listen(self) -> None:
        stream = PysmurfStream(
            self.settings,
            self.constants,
            self.database,
            on_messages=self._on_messages,
            report=self._report,
        )
        self.stream = stream  # before its first message
        stream.start()
        granted = stream.receiver.receive_buffer_granted
        self._report(
            f"listening on {stream.receiver.address}:{stream.receiver.port} "
            f"({stream.receiver.method}, receive buffer {granted} bytes), "
            f"registering in {self.database.description}"
        )

    def _on_messages(self, messages: list[Message]) -> None:
        """In the ingest thread: messages that name no file."""
        if self.stream is not None and self.feeds.admit(messages, self.stream.counters):
            reactor.callFromThread(self._publish, messages)

    def _publish(self, messages: list[Message]) -> None:
        if self.stream is not None:
            self.feeds.publish(messages, self.stream.counters)

    def datagramReceived(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take in one datagram as if it had come over UDP.

        Args:
            data: what the pysmurf publisher sends: one JSON object.
            addr: (host, port) of the sender, host as a dotted IPv4 address.

        The monitor itself receives in batches (:class:`socs.wire.udp.UdpReceiver`); this is for
        programs that have datagrams from elsewhere.
        """
        if self.stream is not None:
            self.stream.take_in_one(data, addr)

    # -- operations -----------------------------------------------------------------------------

    @ocs_agent.param("create_table", default=None, type=bool)
    def init(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """init(create_table=True)

        **Task** - Creates the files table if it is missing.

        Parameters:
            create_table (bool): Create the table if it does not exist yet. Defaults to the
                option ``--create-table``.

        """
        wanted = params["create_table"]
        create = self.create_table if wanted is None else wanted
        try:
            made = pysmurf_files_manager.ensure_table(self.database, create=create)
        except SocsError as error:
            return False, str(error)
        return True, f"{'Created' if made else 'Found'} the table in {self.database.description}"

    @ocs_agent.param("_")
    @inlineCallbacks
    def run(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Any:
        """run()

        **Process** - Receives announcements and registers the files. Started with the agent.

        Notes:
            The session data hold every counter by name (see the counters reference), what is
            waiting, and why anything is held up::

                >>> response.session['data']
                {'timestamp': 1700000000.0,
                 'counters': {'datagrams_received': 1200, 'files_registered': 1187, ...},
                 'unaccounted': {},
                 'troubles': [],
                 'listening': {'address': '127.0.0.1:8200', 'method': 'recvmmsg', ...},
                 'backlog': 0,
                 'last_files': ['/data/smurf_data/.../1700000000_tune.npy'],
                 'publishers': [{'id': 'crate1slot2', 'sequence_lost': 0, ...}],
                 'database': {'where': 'MariaDB ocs@db:3306/files', 'state': 'up', ...},
                 'spool': {'queued': 0, 'waiting': 0, 'failed': 0, 'bytes': 40960},
                 'in_progress': 0, 'failed_files': [], 'defect': None}

            The session is *degraded* while ``troubles`` is not empty.

        """
        if self.stream is None:
            try:
                yield deferToThread(self._listen)
            except OurError as error:
                return False, str(error)
        yield show_status(
            session,
            lambda: self.stream.status(),  # noqa: PLW0108  none if all ended by now
            self.settings.spool_dir,
            then=lambda status: self.feeds.flush(status["counters"]),
        )
        yield self.close()
        return True, "Stopped listening"

    @inlineCallbacks
    def close(self) -> Any:
        """Stop listening; what was received is in the spool, or published, afterwards."""
        if self.stream is not None and not self._closing:
            self._closing = True
            try:
                numbers = yield deferToThread(self.stream.stop)
                self.feeds.flush(numbers)
            except StorageUnavailable as error:
                self._report(f"at the end: {error}")
            finally:
                self.stream, self._closing = None, False

    @ocs_agent.param("cause", default=None, type=str)
    def retry_failed(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """retry_failed(cause=None)

        **Task** - Tries again to register the files that have come to rest as failed.

        Parameters:
            cause (str): Only those that failed for this cause, as shown in ``failed_files`` of
                the session data of ``run``. Defaults to all.

        """
        cause = params["cause"]
        return self._tell(lambda stream: f"Trying {stream.retry_failed(cause)} files again")

    @ocs_agent.param("cause", type=str)
    def discard_failed(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """discard_failed(cause)

        **Task** - Forgets files that have come to rest as failed: they get no row.

        Parameters:
            cause (str): Those that failed for this cause, as shown in ``failed_files``.

        """
        cause = params["cause"]
        return self._tell(lambda stream: f"Forgot {stream.discard_failed(cause)} files")

    def _tell(self, act: Callable[[PysmurfStream], str]) -> Reply:
        """Result of a Task that lets ``act`` do something with the stream."""
        return reply_of(self.stream, act, NOT_LISTENING)

    @ocs_agent.param("path", type=str)
    @ocs_agent.param("since", default=0.0, type=float)
    @ocs_agent.param("min_age", default=60.0, type=float, check=lambda seconds: seconds >= 0)
    @ocs_agent.param("action", default=None, type=str)
    @ocs_agent.param("pub_id", default=None, type=str)
    @ocs_agent.param("dry_run", default=False, type=bool)
    def rescan(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """rescan(path, since=0, min_age=60, action=None, pub_id=None, dry_run=False)

        **Task** - Registers the files below a directory that are not in the table: never
        announced, or announced while nobody listened. May be aborted.

        Parameters:
            path (str): Directory, below one of the ``--data-root``.
            since (float): Leave alone files last changed before this UNIX time [s].
            min_age (float): Leave alone files changed less than this many seconds ago.
            action (str): Action to note in their rows.
            pub_id (str): Publisher id to note in their rows.
            dry_run (bool): Only look.

        Notes:
            The session data say how far it is::

                >>> response.session['data']
                {'looked_at': 1200, 'known': 1180, 'queued': 20, 'too_young': 0,
                 'unfinished': 0, 'unreadable': 0,
                 'examples': ['/data/.../1700000000_tune.npy', ...]}

        """
        if self.stream is None:
            return False, NOT_LISTENING

        def progress(found: Any) -> bool:
            session.data = found.as_dict()
            return session.status == "running"

        work = Rescan(params.pop("path"), **params)
        try:
            found = work.run(
                *(self.stream.spool, self.database, self.roots),
                counters=self.stream.counters,
                now=time.time(),
                progress=progress,
            )
        except SocsError as error:
            return False, str(error)
        session.data = found.as_dict()
        return session.status == "running", found.summary(dry_run=work.dry_run)


def make_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of this agent, added to ``parser``."""
    parser = parser or argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    return parser


def build(agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> list[Any]:
    """Register the operations; returns what to call when the agent ends."""
    monitor = PysmurfMonitor(agent, args)
    agent.register_task("init", monitor.init, startup=True)
    agent.register_process("run", monitor.run, end_soon, blocking=False, startup=True)
    agent.register_task("retry_failed", monitor.retry_failed)
    agent.register_task("discard_failed", monitor.discard_failed)
    agent.register_task("rescan", monitor.rescan, aborter=end_soon, aborter_blocking=False)
    return [monitor.close]


def main(args: list[str] | None = None) -> None:
    """Run the agent."""
    run_agent("PysmurfMonitor", make_parser, build, args)


if __name__ == "__main__":
    main()
