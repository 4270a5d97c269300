import os
import signal
import sys

import psutil
import pytest

from socs.errors import FileNotReady, NotAllowed
from socs.pysmurf import script as script_module
from socs.pysmurf.script import MAX_LINE, Ending, Lines, Script, find_script, open_output
from socs.testing import wait_until


def runs(pid):
    """Whether a process exists and is more than a dead entry that nobody has reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- lines of output ------------------------------------------------------------------------------


@pytest.fixture
def lines():
    found = []
    return found, Lines(found.append)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_lines_are_put_together_over_chunks(lines, size):
    found, feed = lines
    text = "première\n\n  zweite \r\nlast".encode()
    for start in range(0, len(text), size):
        feed.feed(text[start : start + size])
    assert found == ["première", "  zweite"]
    feed.flush()
    feed.flush()
    assert found == ["première", "  zweite", "last"]


def test_bad_bytes_and_control_characters_are_shown_not_obeyed(lines):
    found, feed = lines
    feed.feed(b"a\xff\x1b[31mred\x00\n")
    assert found == ["a\ufffd\\x1b[31mred\\x00"]


def test_a_line_without_end_takes_no_memory(lines):
    found, feed = lines
    for _ in range(1000):
        feed.feed(b"x" * 1000)
    assert len(feed._rest) == 4 * MAX_LINE
    feed.feed(b"\nnext\n")
    assert found == ["x" * (MAX_LINE - 3) + "... (1000000 bytes)", "next"]


# -- files ----------------------------------------------------------------------------------------


def test_find_script(tmp_path, monkeypatch):
    script = tmp_path / "a.py"
    with pytest.raises(FileNotReady, match=str(script)):
        find_script(str(script))
    script.touch()
    assert find_script(str(script)) == str(script)
    assert find_script(str(script), [tmp_path]) == str(script)
    monkeypatch.chdir(tmp_path)
    assert find_script("a.py") == str(script)
    with pytest.raises(FileNotReady, match="not a file"):
        find_script(str(tmp_path))


def test_find_script_stays_below_the_roots(tmp_path):
    inside, outside = tmp_path / "scripts", tmp_path / "scripts2"
    for directory in (inside, outside):
        directory.mkdir()
        (directory / "a.py").touch()
    (inside / "link.py").symlink_to(outside / "a.py")
    other = tmp_path / "other"
    other.symlink_to(inside)
    for script in (inside / "link.py", outside / "a.py", inside / ".." / "scripts2" / "a.py"):
        with pytest.raises(NotAllowed, match="--script-root"):
            find_script(str(script), [inside])
    assert find_script(str(outside / "a.py"), [inside, outside]) == str(outside / "a.py")
    assert find_script(str(inside / "a.py"), [other]) == str(
        inside / "a.py"
    )  # a root may be a link


def test_open_output(tmp_path):
    assert open_output(True) is None
    log = tmp_path / "log"
    log.write_text("before\n")
    descriptor = open_output(str(log))
    os.write(descriptor, b"after\n")
    os.close(descriptor)
    assert log.read_text() == "before\nafter\n"
    descriptor = open_output(False)
    os.write(descriptor, b"gone")
    os.close(descriptor)


def test_open_output_says_what_is_wrong(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for bad in (tmp_path, tmp_path / "no" / "log", pipe, "/dev/null", tmp_path / "a\0b"):
        with pytest.raises(FileNotReady, match="log file"):
            open_output(str(bad))
    os.close(reader)
    with pytest.raises(FileNotReady, match="log file"):  # nobody reads it; must not wait for one
        open_output(str(pipe))


# -- processes ------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, pump):
    """Start Python code as a script; lines that it prints are collected in ``script.lines``."""
    started = []

    def run(code, *args, output=None, env=None):
        path = tmp_path / "script.py"
        path.write_text(code)
        lines = []
        command = [sys.executable, "-u", str(path), *args]
        environment = dict(os.environ) if env is None else env
        script = Script(command, environment, output, lambda *line: lines.append(line))
        script.lines = lines
        script.endings = []
        script.ended.addCallback(lambda ending: script.endings.append(ending) or ending)
        started.append(script)
        return script

    yield run
    for script in started:
        if not script.endings:
            script._signal_group(signal.SIGKILL)
            pump(lambda script=script: script.endings)


def test_output_arguments_environment_and_exit_code(run, pump):
    code = "import os, sys\nprint(sys.argv[1:], os.environ['A'])\nprint('b', file=sys.stderr)\n"
    script = run(code + "print('c', end=''); sys.exit(3)", "x y", "$z;", env={"A": "1"})
    pump(lambda: script.endings)
    assert script.endings == [Ending(3, False)]
    assert not script.endings[0].success
    assert str(script.endings[0]) == "Script has finished with exit code 3"
    assert [line for stream, line in script.lines if stream == "out"] == ["['x y', '$z;'] 1", "c"]
    assert [line for stream, line in script.lines if stream == "err"] == ["b"]


def test_output_to_a_descriptor(run, pump, tmp_path):
    descriptor = open_output(str(tmp_path / "log"))
    script = run("import sys; print('out'); print('err', file=sys.stderr)", output=descriptor)
    os.close(descriptor)
    pump(lambda: script.endings)
    assert script.endings[0].success
    assert (tmp_path / "log").read_text() == "out\nerr\n"
    assert script.lines == []


def test_input_is_at_its_end(run, pump):
    script = run("import sys; print(repr(sys.stdin.read()))")
    pump(lambda: script.endings)
    assert script.lines == [("out", "''")]


def test_terminate_reaches_what_the_script_has_started(run, pump):
    code = """
