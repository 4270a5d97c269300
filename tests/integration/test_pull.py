"""Files come over a real ssh connection: exactly once, whatever their names, whatever happens."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from socs.archive.moving import Job, NotTried, Outcome, Placed, Refused
from socs.archive.paths import File, place_of
from socs.archive.pull import Pull
from socs.archive.pull_round import Round
from socs.archive.side_by_side import THREADS
from socs.archive.staged import KEPT, NAME
from socs.archive.storage import STAGING, Storage
from socs.errors import ConfigError
from socs.testing import LOOPBACK, free_port, wait_until
from socs.testing.cutter import TcpCutter
from socs.testing.sshd import Sshd

AWFUL = (
    *("with space", "  two  ", "quote's", 'double"s', "`back`", "back\\slash", "esc\\#012aped"),
    *("new\nline", "tab\t", "\x1b[31m", "-dash", "--delete", ";semi", "$(touch hacked)", "${HOME}"),
    *("ünïcödé", "日本", "*", "?", "[ab]", "#hash", "~", "a:b", "root@host:x", "&|<>", "%s%n"),
    *('" failed: No such file or directory (2)', "n" * 255, ".hidden", "...", "\x7f", "x\r"),
)
MEGABYTE = 1 << 20


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "ssh d's")
    server.start()
    with server:
        yield server


class Site:
    """Files at the source, an archive, and what became of each job."""

    def __init__(self, directory: Path, sshd: Sshd) -> None:
        self.sshd = sshd
        self.root = directory / "source root"
        self.archive = directory / "archive"
        for path in (self.root, self.archive):
            path.mkdir()
        self.storage = Storage(self.archive, "archiver")
        self.outcomes: dict[int, list[Outcome]] = {}
        self.log: list[str] = []
        self._jobs = 0

    def job(self, path: Path | str, data: bytes, *, day: int = 17000, action: str = "iv") -> Job:
        """The job for a file that was announced with this content."""
        self._jobs += 1
        moment = datetime.utcfromtimestamp(day * 100_000)
        md5sum = hashlib.md5(data).digest()
        file = File(
            id=self._jobs,
            path=str(path),
            action=action,
            timestamp=moment,
            action_timestamp=day * 100_000,
            plot=False,
            pub_id="crate1",
            instance_id="monitor",
            md5sum=md5sum,
        )
        return Job(file, place_of(file))

    def write(self, name: str, data: bytes, **more: Any) -> Job:
        """Write a file and announce it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return self.job(path, data, **more)

    @contextmanager
    def pull(self, **settings: Any) -> Iterator[Pull]:
        given = {
            **{"host": LOOPBACK, "user": self.sshd.user, "port": self.sshd.port},
            **{"key": self.sshd.key, "roots": [self.root], "ssh_options": self.sshd.options},
            **{"report": self.log.append},
        }
        pull = Pull(self.storage, **(given | settings))
        try:
            yield pull
        finally:
            pull.stop()

    def submit(self, pull: Pull, jobs: list[Job]) -> None:
        def done(job: Job, outcome: Outcome) -> None:
            self.outcomes.setdefault(job.file.id, []).append(outcome)

        pull.submit(jobs, done)

    def move(self, pull: Pull, jobs: list[Job], timeout: float = 40) -> list[Outcome]:
        """Submit and wait; the last answers, in the order of ``jobs``."""
        before = {job.file.id: len(self.outcomes.get(job.file.id, [])) for job in jobs}
        self.submit(pull, jobs)

        def answered() -> bool:
            return all(len(self.outcomes.get(i, [])) > n for i, n in before.items())

        wait_until(answered, timeout, "answers")
        assert all(len(self.outcomes[i]) == n + 1 for i, n in before.items())
        return [self.outcomes[job.file.id][-1] for job in jobs]

    def staged(self) -> list[Path]:
        """What is left under temporary names."""
        return list(self.archive.glob(f"*/{STAGING}*"))


@pytest.fixture
def site(tmp_path: Path, sshd: Sshd) -> Site:
    return Site(tmp_path, sshd)


def processes_of(site: Site, *programs: str) -> list[psutil.Process]:
    """Processes that run ``programs`` for this site, at either end."""
    directory = str(site.archive.parent)[1:]  # the far rsync has it without the slash
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() in programs and directory in " ".join(process.cmdline()):
                found.append(process)
    return found


def rsyncs(site: Site) -> list[psutil.Process]:
    return processes_of(site, "rsync", "ssh")


def contents(outcome: Outcome) -> bytes:
    assert isinstance(outcome, Placed), outcome
    return Path(outcome.path).read_bytes()


# -- good files -----------------------------------------------------------------------------------


