import os
import signal
import subprocess
import sys

import psutil
import pytest

from socs.sim import leash as leash_module
from socs.sim.leash import Leash, stop_together
from socs.testing import wait_until

SLEEP = "import time; time.sleep(1000)"
STUBBORN = f"import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); {SLEEP}"
FORKS = (
    "import subprocess, sys; "
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); "
    "print(child.pid, flush=True); child.wait()"
)


def runs(pid: int) -> bool:
    """Whether a process exists and is more than a dead entry that nobody has reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def leash():
    leash = Leash()
    yield leash
    leash.close()


@pytest.fixture
def start(leash, tmp_path):
    def start(program, *, env=None):
        command = [sys.executable, "-S", "-c", program]
        return leash.start(command, log=tmp_path / "log", env=os.environ | (env or {}))

    return start


def test_output_environment_and_exit_code(start, tmp_path):
    child = start("import os; print(os.environ['WORD']); raise SystemExit(7)", env={"WORD": "a"})
    assert child.wait(60) == 7
    assert not child.alive
    assert child.output() == "a\n"
    second = start("import sys; print('b', file=sys.stderr)")
    assert second.wait(10) == 0
    assert second.output() == "b\n"
    assert (tmp_path / "log").read_text() == "a\nb\n"


def test_wait_times_out_and_kill_kills(start):
    child = start(SLEEP)
    with pytest.raises(TimeoutError):
        child.wait(0.05)
    assert child.kill() == -signal.SIGKILL
    assert child.kill() == -signal.SIGKILL


def test_stop_asks_first(start):
    assert start(SLEEP).stop(5) == -signal.SIGTERM


def test_stop_kills_the_stubborn(start):
    child = start(STUBBORN)
    wait_until(lambda: "ready" in child.output())
    assert child.stop(0.1) == -signal.SIGKILL


def test_stop_ends_a_paused_one(start):
    child = start(SLEEP)
    child.pause()
    wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
    assert child.stop(5) == -signal.SIGTERM


def test_kill_reaches_what_the_child_forked(start):
    child = start(FORKS)
    grandchild = int(wait_until(child.output))
    assert runs(grandchild)
    child.kill()
    wait_until(lambda: not runs(grandchild))


def test_the_rest_of_a_group_ends_with_its_leader(start):
    child = start(FORKS)
    grandchild = int(wait_until(child.output))
    child.signal(signal.SIGTERM)
    assert child.wait(60) == -signal.SIGTERM
    wait_until(lambda: not runs(grandchild))


def test_close_ends_all_and_can_be_used_again(leash, start):
    children = [start(SLEEP), start(SLEEP)]
    leash.close(5)
    assert [child.returncode for child in children] == [-signal.SIGTERM] * 2
    leash.close(5)
    assert start("print(1)").wait(10) == 0


def test_stop_together_shares_one_timeout(start):
    children = [start(STUBBORN), start(STUBBORN), start(SLEEP)]
    wait_until(lambda: children[0].output().count("ready") == 2)
    stop_together(children, 0.1)
    assert [child.returncode for child in children] == [-9, -9, -15]


VICTIM = """
import os, sys, threading, time
from pathlib import Path
from socs.sim import leash as leash_module
from socs.sim.leash import Leash
leash = Leash()
def start():
    command = [sys.executable, "-c", sys.argv[1]]
    print(leash.start(command, log=Path(sys.argv[2]), env=os.environ).pid, flush=True)
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(1000)
"""


def test_nothing_outlives_a_program_that_is_killed(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", VICTIM, FORKS, str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        child = int(victim.stdout.readline())
        grandchild = int(wait_until(lambda: log.exists() and log.read_text()))
        assert runs(child)  # although the thread that started it has ended
        victim.kill()
    wait_until(lambda: not runs(child) and not runs(grandchild))


def test_watcher_leaves_groups_alone_that_have_ended(tmp_path):
    """Their numbers may belong to somebody else by then."""
    sleepers = [
        subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) for _ in range(2)
    ]
    stranger, ours = sleepers
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", leash_module.__file__, str(os.getpid())],
            input=f"+{stranger.pid}\n-{stranger.pid}\n+{ours.pid}\n".encode(),
            timeout=10,
            check=True,
        )
        assert ours.wait(10) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        for sleeper in sleepers:
            sleeper.kill()
            sleeper.wait()


def test_watcher_is_told_of_start_and_end(start, monkeypatch):
    told = []
    monkeypatch.setattr(leash_module, "_tell", lambda watcher, line: told.append(line))
    child = start("")
    child.wait(60)
    assert told == [b"+%d\n" % child.pid, b"-%d\n" % child.pid]


def test_handler_that_raises_cannot_lose_a_child(leash, start, monkeypatch):
    """A signal between fork and book-keeping: its handler runs when the child is on the leash."""

    class Ended(Exception):
        pass

    def handler(*_):
        raise Ended

    original = subprocess.Popen

    def popen_and_signal(*args, **kwargs):
        process = original(*args, **kwargs)
        signal.raise_signal(signal.SIGTERM)
        return process

    before = signal.signal(signal.SIGTERM, handler)
    try:
        monkeypatch.setattr(subprocess, "Popen", popen_and_signal)
        with pytest.raises(Ended):
            start("import time; time.sleep(60)")
    finally:
        signal.signal(signal.SIGTERM, before)
    (child,) = leash._children
    assert child.alive
    leash.close()
    assert not child.alive
