"""The shell that all our agents share: options, logging, start and end of the process.

An agent file holds ``make_parser()``, a ``build(agent, args)`` that registers its operations, and::

    def main(args=None):
        run_agent("MyAgent", make_parser, build, args)

How an agent ends. On SIGINT and SIGTERM OCS aborts the running Tasks, stops the running Processes,
waits 3 seconds and stops the reactor. We add what it leaves out: the callables that ``build``
returns are called then, and waited for, and a process that hangs after that is ended.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import yaml
from ocs import ocs_agent, site_config
from twisted.application import internet
from twisted.application.internet import backoffPolicy
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from txaio.tx import start_logging

from socs.errors import ConfigError, OurError, SocsError, StorageUnavailable
from socs.problems import printable

SHUTDOWN_TIMEOUT = 10.0  # seconds for the callables that ``build`` returns, all together
HANG_TIMEOUT = 20.0  # seconds after which a process that should have ended is ended the hard way
EXIT_BAD_CONFIG = 2  # as argparse
LONGEST_RETRY = 5.0  # seconds between two attempts to reach the router
STATUS_PERIOD = 1.0  # seconds between updates of session data
STUCK = 5.0  # seconds without an answer after which a disk or a file server counts as hanging
STDERR = 2  # file descriptor

T = TypeVar("T")

reactor: Any = _reactor  # typed as a bare module by Twisted

Reply = tuple[bool, str]  # of an operation: whether it succeeded, and what to say
OnShutdown = Callable[[], Any]
Build = Callable[[Any, argparse.Namespace], Iterable[OnShutdown] | None]


def sleep(seconds: float) -> Deferred[None]:
    """Fires after a time, without blocking the reactor."""
    return deferLater(reactor, seconds, lambda: None)


def end_soon(session: Any, params: Any) -> Deferred[tuple[bool, str]]:
    """Stops a Process, or aborts a Task, that ends when it finds its session *stopping*.

    For the reactor's thread: register a Task with ``aborter_blocking=False``.
    """
    session.set_status("stopping")
    return succeed((True, f"{session.op_name} will end"))


def add_message(session: Any, text: str) -> None:
    """Add text from outside to the messages of an OCS session; for the reactor's thread.

    As ``session.add_message``, which would take braces in it for fields of a log format.
    """
    session.messages.append((time.time(), text))
    session.app.log.info(
        "{op}:{id} {text}", op=session.op_name, id=session.session_id, text=printable(text)
    )


@inlineCallbacks
def patiently(
    work: Deferred[T], *, wanted: Callable[[], bool], stuck: Callable[[], object]
) -> Generator[Deferred[Any], Any, T | None]:
    """Wait for ``work`` in a thread, which a disk or a file server may hold up for ever.

    Args:
        work: of ``deferToThread``.
        wanted: while this is true; after that the result is ``None``, and the work left alone.
        stuck: called each second once it has taken longer than :data:`STUCK`.
    """
    began = told_at = reactor.seconds()
    while not work.called:
        now = reactor.seconds()
        if not wanted():
            work.addErrback(lambda failure: None)
            return None
        if now - began > STUCK and now - told_at > 1.0:
            told_at = now
            stuck()
        yield sleep(0.02)
    result: T = yield work
    return result


@inlineCallbacks
def show_status(
    session: Any,
    status: Callable[[], dict[str, Any]],
    place: object,
    then: Callable[[dict[str, Any]], object] = lambda found: None,
) -> Generator[Deferred[Any], Any, None]:
    """Show a status in the session data of a Process each second, until it is told to end.

    The session is *degraded* while there are ``troubles``.

    Args:
        session: of the Process.
        status: gives what to show, with a list ``troubles``; called in a thread. When it raises
            StorageUnavailable, that is the trouble.
        place: directory that hangs when ``status`` takes long.
        then: called with each status, in the reactor's thread.
    """

    def wanted() -> bool:
        return session.status in ("starting", "running")

    def troubled(trouble: str) -> None:
        session.degraded = True
        session.data["troubles"] = [trouble]

    while wanted():
        try:
            found = yield patiently(
                deferToThread(status), wanted=wanted, stuck=lambda: troubled(f"{place} hangs")
            )
        except StorageUnavailable as error:
            troubled(str(error))
        else:
            if found is not None:
                session.data = {"timestamp": time.time(), **found}
                session.degraded = bool(found["troubles"])
                then(found)
        yield sleep(STATUS_PERIOD)


def reply_of(part: T | None, act: Callable[[T], str], missing: str) -> Reply:
    """Reply of a Task that lets ``act`` do something with ``part``; ``missing`` if it is None."""
    if part is None:
        return False, missing
    try:
        return True, act(part)
    except SocsError as error:
        return False, str(error)


def line_logger(log: Any) -> Callable[[str], None]:
    """What writes lines, from any thread, to the log of an agent."""

    def write(text: str) -> None:
        reactor.callFromThread(log.info, "{text}", text=text)

    return write


class _NotGiven:
    """Marks an option that was neither on the command line nor in the instance's arguments."""

    def __repr__(self) -> str:
        return "not given"