def test_awful_names_arrive_as_they_are(site: Site) -> None:
    names = [f"{number % 7}/{number:03} {name}"[:200] for number, name in enumerate(AWFUL * 7)][
        :200
    ]
    names[: len(AWFUL)] = AWFUL
    jobs = [site.write(name, f"of {name}".encode()) for name in names]
    assert len({job.file.path for job in jobs}) == 200
    with site.pull(files_per_batch=64) as pull:
        outcomes = site.move(pull, jobs)
        assert pull.link_errors == 0
        assert pull.troubles() == []
        assert pull.current() == []
    for name, job, outcome in zip(names, jobs, outcomes, strict=True):
        assert contents(outcome) == f"of {name}".encode()
        assert outcome == Placed(site.storage.path(job.place), len(f"of {name}".encode()))
        status = os.stat(outcome.path)
        assert stat.S_IMODE(status.st_mode) == site.storage.file_mode
        assert status.st_mtime_ns == os.stat(job.file.path).st_mtime_ns
    assert site.staged() == []
    assert [outcome for outcome in outcomes if outcome.adopted] == []


def test_files_of_many_days_and_roots_in_one_go(site: Site, tmp_path: Path) -> None:
    other = tmp_path / "other"
    jobs = [site.write(f"{n}", b"%d" % n, day=17000 + n % 3) for n in range(30)]
    jobs += [site.write(f"{other}/{n}", b"other %d" % n) for n in range(5)]
    with site.pull(roots=[site.root, other]) as pull:
        outcomes = site.move(pull, jobs)
    assert [contents(outcome) for outcome in outcomes] == [
        *(b"%d" % n for n in range(30)),
        *(b"other %d" % n for n in range(5)),
    ]
    assert site.staged() == []


def test_empty_components_and_dots_do_not_matter(site: Site) -> None:
    site.write("a/b", b"x")
    with site.pull(roots=[f"{site.root}//./"]) as pull:
        (outcome,) = site.move(pull, [site.job(f"{site.root}/.//a/./b", b"x")])
    assert contents(outcome) == b"x"


def test_links_at_the_source_are_followed(site: Site) -> None:
    site.write("real/file", b"data")
    (site.root / "link").symlink_to("real/file")
    (site.root / "directory").symlink_to("real")
    jobs = [site.job(site.root / name, b"data") for name in ("link", "directory/file")]
    with site.pull() as pull:
        outcomes = site.move(pull, jobs)
    assert [contents(outcome) for outcome in outcomes] == [b"data", b"data"]
    assert not any(os.path.islink(outcome.path) for outcome in outcomes)


def test_file_that_is_in_its_place_is_adopted_without_a_connection(site: Site) -> None:
    job = site.write("a", b"data")
    with site.pull() as pull:
        site.move(pull, [job])
        site.sshd.close()
        assert site.move(pull, [job]) == [Placed(site.storage.path(job.place), 4, adopted=True)]
        assert pull.link_errors == 0


@pytest.mark.skipif(shutil.which("rrsync") is None, reason="rrsync is not installed")
def test_key_that_may_only_read_is_enough(site: Site) -> None:
    authorized = site.sshd.directory / "authorized_keys"
    authorized.write_text(f'restrict,command="rrsync -ro /" {authorized.read_text()}')
    changed = site.write("changed", b"new")
    jobs = [site.write(name, name.encode()) for name in AWFUL]
    jobs += [site.job(site.root / "missing", b""), site.job(changed.file.path, b"old")]
    with site.pull() as pull:
        *outcomes, missing, other = site.move(pull, jobs)
    assert [contents(outcome) for outcome in outcomes] == [name.encode() for name in AWFUL]
    assert (missing.cause, other.cause) == ("attempts_missing", "attempts_changed")


def test_key_and_known_hosts_in_a_directory_with_an_awful_name(site: Site) -> None:
    assert " " in str(site.sshd.key)
    assert "'" in str(site.sshd.key)
    with site.pull() as pull:
        assert contents(*site.move(pull, [site.write("a", b"data")])) == b"data"


# -- bad files ------------------------------------------------------------------------------------


