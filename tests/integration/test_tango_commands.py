"""The command lines that watch real Tango device servers, from start to signal."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from socs.cli import tango_event_monitor
from socs.sim.tango_site import TangoSite
from socs.testing import wait_until
from socs.testing.tango_database import TangoDatabase

# Not imported here: its threads would stay.
pytestmark = pytest.mark.skipif(find_spec("tango") is None, reason="needs the extra tango")

ROOT = Path(__file__).parents[2]
PUB, SUB = "foo/bar/pub", "foo/bar/sub"  # as in the README of ska-tango-event-monitor
STREAM = f"{PUB}/value0.change"
PUB_SERVER, SUB_SERVER = TangoSite.admin("pub"), TangoSite.admin("sub")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A publisher that goes on pushing and its subscriber, for tests that leave them running."""
    directory = tmp_path_factory.mktemp("tango")
    with (
        TangoDatabase(directory / "database") as database,
        TangoSite(directory / "site", database.host) as made,
    ):
        made.add("pub", publishers={PUB: 1})
        made.add("sub", subscribers={SUB: []})
        made.start("pub", "sub")
        made.call(SUB, "Subscribe", [STREAM])
        made.pace(PUB, "value0.change", 50)
        yield made


@pytest.fixture
def environ(site, tmp_path):
    return {**site.env, "SOCS_DATA_DIR": str(tmp_path / "data"), "PYTHONUNBUFFERED": "1"}


def command(*words):
    return [sys.executable, "-m", *map(str, words)]


def monitor(*words):
    return command("socs.cli.tango_event_monitor", *words)


@contextmanager
def running(words, environ, directory):
    """A command line in the background; what it prints is in ``stdout`` and ``stderr``."""
    with (directory / "stdout").open("w") as out, (directory / "stderr").open("w") as err:
        process = subprocess.Popen(words, env=environ, cwd=directory, stdout=out, stderr=err)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def polls_in(path):
    """Whole lines of a file; each is JSON."""
    if not path.exists():
        return []
    return [
        json.loads(line)
        for line in path.read_bytes().splitlines(keepends=True)
        if line[-1:] == b"\n"
    ]


def performance(site, server):
    reply = json.loads(site.call(server, "QueryEventSystem"))
    return [side["perf"] is not None for side in (reply["server"], reply["client"]) if side]


def test_the_entry_point_is_there():
    text = (ROOT / "setup.py").read_text()
    ((module, function),) = re.findall(r"ska-tango-event-monitor = ([\w.]+):(\w+)", text)
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_commands_of_the_readme(site, environ, tmp_path, number):
    """``ska-tango-event-monitor "foo/bar/pub" "foo/bar/sub"``, with all its options."""
    output = tmp_path / "output.json"
    words = monitor(PUB, SUB, "--poll-period", 0.5, "-o", "output.json", "-m")
    with running(words, environ, tmp_path) as process:
        wait_until(lambda: len(polls_in(output)) >= 4, 30)
        wait_until(lambda: all(performance(site, PUB_SERVER) + performance(site, SUB_SERVER)))
        process.send_signal(number)
        assert process.wait(60) == 0
    assert (tmp_path / "stderr").read_text() == ""
    assert not any(performance(site, PUB_SERVER) + performance(site, SUB_SERVER))
    polls = polls_in(output)
    assert output.read_bytes().endswith(b"\n")
    for poll in polls:
        assert list(poll) == ["time", "replies"]
        assert set(poll["replies"]) == {PUB_SERVER, SUB_SERVER}
        assert all(list(reply) == ["data"] for reply in poll["replies"].values())
    counters = [poll["replies"][PUB_SERVER]["data"]["server"]["event_counters"] for poll in polls]
    numbers = [number for each in counters for number in each.values()]
    assert numbers == sorted(set(numbers))
    printed = (tmp_path / "stdout").read_text()
    assert printed.count("2 of 2 servers answered") >= len(polls) - 1
    assert re.search(rf"(?m)^\t{STREAM}\t\d+\t", printed)
    assert re.search(rf"(?m)^\t{SUB_SERVER}\t{STREAM}\t\d+\t0\t", printed)
    assert re.search(rf"(?m)^\t{PUB_SERVER}\t\(all\)\tpush\t\d+\t", printed)


def test_after_kill_9_the_file_is_valid_and_the_next_run_cleans_up(site, environ, tmp_path):
    output = tmp_path / "output.json"
    with running(monitor(PUB, "--poll-period", 0.5, "-m", "-o", output), environ, tmp_path) as one:
        wait_until(lambda: len(polls_in(output)) >= 2, 30)
        wait_until(lambda: all(performance(site, PUB_SERVER)))
        children = psutil.Process(one.pid).children(recursive=True)
        one.kill()
        one.wait()
    assert children
    wait_until(lambda: not any(child.is_running() for child in children), 10, "its child to end")
    before = polls_in(output)
    with running(
        monitor(SUB, "--poll-period", 0.5, "-a", "-o", output), environ, tmp_path
    ) as other:
        wait_until(lambda: len(polls_in(output)) >= len(before) + 2, 30)
        wait_until(lambda: not any(performance(site, PUB_SERVER)), 10)
        other.terminate()
        assert other.wait(60) == 0
    assert polls_in(output)[: len(before)] == before
    assert output.read_bytes().endswith(b"\n")


@pytest.fixture
def slow(site):
    """Another publisher, and a subscriber whose callbacks take 1 ms."""
    pub, sub = "slow/bar/pub", "slow/bar/sub"
    site.add("slowpub", publishers={pub: 1})
    site.add("slowsub", subscribers={sub: []})
    site.start("slowpub", "slowsub")
    site.call(sub, "Subscribe", [f"{pub}/value0.change"])
    site.call(sub, "Delay", 0.001)
    yield pub, sub
    site.kill("slowpub")
    site.kill("slowsub")