NOT_GIVEN = _NotGiven()


def parse_args(
    agent_class: str, parser: argparse.ArgumentParser, args: Sequence[str] | None = None
) -> argparse.Namespace:
    """Options of an agent, from the site config and the command line.

    As ``ocs.site_config.parse_args``, but ``crossbar_timeout`` is 0 (wait for a lost router for
    ever) unless the host's block, the instance's arguments or the command line say otherwise. With
    the 10 s that OCS assumes, agents end themselves after an outage of some seconds, even when they
    have rejoined.

    Raises:
        ConfigError: the site config cannot be read, or does not name this agent.
    """
    parser.set_defaults(crossbar_timeout=NOT_GIVEN)
    try:
        parsed: argparse.Namespace = site_config.parse_args(
            agent_class=agent_class, parser=parser, args=None if args is None else list(args)
        )
        if parsed.crossbar_timeout is NOT_GIVEN:
            parsed.crossbar_timeout = _host_setting(parsed, "crossbar_timeout") or 0
    except AssertionError as error:  # what OCS says when it has nothing to look in
        raise ConfigError(
            "no site config: set OCS_CONFIG_DIR to its directory, or give --site-file"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read the site config: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the site config is not YAML: {error}") from error
    except (KeyError, RuntimeError, TypeError, AttributeError) as error:
        asked = " ".join([f"agent class {agent_class}", *(args or ())])
        raise ConfigError(f"site config: {_text(error)} (asked for {asked})") from error
    return parsed


def _text(error: Exception) -> str:
    reason = str(error.args[0]) if error.args else type(error).__name__
    is_key = isinstance(error, KeyError) and " " not in reason
    return f"the key {reason!r} is missing" if is_key else reason


def _host_setting(args: argparse.Namespace, key: str) -> Any:
    """A key of this host's block in the site config; ``None`` without one."""
    if args.site == "none":
        return None
    # OCS has filled in site_file, and refuses to be given both.
    look_up = argparse.Namespace(**{**vars(args), "site": None})
    _, host, _ = site_config.get_config(look_up, agent_class="*host*")
    return host.data.get(key)


def run_agent(
    agent_class: str,
    make_parser: Callable[[], argparse.ArgumentParser],
    build: Build,
    args: Sequence[str] | None = None,
) -> None:
    """Run an agent until it is told to end.

    Args:
        agent_class: its class in the site config.
        make_parser: makes the parser of its own options.
        build: registers the operations of the OCS agent that it is given, with the options parsed.
            It returns callables (or nothing) that are called when the process ends; those that
            return a Deferred are waited for, for :data:`SHUTDOWN_TIMEOUT` together.
        args: command line; ``None`` for the process's own.

    Raises:
        SystemExit: with status 2 for a wrong setting, which is named on stderr in one line.
    """
    try:
        _start_logging()
        parsed = parse_args(agent_class, make_parser(), args)
        agent, runner = ocs_agent.init_site_agent(parsed)
        on_shutdown = list(build(agent, parsed) or ())
    except OurError as error:
        # Not to sys.stderr, which goes to the log by now.
        os.write(STDERR, f"{agent_class}: {_one_line(error)}\n".encode())
        raise SystemExit(EXIT_BAD_CONFIG) from None
    _run_missing_aborters_in_threads(agent)
    _retry_often()
    reactor.addSystemEventTrigger("before", "shutdown", _shut_down, on_shutdown, agent.log)
    runner.run(agent, auto_reconnect=True)


def _retry_often() -> None:
    """Dial a lost router every few seconds, however long it has been away.

    autobahn takes Twisted's policy as it is when it starts, and with it waits for up to a minute:
    that long an agent would stay away from a router that is back.
    """
    internet.backoffPolicy = partial(backoffPolicy, maxDelay=LONGEST_RETRY)


def _start_logging() -> None:
    level = os.environ.get("LOGLEVEL") or "info"
    try:
        start_logging(level=level)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ConfigError(f"LOGLEVEL: {error}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _run_missing_aborters_in_threads(agent: Any) -> None:
    """Keep a Task that cannot be aborted from keeping the agent alive.

    To end, OCS calls the aborter of each running Task, also where there is none. In the reactor the
    TypeError breaks off the shutdown, and the process runs on; in a thread it is merely printed.
    """
    for task in agent.tasks.values():
        if task.aborter is None:
            task.aborter_blocking = True


def _shut_down(callables: Iterable[OnShutdown], log: Any) -> Deferred[Any]:
    """Call what wants to be called; fires when all have finished, or when time is up."""
    faulthandler.dump_traceback_later(HANG_TIMEOUT, exit=True, file=STDERR)
    waiting = []
    for call in callables:
        name = getattr(call, "__qualname__", repr(call))
        waiting.append(maybeDeferred(call).addErrback(_report, name, log))
    everything: Deferred[Any] = DeferredList(waiting)
    return everything.addTimeout(SHUTDOWN_TIMEOUT, reactor).addErrback(_report, "shutdown", log)


def _report(failure: Any, name: str, log: Any) -> None:
    log.error("{name} failed while ending: {failure}", name=name, failure=failure)