def test_each_bad_file_gets_its_cause_and_no_good_one_is_held_up(site: Site) -> None:
    good = [site.write(f"good{n}", b"%d" % n) for n in range(20)]
    root = site.root
    (root / "directory").mkdir()
    os.mkfifo(root / "fifo")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    (root / "longer").write_bytes(b"new and longer")
    (root / "same size").write_bytes(b"NEW")
    (root / "empty").write_bytes(b"")
    bad = {
        "attempts_missing": ["missing", "no/directory", "good1/below", "dangling", 'mis" sing\n'],
        "attempts_unreadable": ["loop", "x" * 256, "d/" * 1800 + "x"],
        "attempts_not_regular": ["directory", "fifo"],
        "attempts_changed": ["longer", "same size", "empty"],
        "attempts_outside_roots": ["../x", "good1/../good2", "nul\0", "\ud800"],
    }
    jobs = [site.job(f"{root}/{name}", b"old") for names in bad.values() for name in names]
    jobs += [
        site.job(path, b"old") for path in ("/etc/hosts", "good1", "", str(root), f"{root}x/y")
    ]
    causes = [cause for cause, names in bad.items() for _ in names]
    causes += ["attempts_outside_roots"] * 5
    with site.pull() as pull:
        outcomes = site.move(pull, [*good[:10], *jobs, *good[10:]])
        assert pull.link_errors == 0
        assert pull.troubles() == []
    assert [contents(o) for o in outcomes[:10] + outcomes[-10:]] == [b"%d" % n for n in range(20)]
    seen = [outcome.cause for outcome in outcomes[10:-10] if isinstance(outcome, Refused)]
    assert seen == causes
    changed = [o for o in outcomes if isinstance(o, Refused) and o.cause == "attempts_changed"]
    assert [o.md5sum for o in changed] == [
        hashlib.md5(data).digest() for data in (b"new and longer", b"NEW", b"")
    ]
    assert changed[0].md5sum.hex() in changed[0].detail
    assert "14 bytes" in changed[0].detail
    assert site.staged() == []


def test_file_that_may_not_be_read(site: Site) -> None:
    secret = site.write("secret", b"x")
    hidden = site.write("hidden/file", b"x")
    good = site.write("good", b"x")
    os.chmod(secret.file.path, 0)
    os.chmod(site.root / "hidden", 0)
    for directory in (site.root, *site.root.parents):
        if directory.stat().st_uid == os.geteuid():
            os.chmod(directory, directory.stat().st_mode | 0o055)
    plain = "--rsync-path=setpriv --reuid=65534 --regid=65534 --clear-groups rsync"
    options = [plain] if os.geteuid() == 0 else []  # root may read everything
    with site.pull(rsync_options=options) as pull:
        outcomes = site.move(pull, [secret, hidden, good])
    os.chmod(site.root / "hidden", 0o700)
    refused = Refused("attempts_unreadable", "cannot be read: Permission denied")
    assert outcomes[:2] == [refused, refused]
    assert contents(outcomes[2]) == b"x"


def test_file_that_is_still_being_written_is_told_from_a_changed_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = site.write("written", b"begin")
    compare = Round._compare

    def write_on(self: Round) -> None:
        (site.root / "written").write_bytes(b"begin, and more")
        compare(self)

    monkeypatch.setattr(Round, "_compare", write_on)
    with site.pull() as pull:
        (outcome,) = site.move(pull, [site.job(written.file.path, b"begin, and more, and all")])
    assert isinstance(outcome, Refused)
    assert outcome.cause == "attempts_bad_copy"
    assert outcome.md5sum is None
    assert site.staged() == []


