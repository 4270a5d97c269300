"""PysmurfController: runs pysmurf scripts, and shows what they say.

The work is done in :mod:`socs.pysmurf.script` and :mod:`socs.pysmurf.session`; this file wires it
to OCS.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from ocs import ocs_agent
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.threads import deferToThread

from socs.agent import add_message, run_agent, sleep
from socs.errors import ConfigError, NotAllowed, PeerError
from socs.pysmurf.script import Script, find_script, open_output
from socs.pysmurf.session import ScriptSession

SESSION_FEED = "pysmurf_session_data"  # of the monitor
DEFAULT_UDP_HOST = "127.0.0.1"
DEFAULT_UDP_PORT = "8200"

Reply = tuple[bool, str]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _are_arguments(values: list[Any]) -> bool:
    return all(isinstance(value, (str, int, float)) and "\0" not in str(value) for value in values)


def _is_log(value: object) -> bool:
    return isinstance(value, bool) or _is_text(value)


class PysmurfController:
    """Runs pysmurf scripts, one at a time, and collects the session data that they publish.

    Args:
        agent: the OCS agent.
        args: options of :func:`make_parser` and of the site config.

    Raises:
        ConfigError: an option or a variable of the environment is wrong.
    """

    def __init__(self, agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> None:
        self.log = agent.log
        self._python = shutil.which(args.python)
        if self._python is None:
            raise ConfigError(f"--python {args.python}: there is no such program")
        self._roots = [Path(root) for root in args.script_root]
        for root in self._roots:
            if not root.is_dir():
                raise ConfigError(f"--script-root {root}: there is no such directory")
        self._grace: float = args.grace
        self._smurfpub = _smurfpub_environment(args)
        self._closing = False
        self._script: Script | None = None
        self._session: ocs_agent.OpSession | None = None
        self._collected: ScriptSession | None = None
        if args.monitor_id:
            topic = f"{args.address_root}.{args.monitor_id}.feeds.{SESSION_FEED}"
            agent.subscribe_on_start(self._on_feed, topic)

    @ocs_agent.param("script", type=str, check=_is_text)
    @ocs_agent.param("args", default=[], type=list, check=_are_arguments)
    @ocs_agent.param("log", default=True, check=_is_log)
    @inlineCallbacks
    def run(
        self, session: ocs_agent.OpSession, params: dict[str, Any]
    ) -> Generator[Any, Any, Reply]:
        """run(script, args=[], log=True)

        **Task** - Runs a pysmurf script, and succeeds if its exit code is 0. May be aborted.

        Parameters:
            script (str): Path of the script, below one of the ``--script-root`` if there are any.
            args (list): Command line arguments for the script: texts and numbers.
            log (bool or str): Where the script's output goes: ``True`` for this agent's log, the
                path of a file to append to, or ``False`` for nowhere.

        Notes:
            The script finds ``SMURFPUB_BACKEND``, ``SMURFPUB_ID``, ``SMURFPUB_UDP_HOST`` and
            ``SMURFPUB_UDP_PORT`` in its environment. What it publishes with them as
            ``session_data`` (a dict) becomes part of the session data of this Task, and each
            ``session_log`` (a text) one of its messages; what comes within ``--grace`` seconds
            after the script's end counts too. For example::

                active_channels = S.which_on(0)
                datafile = S.stream_data_on()
                S.pub.publish({'datafile': datafile, 'active_channels': active_channels},
                              'session_data')

            The key ``_run`` is this agent's own. ``exit_code`` is -N if signal N ended the script;
            ``ignored`` counts messages of the script that were of no use, by cause, and
            ``foreign_messages`` those of other publishers::

                >>> response.session['data']
                {'datafile': '/data/smurf_data/20200316/1584401673/outputs/1584402020.dat',
                 'active_channels': [0, 1, 2, 3, 4],
                 '_run': {'script': '/config/scripts/stream.py', 'args': [], 'pid': 1234,
                          'started': 1584402019.2, 'ended': 1584402031.8, 'exit_code': 0,
                          'ignored_messages': 0, 'ignored': {}, 'foreign_messages': 12}}

        """
        arguments = [str(argument) for argument in params["args"]]
        about: dict[str, Any] = {"script": params["script"], "args": arguments, "pid": None}
        about.update(started=None, ended=None, exit_code=None)
        self._collected = ScriptSession(self._smurfpub["SMURFPUB_ID"], about)
        session.data = self._collected.data
        self._session = session
        try:
            path = yield deferToThread(find_script, params["script"], self._roots)
            output = yield deferToThread(open_output, params["log"])
            self._script = script = self._start(path, arguments, output, session)
            about.update(pid=script.pid, started=time.time())
            ending = yield script.ended
            about.update(ended=time.time(), exit_code=ending.exit_code)
            yield sleep(self._grace)
        except (PeerError, OSError) as error:
            return False, str(error)
        finally:
            self._script = self._session = self._collected = None
        return ending.success, str(ending)

    @ocs_agent.param("_")
    def abort(self, session: ocs_agent.OpSession, params: dict[str, Any]) -> Reply:
        """abort()

        **Task** - Ends the script that is running: SIGTERM to it and to all that it has started,
        SIGKILL 5 seconds later. The Task ``run`` then fails.
        """
        if self._session is None:
            return False, "No script is running"
        self._abort_run(self._session, params)
        return True, "Told the script to end"

    def _abort_run(self, session: ocs_agent.OpSession, params: object) -> Deferred[Reply]:
        """Abort the Task ``run``."""
        if session.status != "done":
            session.set_status("stopping")
        if self._script is not None:
            self._script.terminate()
        return succeed((True, "Told the script to end"))

    def close(self) -> Deferred[None]:
        """End the script, if there is one, start no other, and fire when it has ended."""
        self._closing = True
        if self._session is not None:
            self._abort_run(self._session, {})
        return succeed(None) if self._script is None else self._script.close()

    def _start(
        self, path: str, arguments: list[str], output: int | None, session: ocs_agent.OpSession
    ) -> Script:
        name = os.path.basename(path)

        def on_line(stream: str, line: str) -> None:
            tell = self.log.info if stream == "out" else self.log.warn
            tell("{script}: {line}", script=name, line=line)

        assert self._python is not None
        command = [self._python, "-u", path, *arguments]
        self.log.info("running {command}", command=command)
        try:
            if self._closing or session.status == "stopping":
                raise NotAllowed("Aborted before the script was started")
            return Script(command, {**os.environ, **self._smurfpub}, output, on_line)
        finally:
            if output is not None:
                os.close(output)

    def _on_feed(self, event: Any) -> None:
        """Take an event of the monitor's feed: the message, and the feed's description."""
        message = event[0] if isinstance(event, (list, tuple)) and event else event
        if self._collected is None or self._session is None:
            return
        line = self._collected.take(message)
        if line is not None:
            add_message(self._session, line)


def _smurfpub_environment(args: argparse.Namespace) -> dict[str, str]:
    """What the script's publisher reads from its environment."""
    env = os.environ
    port = str(args.udp_port or env.get("SMURFPUB_UDP_PORT") or DEFAULT_UDP_PORT)
    if not port.isdecimal():
        raise ConfigError(f"SMURFPUB_UDP_PORT is {port!r}, not a port")
    return {
        "SMURFPUB_BACKEND": env.get("SMURFPUB_BACKEND") or "udp",
        "SMURFPUB_ID": args.smurfpub_id or env.get("SMURFPUB_ID") or args.instance_id,
        "SMURFPUB_UDP_HOST": args.udp_host or env.get("SMURFPUB_UDP_HOST") or DEFAULT_UDP_HOST,
        "SMURFPUB_UDP_PORT": port,
    }


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return seconds


