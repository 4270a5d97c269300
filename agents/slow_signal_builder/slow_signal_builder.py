"""SlowSignalBuilder: packets of a camera's modules become readouts, published, stored, registered.

The work is done in :mod:`socs.slow_signal`; this file wires it to OCS.
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
from socs.db.engine import Database
from socs.errors import OurError, StorageUnavailable

try:
    from socs.slow_signal.builder import Builder
    from socs.slow_signal.feeds import SlowSignalFeeds
    from socs.slow_signal.options import add_options, builder_settings
    from socs.slow_signal.seconds import Second
except ModuleNotFoundError as error:  # of the extra
    raise ModuleNotFoundError(
        f"{error}: pip install 'socs[slow-signal]'", name=error.name
    ) from error

NOT_LISTENING = "Not listening: start the process acq first"
WRITER = ("folder", "file_prefix", "file_enumerator", "filesize_lim", "layout")


class SlowSignalBuilder:
    """Puts the readouts of a camera of 32 TARGET modules together; publishes and stores them.

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
        self.settings = builder_settings(args)
        self.database = Database()
        self.feeds = SlowSignalFeeds(agent)
        self._closing = False
        self.builder: Builder | None = None
        self._listen()

    def _listen(self) -> None:
        builder = Builder(
            self.settings, self.database, on_second=self._on_second, report=self._report
        )
        builder.start()
        self.builder = builder
        for line in builder.introduction():
            self._report(line)

    def _on_second(self, second: Second) -> None:
        """In a thread of the stream."""
        reactor.callFromThread(self._publish, second)

    def _publish(self, second: Second) -> None:
        if self.builder is not None:
            self.feeds.take(second, self.builder.stream.counters)

    # -- operations -----------------------------------------------------------------------------

    @ocs_agent.param("_")
    @inlineCallbacks
    def acq(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Any:
        """acq()

        **Process** - Receives packets, publishes readouts and writes files. Started with the agent.

        Notes:
            The session data hold every counter by name (see the counters reference), the state of
            each module, publisher and file, and why anything is held up::

                >>> response.session['data']
                {'timestamp': 1700000000.0,
                 'counters': {'datagrams_received': 3200, 'readouts_complete': 1000, ...},
                 'unaccounted': {},
                 'troubles': [],
                 'rate': 10.0,
                 'listening': {'address': '0.0.0.0:2009', 'method': 'recvmmsg', ...},
                 'modules': [{'module': 0, 'packets': 100, ...}, ...],
                 'publishing': True,
                 'publishers': [{'name': '127.0.0.101:5555', 'published': 1000, ...}],
                 'writer': {'file': '/data/.../SlowSignalData2026-11-21.13.05.hdf5', ...},
                 'last_files': ['/data/.../SlowSignalData2026-11-21.12.05.hdf5'],
                 'backlog': 0,
                 'database': {'where': 'MariaDB ocs@db:3306/files', 'state': 'up', ...},
                 'failed_files': []}

            The session is *degraded* while ``troubles`` is not empty.

        """
        if self.builder is None:
            try:
                yield deferToThread(self._listen)
            except OurError as error:
                return False, str(error)
        yield show_status(
            session,
            lambda: self.builder.status(),  # noqa: PLW0108  none if all ended by now
            self.settings.spool_dir,
            then=lambda status: self.feeds.publish_counters(status["counters"], time.time()),
        )
        yield self.close()
        return True, "Stopped listening"

    @inlineCallbacks
    def close(self) -> Any:
        """Stop listening; what was received is published and in a complete file afterwards."""
        if self.builder is not None and not self._closing:
            self._closing = True
            try:
                yield deferToThread(self.builder.stop)
            except StorageUnavailable as error:
                self._report(f"at the end: {error}")
            finally:
                self.builder, self._closing = None, False

    @ocs_agent.param("_")
    def reset_readout_count(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """reset_readout_count()

        **Task** - Has the next readout be number 1, which begins a new file.

        """

        def reset(builder: Builder) -> str:
            builder.stream.reset_readout_count()
            return "Readout count reset"

        return self._tell(reset)

    @ocs_agent.param("publish", type=bool)
    def set_publish_readouts(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """set_publish_readouts(publish)

        **Task** - Publishes readouts, or only counts and stores them.

        Parameters:
            publish (bool): Whether readouts are published from here on.

        """

        def switch(builder: Builder) -> str:
            builder.stream.set_publishing(params["publish"])
            return f"{'Unpaused' if params['publish'] else 'Paused'} readout publishing"

        return self._tell(switch)

    @ocs_agent.param("_")
    def new_file(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """new_file()

        **Task** - Begins a new file with the next readout; the one until then is completed, and
        registered.

        """
        if self.builder is not None and not self.builder.stream.new_file():
            return False, "No files are written: see the task set_writer"
        return self._tell(lambda builder: "The next readout begins a new file")

    @ocs_agent.param("enabled", default=True, type=bool)
    @ocs_agent.param("folder", default=None, type=str)
    @ocs_agent.param("file_prefix", default=None, type=str)
    @ocs_agent.param("file_enumerator", default=None, type=str)
    @ocs_agent.param("filesize_lim", default=None, type=float, check=lambda mib: mib >= 0)
    @ocs_agent.param("layout", default=None, type=str)
    def set_writer(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """set_writer(enabled=True, folder=None, file_prefix=None, file_enumerator=None, \
filesize_lim=None, layout=None)

        **Task** - Writes other files from here on, or none. No readout is lost between the two.
        What is not given stays as it was.

        Parameters:
            enabled (bool): Whether files are written.
            folder (str): Where they are, below one of the ``--data-root``.
            file_prefix (str): How their names begin.
            file_enumerator (str): How they go on: ``date``, ``order`` or ``none``.
            filesize_lim (float): Size at which a new file begins [MiB]; 0 for no limit.
            layout (str): ``native``, ``seed`` or ``ssdaq``.

        """
        changes = {name: params[name] for name in WRITER if params[name] is not None}
        return self._tell(lambda builder: builder.set_writer(params["enabled"], changes))

    @ocs_agent.param("cause", default=None, type=str)
    def retry_failed(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """retry_failed(cause=None)

        **Task** - Tries again to register the files that have come to rest as failed.

        Parameters:
            cause (str): Only those that failed for this cause, as shown in ``failed_files`` of
                the session data of ``acq``. Defaults to all.

        """
        cause = params["cause"]
        return self._tell(lambda builder: f"Trying {builder.retry_failed(cause)} files again")

    def _tell(self, act: Callable[[Builder], str]) -> Reply:
        """Result of a Task that lets ``act`` do something with the builder."""
        return reply_of(self.builder, act, NOT_LISTENING)


def make_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of this agent, added to ``parser``."""
    parser = parser or argparse.ArgumentParser()
    add_options(parser.add_argument_group("Agent Options"))
    return parser


def build(agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> list[Any]:
    """Register the operations; returns what to call when the agent ends."""
    builder = SlowSignalBuilder(agent, args)
    agent.register_process("acq", builder.acq, end_soon, blocking=False, startup=True)
    agent.register_task("reset_readout_count", builder.reset_readout_count)
    agent.register_task("set_publish_readouts", builder.set_publish_readouts)
    agent.register_task("new_file", builder.new_file)
    agent.register_task("set_writer", builder.set_writer)
    agent.register_task("retry_failed", builder.retry_failed)
    return [builder.close]


def main(args: list[str] | None = None) -> None:
    """Run the agent."""
    run_agent("SlowSignalBuilder", make_parser, build, args)


if __name__ == "__main__":
    main()
