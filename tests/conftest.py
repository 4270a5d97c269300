"""Fixtures for all tests: private servers, sites, and a guard against leftovers."""

import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, settings

from socs.sim.site import AgentInstance, Site
from socs.testing import wait_until
from socs.testing.mariadb import Database, MariaDB

LEFTOVER_TIMEOUT = 5.0  # seconds that threads and processes of a finished test have to end
# Daemon threads do not keep a process alive, so Python lets them pass; ours must end all the same.
OUR_THREADS = (
    "udp-",
    "ingest",
    "registrar",
    "hash-",
    "tcp-cutter",
    "archiver",
    "copy-",
    "pull",
    "slow-signal-",
    "readout-listener-",
    "tango-poll",
    "tango-lines",
    "epics-events",
    "epics-cainfo",
    "pv-monitor-",
)
# Other programs may slow this one down at any moment; each test has its own time-out.
settings.register_profile(
    "socs", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("socs")
# A shell starts background jobs with SIGINT ignored, and what they start would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Children of fixtures that live for the whole session and may be started by any test.
_session_children: set[int] = set()


def _threads() -> set[threading.Thread]:
    return {
        thread
        for thread in threading.enumerate()
        if not thread.daemon or thread.name.startswith(OUR_THREADS)
    }


def _is_parent() -> bool:
    """Whether this process has any child: a quick look, while psutil reads all of /proc."""
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError):  # the thread has ended
            if children.read_bytes():
                return True
    return False


def _children() -> set[psutil.Process]:
    if not _is_parent():
        return set()
    children = psutil.Process().children(recursive=True)
    return {child for child in children if child.pid not in _session_children}


def _describe(thing: threading.Thread | psutil.Process) -> str:
    if isinstance(thing, threading.Thread):
        return f"thread {thing.name!r}"
    try:
        return f"process {thing.pid} {' '.join(thing.cmdline())!r}"
    except psutil.Error:
        return f"process {thing.pid}"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves threads or child processes behind."""
    threads, children = _threads(), _children()
    yield

    def leftovers() -> list[threading.Thread | psutil.Process]:
        return [*(_threads() - threads), *(_children() - children)]

    try:
        wait_until(lambda: not leftovers(), LEFTOVER_TIMEOUT)
    except TimeoutError:
        pytest.fail("the test left behind: " + ", ".join(map(_describe, leftovers())))


@pytest.fixture(scope="session")
def shared_router(tmp_path_factory) -> Iterator[Site]:
    """A router for the whole session, as each takes seconds; for tests that leave it running."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with Site(tmp_path_factory.mktemp("router")) as made:
        made.start_router()
        after = {child.pid for child in psutil.Process().children(recursive=True)}
        _session_children.update(after - before)
        yield made


@pytest.fixture
def site(request, tmp_path) -> Iterator[Callable[..., Site]]:
    """Make a site: ``site([AgentInstance(...)], router=True, **settings of Site)``.

    Its router runs, unless ``router=False``. Everything is killed at the end of the test. It is
    the router of all tests, unless the test is marked ``own_router``.
    """
    with ExitStack() as stack:

        def make(
            instances: Sequence[AgentInstance] = (), *, router: bool = True, **settings
        ) -> Site:
            directory = tmp_path / f"site-{secrets.token_hex(4)}"
            shared = router and not settings and not request.node.get_closest_marker("own_router")
            if shared:
                settings["port"] = request.getfixturevalue("shared_router").port
            made = Site(directory, instances=instances, **settings)
            stack.callback(made.stop, timeout=0)
            made.write()
            if router and not shared:
                made.start_router()
            return made

        yield make


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory) -> Iterator[MariaDB]:
    """A MariaDB server for the whole session; for tests that leave it running."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        after = {child.pid for child in psutil.Process().children(recursive=True)}
        _session_children.update(after - before)
        yield server


@pytest.fixture
def mariadb(mariadb_server) -> Iterator[Database]:
    """A database, and a user, that no other test has; removed at the end."""
    database = Database(mariadb_server, f"socs_{secrets.token_hex(4)}")
    yield database
    database.drop()


@pytest.fixture
def mariadb_private(tmp_path) -> Iterator[MariaDB]:
    """A server of the test's own, to be killed, paused and stopped."""
    with MariaDB(tmp_path / "mariadb") as server:
        yield server


@pytest.fixture(params=["sqlite", "mariadb"])
def files_env(request, monkeypatch, tmp_path) -> dict[str, str]:
    """The environment that chooses the files table's database, once for each kind.

    It is set for this process too; no other setting of a database is left in it.
    """
    for name in [name for name in os.environ if name.startswith(("MYSQL_", "SOCS_"))]:
        if name != "SOCS_CROSSBAR":
            monkeypatch.delenv(name)
    if request.param == "sqlite":
        env = {"SOCS_DATA_DIR": str(tmp_path / "data")}
    else:
        env = request.getfixturevalue("mariadb").env()
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return env