def make_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """The options of this agent, added to ``parser``."""
    parser = parser or argparse.ArgumentParser()
    add = parser.add_argument_group("Agent Options").add_argument
    add("-m", "--monitor-id", help="instance-id of the PysmurfMonitor that hears the scripts")
    own_id = "publisher id of the scripts (default: $SMURFPUB_ID, else the instance-id)"
    add("--smurfpub-id", metavar="ID", help=own_id)
    host = f"where the monitor listens (default: $SMURFPUB_UDP_HOST, else {DEFAULT_UDP_HOST})"
    add("--udp-host", metavar="HOST", help=host)
    port = f"its UDP port (default: $SMURFPUB_UDP_PORT, else {DEFAULT_UDP_PORT})"
    add("--udp-port", type=int, metavar="PORT", help=port)
    roots = "run only scripts below these directories (default: any script)"
    add("--script-root", nargs="+", default=[], metavar="DIR", help=roots)
    python = "interpreter of the scripts (default: the one that runs this agent)"
    add("--python", default=sys.executable, metavar="PROGRAM", help=python)
    grace = "seconds after the end of a script in which its messages still count (default: 1)"
    add("--grace", type=_seconds, default=1.0, metavar="SECONDS", help=grace)
    return parser


def build(agent: ocs_agent.OCSAgent, args: argparse.Namespace) -> list[Any]:
    """Register the operations; returns what to call when the agent ends."""
    controller = PysmurfController(agent, args)
    agent.register_task("run", controller.run, aborter=controller._abort_run, blocking=False)
    agent.register_task("abort", controller.abort, blocking=False)
    return [controller.close]


def main(args: list[str] | None = None) -> None:
    """Run the agent."""
    run_agent("PysmurfController", make_parser, build, args)


if __name__ == "__main__":
    main()