import subprocess, sys, time
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(100)"
child = subprocess.Popen([sys.executable, "-u", "-c", stubborn])
print(child.pid)
time.sleep(100)
"""
    script = run(code)
    pump(lambda: ("out", "up") in script.lines)
    pid = next(int(line) for _, line in script.lines if line != "up")
    script.terminate()
    pump(lambda: script.endings, 3)
    assert script.endings == [Ending(-signal.SIGTERM, True)]
    assert str(script.endings[0]) == "Script was ended by SIGTERM, after it was aborted"
    wait_until(lambda: not runs(pid), 3, "the end of the grandchild")


def test_terminate_kills_what_does_not_listen(run, pump, monkeypatch):
    monkeypatch.setattr(script_module, "KILL_AFTER", 0.2)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(100)"
    script = run(code)
    pump(lambda: script.lines)
    script.terminate()
    script.terminate()
    pump(lambda: script.endings, 3)
    assert script.endings == [Ending(-signal.SIGKILL, True)]


def test_terminated_script_that_ends_well_has_not_succeeded(run, pump):
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up')\n"
    script = run(code + "time.sleep(100)")
    pump(lambda: script.lines)
    script.terminate()
    pump(lambda: script.endings, 3)
    assert script.endings[0].exit_code == 0
    assert not script.endings[0].success


def test_terminate_at_once(run, pump):
    script = run("import time; time.sleep(100)")
    script.terminate()
    pump(lambda: script.endings, 3)
    assert script.endings == [Ending(-signal.SIGTERM, True)]


def test_close_fires_when_the_script_has_ended(run, pump):
    script = run("import time; print('up'); time.sleep(100)")
    pump(lambda: script.lines)
    closed = []
    script.close().addCallback(closed.append)
    pump(lambda: closed, 3)
    assert not runs(script.pid)
    assert script.endings == [Ending(-signal.SIGTERM, True)]


def test_a_daemon_that_holds_the_output_does_not_hold_the_end(run, pump, monkeypatch):
    monkeypatch.setattr(script_module, "DRAIN_TIMEOUT", 0.2)
    code = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
print(child.pid)
"""
    script = run(code)
    pump(lambda: script.endings, 3)
    assert script.endings == [Ending(0, False)]
    (_, pid) = script.lines[0]
    os.kill(int(pid), signal.SIGKILL)  # left running, as the script wanted


def test_own_signal_is_named(run, pump):
    script = run("import os; os.kill(os.getpid(), 11)")
    pump(lambda: script.endings)
    assert str(script.endings[0]) == "Script was ended by SIGSEGV"


def test_program_that_cannot_be_run(pump, tmp_path):
    lines, endings = [], []
    command = [str(tmp_path / "nothing")]
    Script(command, {}, None, lambda *line: lines.append(line)).ended.addCallback(endings.append)
    pump(lambda: endings)
    assert endings[0].exit_code == 1
    assert "cannot run" in lines[0][1]


def test_script_ends_with_its_parent(tmp_path):
    """Whatever ends the agent, no script goes on steering the hardware beside the next one."""
    script = tmp_path / "script.py"
    script.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(100)")
    code = f"""
import os
from twisted.internet import reactor
from socs.pysmurf.script import Script

def die(stream, line):
    with open({str(tmp_path / "pid")!r}, "w") as file:
        file.write(line)
    os.kill(os.getpid(), 9)

Script([{sys.executable!r}, {str(script)!r}], dict(os.environ), None, die)
reactor.run()
"""
    with psutil.Popen([sys.executable, "-c", code]) as parent:
        assert parent.wait(60) == -signal.SIGKILL
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not runs(pid), 3, "the end of the script")