def test_copy_that_is_spoilt_on_the_way_is_told_from_a_changed_file(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = site.write("good", b"data")
    place = Round._place

    def spoil(self: Round, source: str, *, fresh: bool) -> None:
        path = self.tree.path(source)
        status = os.stat(path)
        Path(path).write_bytes(b"dada")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        place(self, source, fresh=fresh)

    with site.pull() as pull:
        with monkeypatch.context() as patch:
            patch.setattr(Round, "_place", spoil)
            (outcome,) = site.move(pull, [job])
        assert isinstance(outcome, Refused)
        assert (outcome.cause, outcome.md5sum) == ("attempts_bad_copy", None)
        assert contents(*site.move(pull, [job])) == b"data"


def test_one_source_announced_several_times(site: Site) -> None:
    now = site.write("mask.txt", b"new")
    again = site.job(now.file.path, b"new")
    elsewhere = site.job(now.file.path, b"new", action="tune")
    before = [site.job(now.file.path, b"old %d" % n) for n in range(3)]
    with site.pull() as pull:
        outcomes = site.move(pull, [before[0], now, before[1], elsewhere, again, before[2]])
    assert [contents(outcomes[n]) for n in (1, 3, 4)] == [b"new"] * 3
    assert outcomes[1].path == outcomes[4].path == site.storage.path(now.place)
    assert outcomes[3].path == site.storage.path(elsewhere.place)
    md5sum = hashlib.md5(b"new").digest()
    assert [(outcomes[n].cause, outcomes[n].md5sum) for n in (0, 2, 5)] == [
        ("attempts_changed", md5sum)
    ] * 3
    assert os.stat(outcomes[1].path).st_ino != os.stat(outcomes[3].path).st_ino
    assert site.staged() == []


def test_name_that_is_taken_by_another_file(site: Site) -> None:
    jobs = [site.write("a/same", b"one"), site.write("b/same", b"two")]
    with site.pull() as pull:
        outcomes = site.move(pull, jobs)
    assert sorted(contents(outcome) for outcome in outcomes) == [b"one", b"two"]
    assert {Path(outcome.path).name for outcome in outcomes} == {"same", "same.1"}


@pytest.mark.parametrize("there", [True, False])
def test_root_that_is_not_mounted_makes_no_file_missing(
    site: Site, tmp_path: Path, there: bool
) -> None:
    other = tmp_path / "[un]mounted*"
    if there:
        other.mkdir()
    jobs = [site.job(other / name, b"x") for name in ("a", "b/c")]
    here = [site.write("good", b"x"), site.job(site.root / "missing", b"x")]
    with site.pull(roots=[site.root, other]) as pull:
        outcomes = site.move(pull, [*jobs, *here])
        text = f"{other} on {pull_address(site)} is absent or empty: is it mounted there?"
        assert outcomes[:2] == [NotTried(text, everything=False)] * 2
        assert contents(outcomes[2]) == b"x"
        assert outcomes[3].cause == "attempts_missing"
        other.mkdir(exist_ok=True)
        (other / "a").write_bytes(b"x")
        outcomes = site.move(pull, jobs)
    assert contents(outcomes[0]) == b"x"
    assert outcomes[1].cause == "attempts_missing"


def test_nothing_but_missing_files_in_a_root_that_is_there(site: Site) -> None:
    site.write("other", b"")
    with site.pull() as pull:
        (outcome,) = site.move(pull, [site.job(site.root / "missing", b"x")])
    assert outcome == Refused("attempts_missing", f"there is no such file on {pull_address(site)}")


def pull_address(site: Site) -> str:
    return f"{site.sshd.user}@{LOOPBACK}"


# -- connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["cut", "server killed", "ssh killed", "rsync killed"])
def test_interrupted_transfer_goes_on_where_it_was(site: Site, way: str) -> None:
    size = 12 * MEGABYTE
    data = random.Random(1).randbytes(size)
    large = site.write("large file", data)
    small = [site.write(f"small{n}", b"%d" % n) for n in range(20)]
    with TcpCutter((LOOPBACK, site.sshd.port)) as cutter:
        port = cutter.address[1]
        with site.pull(port=port, bandwidth_limit=4096) as pull:
            site.submit(pull, [large, *small])

            def begun() -> int:
                return sum(each["bytes"] for each in pull.current() if "large" in each["path"])

            wait_until(lambda: begun() > size / 2, 30, "half of the file")
            assert {"path": large.file.path, "bytes": begun()}.keys() == pull.current()[0].keys()
            {
                "cut": cutter.cut,
                "server killed": site.sshd.kill_connections,
                "ssh killed": lambda: kill(rsyncs(site), "ssh"),
                "rsync killed": lambda: kill(rsyncs(site), "rsync"),
            }[way]()
            wait_until(lambda: len(site.outcomes) == 21, 20, "answers")
            first = site.outcomes[large.file.id][0]
            assert isinstance(first, NotTried)
            assert first.everything
            assert first.detail.startswith(f"cannot reach {pull_address(site)}: ")
            assert pull.link_errors == 1
            assert pull.troubles() == [first.detail]
        passed = cutter.replied
        assert passed < 0.9 * size
        with site.pull(port=port) as pull:
            outcomes = site.move(pull, [large, *small])
            assert pull.troubles() == []
        again = cutter.replied - passed
    assert again < 0.6 * size, f"{again} of {size} bytes came in the second call"
    assert [contents(outcome) for outcome in outcomes] == [data, *(b"%d" % n for n in range(20))]
    assert site.staged() == []


def kill(processes: list[psutil.Process], name: str) -> None:
    chosen = [process for process in processes if process.name() == name]
    assert chosen
    for process in chosen:
        process.kill()


def test_rest_of_a_call_is_killed_when_its_rsync_is_gone(site: Site) -> None:
    job = site.write("large", random.Random(9).randbytes(4 * MEGABYTE))
    settings = {"bandwidth_limit": 1024}
    with (
        TcpCutter((LOOPBACK, site.sshd.port)) as cutter,
        site.pull(port=cutter.address[1], **settings) as pull,
    ):
        site.submit(pull, [job])
        wait_until(pull.current, 20, "a beginning")
        cutter.hang()  # they would wait for the other end
        kill([process for process in rsyncs(site) if process.ppid() == os.getpid()], "rsync")
        wait_until(lambda: not here(rsyncs(site)), 5, "the end of the other rsync and of ssh")
        wait_until(lambda: site.outcomes, 10, "an answer")
        cutter.resume()
    assert isinstance(site.outcomes[job.file.id][0], NotTried)


def test_many_interruptions_lose_and_double_nothing(site: Site) -> None:
    chooser = random.Random(2)
    truth = {}
    for number in range(60):
        data = chooser.randbytes(chooser.choice([10, 1000, 200_000]))
        job = site.write(f"{number}", data)
        truth[job.file.id] = (job, data)
    left = dict(truth)
    cuts = 0
    with TcpCutter((LOOPBACK, site.sshd.port)) as cutter:
        with site.pull(port=cutter.address[1], bandwidth_limit=2048, files_per_batch=20) as pull:
            while left:
                target = cutter.replied + 300_000
                ended = threading.Event()

                def interrupt(target: int = target, ended: threading.Event = ended) -> None:
                    while not ended.wait(0.001):
                        if cutter.replied > target:
                            cutter.cut()
                            return

                cutting = threading.Thread(target=interrupt)
                cutting.start()
                outcomes = site.move(pull, [job for job, _ in left.values()])
                ended.set()
                cutting.join()
                for (job, data), outcome in zip(list(left.values()), outcomes, strict=True):
                    if isinstance(outcome, Placed):
                        assert contents(outcome) == data
                        del left[job.file.id]
                    else:
                        assert isinstance(outcome, NotTried), outcome
                        assert "cannot reach" in outcome.detail
                cuts += any(isinstance(outcome, NotTried) for outcome in outcomes)
            assert pull.link_errors >= cuts  # some were cut after their last file
        assert cuts >= 3
    placed = [path for path in site.archive.rglob("*") if path.is_file()]
    assert len(placed) == 60
    assert site.staged() == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("port", "Connection refused"),
        ("key", "Permission denied"),
        ("no key", "not accessible"),
        ("user", "Permission denied"),
        ("host", "Could not resolve"),
        ("host key", "Host key verification failed"),
        ("no rsync", "/nowhere/rsync"),
    ],
)
def test_source_that_cannot_be_reached(site: Site, fault: str, words: str) -> None:
    wrong: dict[str, Any] = {
        "port": {"port": free_port()},
        "key": {"key": site.sshd.make_key("wrong")},
        "no key": {"key": site.sshd.directory / "none"},
        "user": {"user": "nobody-of-this-name"},
        "host": {"host": "no-such-host.invalid"},
        "host key": {"ssh_options": ["-o", "UserKnownHostsFile=/dev/null", *site.sshd.options]},
        "no rsync": {"rsync_options": ["--rsync-path=/nowhere/rsync"]},
    }[fault]
    jobs = [site.write("a", b"x"), site.job(site.root / "missing", b"x")]
    with site.pull(**wrong) as pull:
        outcomes = site.move(pull, jobs)
        assert outcomes[0] == outcomes[1]
        assert isinstance(outcomes[0], NotTried)
        assert outcomes[0].everything
        text = outcomes[0].detail
        assert text.startswith("cannot reach ")
        assert words in text
        options = "check --host, --user, --ssh-port, --ssh-key"
        assert text.endswith(
            "known_hosts of the archiver's user?" if fault == "host key" else options
        )
        assert pull.troubles() == [text]
        assert pull.link_errors == 1
    assert site.log == [f"not pulling: {text}"[:200]] or site.log[0].startswith("not pulling: ")