def test_who_lost_how_many_is_told(site, slow, environ, tmp_path):
    """As many as are missing in the truth of the two devices, of the right subscriber."""
    pub, sub = slow
    sentence = r"(?m)^\terror\tsubscriber \S+/(\w+) lost (\d+) of (\S+)'s (\S+)$"

    def truly_lost():
        pushed = site.truth(pub)["pushed"]["value0.change"]
        return pushed - site.truth(sub)["received"][f"{pub}/value0.change"]

    def told_lost():
        found = re.findall(sentence, (tmp_path / "stdout").read_text())
        subjects = {(server, device, event) for server, _, device, event in found}
        assert subjects <= {("slowsub", pub, "value0.change")}
        return sum(int(count) for _, count, _, _ in found)

    words = monitor("slow/bar/*", PUB, SUB, "--poll-period", 0.5)
    with running(words, environ, tmp_path) as process:
        wait_until(lambda: (tmp_path / "stdout").read_text().count("***") >= 2, 30)
        site.burst(pub, "value0.change", 50_000)
        site.call(sub, "Delay", 0.0)
        wait_until(told_lost, 20, "a loss to be told")
        wait_until(lambda: told_lost() == truly_lost(), 20, "the number of events lost")
        process.terminate()
        assert process.wait(60) == 0


def test_wildcards_and_names_that_are_not_there(site, environ, tmp_path):
    words = monitor("foo/bar/*", "no/such/device", PUB_SERVER, "--poll-period", 0.5)
    with running(words, environ, tmp_path) as process:
        wait_until(lambda: (tmp_path / "stdout").read_text().count("***") >= 2, 30)
        process.terminate()
        assert process.wait(60) == 0
    assert "nothing is found for no/such/device" in (tmp_path / "stderr").read_text()
    assert "2 of 2 servers answered" in (tmp_path / "stdout").read_text()


def run(words, environ, directory=None):
    return subprocess.run(
        words, env=environ, cwd=directory, capture_output=True, text=True, timeout=100, check=False
    )


def test_a_reader_that_has_enough_ends_it(site, environ):
    shell = subprocess.run(
        f"{' '.join(monitor(PUB, '--poll-period', 0.3))} | head -n 1",
        shell=True,
        env=environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert shell.stdout.startswith("*** ")
    assert shell.stderr == ""


def test_query_tells_a_moment(site, environ):
    done = run(command("socs.cli.main", "tango", "query", PUB, SUB, "--json"), environ)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    (stream,) = told["streams"]
    (link,) = told["subscriptions"]
    assert (stream["stream"], stream["publisher"]) == (STREAM, PUB_SERVER)
    assert (link["stream"], link["subscriber"], link["publisher"]) == (
        STREAM,
        SUB_SERVER,
        PUB_SERVER,
    )
    assert link["gaps"] == 0
    assert 0 < link["received"] <= site.truth(PUB)["pushed"]["value0.change"]
    table = run(command("socs.cli.main", "tango", "query", SUB_SERVER), environ)
    assert re.search(rf"(?m)^\t{SUB_SERVER}\t{STREAM}\t{PUB_SERVER}\t\d+\t\d+\t0\t", table.stdout)


def test_query_of_nothing_fails_and_says_why(site, environ):
    done = run(command("socs.cli.main", "tango", "query", "no/such/device"), environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing is found for no/such/device" in done.stderr


def test_watch_writes_what_report_reads(site, environ, tmp_path):
    output = tmp_path / "watch.jsonl"
    words = command("socs.cli.main", "tango", "watch", PUB, SUB, "--period", 0.5, "-o", output)
    with running(words, environ, tmp_path) as process:
        wait_until(lambda: len(polls_in(output)) >= 4, 30)
        process.terminate()
        assert process.wait(60) == 0
    assert {line["kind"] for line in polls_in(output)} <= {"poll", "event"}
    done = run(command("socs.cli.main", "tango", "report", output, "--json"), environ)
    told = json.loads(done.stdout)
    (stream,) = told["streams"]
    (link,) = told["subscribers"]
    assert stream["published"] > 0
    assert (link["lost"], link["stream"]) == (0, stream["stream"])


def test_watch_in_a_terminal_shows_one_picture(site, environ, tmp_path):
    terminal, end = pty.openpty()
    words = command("socs.cli.main", "tango", "watch", PUB, SUB, "--period", 0.5, "-o", "polls")
    environ = {**environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "50"}
    process = subprocess.Popen(words, env=environ, cwd=tmp_path, stdout=end, stderr=end)
    os.close(end)
    shown = b""
    try:
        while len(polls_in(tmp_path / "polls")) < 4 or shown.count(b"servers answered") < 3:
            shown += os.read(terminal, 65536)
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # there is no more when it has ended
            while more := os.read(terminal, 65536):
                shown += more
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(rf"{SUB_SERVER} +{STREAM} +\d+ +0 ", text)
    assert b"\x1b[?25h" in shown.rpartition(b"\x1b[?25l")[2]  # the cursor is back
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--poll-period", "0"], "is not a positive number of seconds"),
        ([], "the following arguments are required: device"),
        (["a/b/c", "-o", "/nowhere/at/all"], "cannot write /nowhere/at/all"),
        (["a b"], "is no name of a Tango device"),
        (["a b", "-a"], "no file to append to"),
    ],
)
def test_errors_say_what_is_wrong(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path))
    try:
        status = tango_event_monitor.main(words)
    except SystemExit as end:
        status = end.code
    assert status in (1, 2)
    assert message in capsys.readouterr().err