def test_wrong_options_for_rsync_are_named(site: Site) -> None:
    with site.pull(rsync_options=["--no-such-option"]) as pull:
        (outcome,) = site.move(pull, [site.write("a", b"x")])
    assert isinstance(outcome, NotTried)
    assert outcome.detail == (
        "rsync refuses to run: rsync: --no-such-option: unknown option: check --rsync-options"
    )


def test_source_that_is_back_is_used_without_a_restart(site: Site) -> None:
    job = site.write("a", b"x")
    with TcpCutter((LOOPBACK, site.sshd.port)) as cutter, site.pull(port=cutter.address[1]) as pull:
        cutter.refuse()
        assert isinstance(site.move(pull, [job])[0], NotTried)
        assert pull.troubles()
        cutter.allow()
        assert isinstance(site.move(pull, [job])[0], Placed)
        wait_until(lambda: not pull.troubles(), 10, "the end of the trouble")
        again = f"pulling from {pull_address(site)} again"
        wait_until(lambda: site.log[-1] == again, 10, "a line in the log")


def test_file_is_placed_and_trouble_over_while_others_are_still_coming(site: Site) -> None:
    first = site.write("0 first", b"x")
    large = site.write("1 large", random.Random(8).randbytes(4 * MEGABYTE))
    settings = {"bandwidth_limit": 512}
    with (
        TcpCutter((LOOPBACK, site.sshd.port)) as cutter,
        site.pull(port=cutter.address[1], **settings) as pull,
    ):
        cutter.refuse()
        assert isinstance(site.move(pull, [first])[0], NotTried)
        assert pull.troubles()
        cutter.allow()
        site.submit(pull, [large])
        assert contents(*site.move(pull, [first])) == b"x"
        assert pull.troubles() == []
        assert large.file.id not in site.outcomes
        wait_until(pull.current, 10, "a part of the other")
        assert [each["path"] for each in pull.current()] == [large.file.path]
        assert pull.room() == 399


def test_host_that_falls_silent_is_given_up(site: Site) -> None:
    job = site.write("a", random.Random(3).randbytes(4 * MEGABYTE))
    settings = {"bandwidth_limit": 2048, "timeout": 6}
    with (
        TcpCutter((LOOPBACK, site.sshd.port)) as cutter,
        site.pull(port=cutter.address[1], **settings) as pull,
    ):
        site.submit(pull, [job])
        wait_until(pull.current, 20, "a beginning")
        cutter.hang()
        wait_until(pull.troubles, 20, "a trouble")
        wait_until(lambda: site.outcomes, 30, "an answer")
        (outcome,) = site.outcomes[job.file.id]
        assert isinstance(outcome, NotTried)
        assert outcome.everything
        cutter.resume()
        assert isinstance(site.move(pull, [job])[0], Placed)


def test_silence_is_told(site: Site) -> None:
    job = site.write("a", random.Random(3).randbytes(4 * MEGABYTE))
    no_keepalive = ["-o", "ServerAliveInterval=0", *site.sshd.options]
    settings = {"bandwidth_limit": 1024, "timeout": 6, "ssh_options": no_keepalive}
    with (
        TcpCutter((LOOPBACK, site.sshd.port)) as cutter,
        site.pull(port=cutter.address[1], **settings) as pull,
    ):
        site.submit(pull, [job])
        wait_until(pull.current, 20, "a beginning")
        assert pull.troubles() == []
        cutter.hang()
        (text,) = wait_until(pull.troubles, 20, "a trouble")
        assert text.startswith(f"nothing has come from {pull_address(site)} for ")
        assert site.outcomes == {}
        cutter.resume()
        wait_until(lambda: not pull.troubles(), 20, "the end of the trouble")
        wait_until(lambda: site.outcomes, 20, "the file")
        assert isinstance(site.outcomes[job.file.id][0], Placed)
        assert pull.link_errors == 0


def test_file_on_which_rsync_hangs_holds_up_no_other(
    site: Site, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(lambda: kill(processes_of(site, "strace"), "strace"))  # at the source
    good = [site.write(f"{n:03}", b"%d" % n) for n in range(30)]
    stuck = site.write("015 stuck", b"x")
    # The far rsync, traced; opening this one file takes it an hour.
    tracer = tmp_path / "traced"
    tracer.write_text(
        f"#!/bin/sh\nexec strace -qq -o /dev/null -P '{stuck.file.path[1:]}' "
        '-e trace=openat,open -e inject=openat,open:delay_enter=3600000000 rsync "$@"\n'
    )
    tracer.chmod(0o755)
    options = [f"--rsync-path={tracer}"]
    waiting = [*good[:15], stuck, *good[15:]]
    with site.pull(rsync_options=options, timeout=2, files_per_batch=8) as pull:
        while stuck in waiting:
            outcomes = site.move(pull, waiting)
            answers = list(zip(waiting, outcomes, strict=True))
            waiting = [job for job, outcome in answers if isinstance(outcome, NotTried)]
        assert not waiting
        (*before, last) = site.outcomes[stuck.file.id]
        assert {outcome.everything for outcome in before} == {False}
        assert isinstance(last, Refused)
        assert last.cause == "attempts_hanging"
    for number, job in enumerate(good):
        assert contents(site.outcomes[job.file.id][-1]) == b"%d" % number


# -- the archive ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The archive is a file system of 8 MB, of which 2 MB would be reserve enough."""
    monkeypatch.setattr("socs.archive.pull_round.RESERVE", 2 * MEGABYTE)
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(site.archive)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount")
    yield site.archive
    subprocess.run(["umount", "-l", str(site.archive)], check=True)


def test_file_that_does_not_fit_holds_up_no_other(site: Site, small_disk: Path) -> None:
    huge = site.root / "0 huge"
    with huge.open("wb") as file:
        file.truncate(9 * MEGABYTE)
    jobs = [site.job(huge, b"x"), *(site.write(f"{n}", b"%d" % n) for n in range(1, 20))]
    waiting = jobs
    with site.pull() as pull:
        for _ in range(4):
            outcomes = site.move(pull, waiting)
            assert isinstance(outcomes[0], NotTried)
            assert not outcomes[0].everything
            assert str(huge) in outcomes[0].detail
            left = [j for j, o in zip(waiting, outcomes, strict=True) if not isinstance(o, Placed)]
            waiting = left
        assert waiting == jobs[:1]
        assert pull.link_errors == 0
    assert site.staged() == []


def test_full_archive_is_named_and_files_arrive_once_there_is_space(
    site: Site, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(7 * MEGABYTE))
    data = bytes(2 * MEGABYTE)
    job = site.write("a", data)
    with site.pull() as pull:
        (outcome,) = site.move(pull, [job])
        assert isinstance(outcome, NotTried)
        assert outcome.everything
        assert str(small_disk) in outcome.detail
        assert "No space left" in outcome.detail
        assert pull.troubles() == [outcome.detail]
        filler.unlink()
        (outcome,) = site.move(pull, [job])
        assert contents(outcome) == data
        assert pull.troubles() == []


def test_archive_that_can_have_no_more_files_is_named(site: Site, small_disk: Path) -> None:
    job = site.write("a", b"x")
    directories = 4 + len(site.root.parts) - 1  # the root, those above the tree, those in it
    for count in (directories, directories + 100):
        options = f"remount,nr_inodes={count}"
        subprocess.run(["mount", "-o", options, str(small_disk)], check=True)
        with site.pull() as pull:
            (outcome,) = site.move(pull, [job])
        if count == directories:
            assert isinstance(outcome, NotTried)
            assert outcome.everything
            assert str(small_disk) in outcome.detail
            assert "No space left" in outcome.detail
        else:
            assert contents(outcome) == b"x"


def test_read_only_archive_is_named(site: Site, small_disk: Path) -> None:
    first, second = site.write("a", b"x"), site.write("b", b"x")
    with site.pull() as pull:
        site.move(pull, [first])
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        (outcome,) = site.move(pull, [second])
        assert outcome == NotTried(f"--data-dir {small_disk} is mounted read-only")
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        assert isinstance(site.move(pull, [second])[0], Placed)


def test_directory_of_the_archive_that_is_a_file_refuses_one_file_only(site: Site) -> None:
    bad, good = site.write("bad", b"x", action="in the way"), site.write("good", b"x")
    place = Path(site.storage.path(bad.place))
    place.parent.parent.parent.mkdir(parents=True)
    place.parent.parent.write_text("a file where a directory belongs")
    with site.pull() as pull:
        outcomes = site.move(pull, [bad, good])
    assert outcomes[0].cause == "attempts_not_placed"
    assert contents(outcomes[1]) == b"x"
    assert site.staged() == []


# -- stopping and starting ------------------------------------------------------------------------


def test_stop_in_the_middle_leaves_nothing_running_and_keeps_the_part(site: Site) -> None:
    size = 8 * MEGABYTE
    data = random.Random(4).randbytes(size)
    job = site.write("large", data)
    with TcpCutter((LOOPBACK, site.sshd.port)) as cutter:
        with site.pull(port=cutter.address[1], bandwidth_limit=4096) as pull:
            site.submit(pull, [job])
            wait_until(lambda: sum(e["bytes"] for e in pull.current()) > size / 2, 30, "half of it")
            assert len(rsyncs(site)) >= 3  # generator, receiver, ssh
            cutter.hang()  # so that nothing ends because the other end does
            pull.stop()
            assert not [thread for thread in threading.enumerate() if thread.name == "pull"]
            wait_until(lambda: not here(rsyncs(site)), 5, "the end of rsync and ssh")
            assert site.outcomes == {}
            cutter.resume()
            assert pull.link_errors == 0
        passed = cutter.replied
        with site.pull(port=cutter.address[1]) as pull:
            assert contents(*site.move(pull, [job])) == data
        assert cutter.replied - passed < 0.6 * size
    assert site.staged() == []


def here(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Without those that the server has started."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            if "--server" not in process.cmdline():
                found.append(process)
    return found


def test_nothing_is_placed_or_answered_after_stop(site: Site) -> None:
    jobs = [site.write(f"{n}", b"%d" % n) for n in range(50)]
    jobs += [site.job(job.file.path, b"%d" % n) for n, job in enumerate(jobs)]  # each twice
    answers: list[Outcome] = []
    with site.pull() as pull:

        def done(job: Job, outcome: Outcome) -> None:
            answers.append(outcome)
            wait_until(lambda: pull._calls.stopped, 10, "the stop")

        pull.submit(jobs, done)
        wait_until(lambda: answers, 10, "an answer")
    placed = [path for path in site.archive.glob("17000/crate1/**/*") if path.is_file()]
    assert len(answers) <= len(placed) <= THREADS, "only what was under way"


def test_stop_while_nothing_is_done(site: Site) -> None:
    with site.pull() as pull:
        assert pull.room() == 400
        site.submit(pull, [])
        pull.stop()
        pull.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "pull"]


def test_rsync_ends_with_a_killed_archiver_and_the_next_one_goes_on(site: Site) -> None:
    size = 8 * MEGABYTE
    data = random.Random(5).randbytes(size)
    job = site.write("large", data)
    program = """if True:
        import sys, msgspec
        from socs.archive.moving import Job
        from socs.archive.pull import Pull
        from socs.archive.storage import Storage
        archive, root, user, port, key, job, *options = sys.argv[1:]
        pull = Pull(Storage(archive, "archiver"), host="127.0.0.1", user=user, port=int(port),
                    key=key, roots=[root], bandwidth_limit=512, ssh_options=options)
        pull.submit([msgspec.json.decode(job, type=Job)], lambda job, outcome: None)
        sys.stdin.read()
    """
    arguments = [site.archive, site.root, site.sshd.user, site.sshd.port, site.sshd.key]
    encoded = msgspec.json.encode(job).decode()
    command = [sys.executable, "-c", program, *map(str, arguments), encoded, *site.sshd.options]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as killed:
        staging = site.archive / job.place.timecode / f"{STAGING}archiver"

        def arrived() -> int:
            return sum(p.stat().st_size for p in staging.rglob("*large*") if p.is_file())

        wait_until(lambda: arrived() > size / 8, 30, "an eighth of the file")
        killed.send_signal(signal.SIGKILL)
    wait_until(lambda: not rsyncs(site), 5, "the end of rsync and ssh")  # the rest would take 14 s
    assert arrived() < size / 2
    with TcpCutter((LOOPBACK, site.sshd.port)) as cutter, site.pull(port=cutter.address[1]) as pull:
        assert contents(*site.move(pull, [job])) == data
        assert cutter.replied < 0.95 * size


def test_whole_file_that_a_killed_archiver_left_is_used(site: Site) -> None:
    job = site.write("a", b"data")
    stale = site.write("b", b"new")
    tree = site.archive / "17000" / f"{STAGING}archiver" / NAME
    for path, data in ((job.file.path, b"data"), (stale.file.path, b"old")):
        copy = Path(f"{tree}{path}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(data)
        os.utime(copy, ns=(1, os.stat(path).st_mtime_ns))
    Path(job.file.path).unlink()  # so that it can only come from there
    with site.pull() as pull:
        outcomes = site.move(pull, [job, stale])
    assert [contents(outcome) for outcome in outcomes] == [b"data", b"new"]
    assert site.staged() == []


def test_second_name_of_a_file_that_is_adopted_is_removed(site: Site) -> None:
    job = site.write("a", b"data")
    with site.pull() as pull:
        path = contents_path(*site.move(pull, [job]))
    staged = Path(f"{site.archive}/17000/{STAGING}archiver/{NAME}{job.file.path}")
    staged.parent.mkdir(parents=True)
    os.link(path, staged)
    with site.pull() as pull:
        assert site.move(pull, [job]) == [Placed(path, 4, adopted=True)]
    assert site.staged() == []
    assert Path(path).read_bytes() == b"data"


def test_second_name_of_an_archived_file_is_never_written_to(site: Site) -> None:
    """A crash in the middle of placing leaves the temporary name beside the final one."""
    data, more = random.Random(6).randbytes(MEGABYTE), random.Random(7).randbytes(MEGABYTE)
    archived = site.write(".a.AbCdEf", data)
    with site.pull() as pull:
        path = Path(contents_path(*site.move(pull, [archived])))
    tree = Path(f"{site.archive}/17000/{STAGING}archiver/{NAME}{site.root}")
    tree.mkdir(parents=True)
    os.link(path, tree / ".a.AbCdEf")  # looks like what rsync was writing for `a`
    new = data[: MEGABYTE // 2] + more
    with site.pull() as pull:
        assert contents(*site.move(pull, [site.write("a", new)])) == new
    assert path.read_bytes() == data


def contents_path(outcome: Outcome) -> str:
    assert isinstance(outcome, Placed), outcome
    return outcome.path


def test_parts_that_nobody_asks_for_are_removed_after_a_while(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = site.archive / "17000" / f"{STAGING}archiver" / NAME
    part = tree / "some/where/.socs-partial/file"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"part")
    with site.pull() as pull:
        site.move(pull, [site.write("a", b"x")])
        assert part.exists()
    assert site.log == []
    late = time.time() + KEPT + 60
    monkeypatch.setattr("socs.archive.pull.time.time", lambda: late)
    with site.pull():
        wait_until(lambda: site.log, 10, "a line in the log")
    assert site.log == ["removed 1 parts of files that nobody asks for any more"]
    assert site.staged() == []


def test_wrong_settings(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[dict[str, Any]] = [
        {"host": ""},
        {"host": "-oProxyCommand=x"},
        {"user": "-l"},
        {"roots": []},
        {"roots": ["/"]},
        {"roots": ["relative"]},
        {"rsync_options": ["--remove-source-files"]},
        {"rsync_options": ["/etc/"]},
        {"bandwidth_limit": 0},
        {"timeout": 0},
        {"files_per_batch": 0},
    ]
    for settings in wrong:
        with pytest.raises(ConfigError), site.pull(**settings):
            pass
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="rsync not found"), site.pull():
        pass


def test_defect_answers_all_and_the_next_batch_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [site.write("a", b"x"), site.write("b", b"x")]

    def broken(self: Round) -> None:
        raise KeyError("defect")

    with site.pull() as pull:
        with monkeypatch.context() as patch:
            patch.setattr(Round, "_transfer", broken)
            assert site.move(pull, jobs) == [NotTried("pull: KeyError: 'defect'")] * 2
        assert all(isinstance(outcome, Placed) for outcome in site.move(pull, jobs))
