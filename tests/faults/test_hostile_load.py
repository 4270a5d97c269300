"""A flood of nonsense beside good announcements, little memory, and texts made to break SQL.

As a program it is the flood: ``python -m tests.faults.test_hostile_load PORT RATE SECONDS``.
"""

from __future__ import annotations

import itertools
import json
import re
import resource
import socket
import subprocess
import sys
import time
import timeit
from pathlib import Path

import psutil
import pytest

from socs.counters import CONSERVATION, imbalances
from socs.pysmurf.decode import decode
from socs.pysmurf.stream import PysmurfStream
from socs.testing import wait_until
from tests.faults.test_kill_monitor import MONITOR, AgentVictim
from tests.faults.test_kill_stream import Victim
from tests.harness import rows, run_source, running_stream

MIB = 1 << 20
SLOT = 0.002  # s; the flood is sent in bursts this long apart
WHOLE = {
    "host": "h",
    "id": "bad",
    "script": "s",
    "time": 1.7e9,
    "seq_no": 1,
    "type": "data_file",
    "payload": {"path": "/data/1.npy", "type": "t", "format": "npy", "timestamp": 1.7e9},
}


def nonsense() -> list[bytes]:
    """Datagrams of 0 to 4000 bytes, one for each way of being wrong."""
    whole = json.dumps(WHOLE).encode()
    relative = json.dumps(WHOLE | {"payload": {"path": "../1.npy"}}).encode()
    incomplete = json.dumps({"host": "h", "type": "data_file"}).encode()
    deep = json.dumps(WHOLE | {"type": "general", "payload": 0}).encode()
    return [
        b"",
        bytes(range(256)),
        whole[:100],
        whole.replace(b'"host"', b'"h\xff"'),
        whole.replace(b"1.7e9", b"NaN") + b"}",
        incomplete,
        relative,
        json.dumps(WHOLE | {"seq_no": "one"}).encode(),
        json.dumps(WHOLE | {"host": "h" * 300}).encode(),
        deep.replace(b": 0}", b": " + b"[" * 90 + b"]" * 90 + b"}"),
        json.dumps(WHOLE | {"type": ["x" * 4000]}).encode(),
        b"\x1b[2J\n" * 50,
    ]


def flood(port: int, rate: int, seconds: float) -> None:
    """Send ``rate`` malformed datagrams per second, evenly; print how many."""
    sent, datagrams = 0, itertools.cycle(nonsense())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < seconds:
            while sent < elapsed * rate:
                sender.send(next(datagrams))
                sent += 1
            time.sleep(SLOT)
    print(sent)


class Flood:
    """The flood as a process of its own; ``sent`` is known at its end."""

    def __init__(self, port: int, rate: int, seconds: float) -> None:
        command = [sys.executable, "-m", "tests.faults.test_hostile_load"]
        arguments = [str(port), str(rate), str(seconds)]
        self._process = subprocess.Popen(command + arguments, stdout=subprocess.PIPE, text=True)
        self.sent = 0

    def __enter__(self) -> Flood:
        return self

    def __exit__(self, *error: object) -> None:
        self.sent = int(self._process.communicate(timeout=100)[0])


def at_rest(stream: PysmurfStream, datagrams: int) -> dict[str, int]:
    """The numbers, once each of ``datagrams`` is accounted for and no file is under way."""

    def settled() -> dict[str, int] | None:
        numbers = stream.numbers()
        arrived = numbers["datagrams_received"] + numbers["kernel_drops"] == datagrams
        under_way = any(numbers[n] for n in ("files_pending", "files_waiting", "files_unsaved"))
        return (
            numbers if arrived and not under_way and not imbalances(numbers, CONSERVATION) else None
        )

    return wait_until(settled, 60, "each datagram to be accounted for")


def flooded(directory: Path, rate: int, seconds: int) -> None:
    """``rate`` malformed datagrams and 1000 announcements per second, from two processes."""
    env = {"SOCS_DATA_DIR": str(directory / "table")}
    with running_stream(directory, env) as stream:
        before = psutil.Process().memory_info().rss
        with Flood(stream.receiver.port, rate, seconds) as bad:
            options = ("--rate", 1000, "--files", 1000 * seconds, "--size", 10)
            truth = run_source(directory, stream.receiver.port, *options)
        numbers = at_rest(stream, bad.sent + truth.datagrams)
        assert psutil.Process().memory_info().rss - before < 150 * MIB
        assert stream.troubles() == []
        assert len(stream.log) <= 10
    # Kernel drops hit good and bad alike; all that was received of the good is a row.
    stored = rows(env)
    assert len(stored) == len(set(stored)) == numbers["messages_file"]
    assert set(stored) <= set(truth.announced.items())
    assert len(stored) >= 0.99 * len(truth.announced)


def test_flood_of_nonsense_keeps_no_announcement_out(tmp_path: Path) -> None:
    flooded(tmp_path, rate=10_000, seconds=2)


@pytest.mark.slow
def test_heavy_flood_of_nonsense_keeps_no_announcement_out(tmp_path: Path) -> None:
    flooded(tmp_path, rate=50_000, seconds=10)


# -- little memory --------------------------------------------------------------------------------


def test_burst_with_little_memory_and_no_database(mariadb_private, tmp_path: Path) -> None:
    """20 000 announcements, at most 400 MB of data, no database: all on disk, nobody killed."""
    victim = Victim(tmp_path, mariadb_private.env())
    victim.start()
    try:
        resource.prlimit(victim.process.pid, resource.RLIMIT_DATA, (400 * MIB, 400 * MIB))
        mariadb_private.kill()
        options = ("--rate", "burst", "--files", 20_000, "--size", 10)
        truth = run_source(tmp_path, victim.port, *options)

        def settled() -> dict[str, int] | None:
            numbers = victim.numbers()
            arrived = numbers["datagrams_received"] + numbers["kernel_drops"] == truth.datagrams
            unsaved = numbers["messages_file"] - numbers["files_spooled"] - numbers["files_shed"]
            return (
                numbers
                if arrived and not unsaved and not imbalances(numbers, CONSERVATION)
                else None
            )

        numbers = wait_until(settled, 60, "the burst to be spooled")
        assert victim.process.poll() is None
        assert numbers["handler_errors"] == 0
        lost = numbers["kernel_drops"] + numbers["queue_full"] + numbers["files_shed"]
        assert numbers["files_spooled"] >= len(truth.announced) - lost
        mariadb_private.start()
        expected = numbers["files_spooled"]
        wait_until(lambda: victim.numbers()["files_registered"] == expected, 60, "the rows")
    finally:
        victim.kill()
    stored = rows(mariadb_private.env())
    assert len(stored) == len(set(stored)) == expected
    assert set(stored) <= set(truth.announced.items())


# -- texts made to break SQL ----------------------------------------------------------------------


def injections() -> list[str]:
    """A hundred texts that end statements, quote, escape, comment, or stand for parameters."""
    parts = ["'", '"', "`", "\\", ";", "%s", "%(path)s", "?", ":x", "--", "/*", "*/", "#", "{0}"]
    parts += ["%", "%%", "\n", "\r", "\x1a", "\x00", "é", "\U0001f52d", "_", "0x27", "\ufeff"]
    table = "pysmurf_files_v1"
    frames = ["{}", "x{} OR 1=1 -- ", "{}; DROP TABLE " + table + "; -- ", "{0}{0}\\{0}"]
    return [frame.replace("{0}", part).replace("{}", part) for part in parts for frame in frames]


def test_no_text_breaks_out_of_its_column(mariadb, tmp_path: Path) -> None:
    schema = "DESCRIBE pysmurf_files_v1"
    texts = injections()
    assert len(texts) == 100
    sent = []
    with running_stream(tmp_path, mariadb.env()) as stream:
        wait_until(lambda: mariadb.query("SHOW TABLES LIKE 'pysmurf_files_v1'"))
        before = mariadb.query(schema)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for number, text in enumerate(texts):
                name = text.replace("/", "|").replace("\0", "0")
                path = tmp_path / "data" / f"{number}{name}"
                path.write_bytes(b"x")
                payload = {
                    "path": str(path),
                    "action": text,
                    "format": text[:32],
                    "pysmurf_version": text,
                    "timestamp": number,
                }
                whole = WHOLE | {"id": text, "script": text, "host": text, "payload": payload}
                datagram = json.dumps(whole | {"seq_no": number}).encode()
                sender.sendto(datagram, ("127.0.0.1", stream.receiver.port))
                sent.append((str(path), text, text[:32], text, text))
        numbers = at_rest(stream, len(texts))
        assert numbers["files_registered"] == len(texts)
        assert mariadb.query(schema) == before
    columns = "path, action, format, pysmurf_version, pub_id"
    stored = mariadb.query(f"SELECT {columns} FROM pysmurf_files_v1 ORDER BY id")
    assert sorted(stored) == sorted(sent)


# -- the password ---------------------------------------------------------------------------------


def test_password_is_in_no_log_status_or_command_line(site, mariadb_private, tmp_path) -> None:
    """Neither while all is well nor when the database is gone, nor when it is refused."""
    environ = mariadb_private.env()
    secret = environ["MYSQL_PASSWORD"]
    assert len(secret) >= 8
    victim = AgentVictim(site, tmp_path, environ)
    victim.start()
    victim.site.wait_joined(MONITOR)
    command_lines = [p.cmdline() for p in psutil.Process().children(recursive=True)]
    assert MONITOR in str(command_lines)
    said = [json.dumps(command_lines), json.dumps(victim.read())]
    mariadb_private.kill()
    wait_until(lambda: victim.read()["database"]["state"] == "down", 20, "the loss to be seen")
    said.append(json.dumps(victim.read()))
    victim.kill()
    mariadb_private.start()
    victim.environ["MYSQL_USER"] = "nobody"  # whom the server refuses with this password
    victim.start()
    wait_until(lambda: "MYSQL_PASSWORD" in str(victim.read()["database"]["problem"]), 20)
    said.append(json.dumps(victim.read()))
    victim.stop()
    said += [path.read_text() for path in (victim.site.directory / "log").iterdir()]
    assert any("MYSQL_PASSWORD" in text for text in said)  # it does say what to check
    assert not any(secret in text for text in said)


# -- datagrams made to cost much ------------------------------------------------------------------

COSTLY = {
    "large exponents": WHOLE | {"type": "general", "payload": ["1e300"] * 9000},
    "large exponents of a register": WHOLE
    | {"type": "metadata", "payload": {"path": "a", "value": ["8.98846567e307"] * 4000}},
}


def costly() -> dict[str, bytes]:
    """Datagrams of 60 kB whose numbers take a JSON decoder long."""
    unquoted = {name: json.dumps(value) for name, value in COSTLY.items()}
    datagrams = {name: re.sub(r'"([0-9.]+e30\d)"', r"\1", text) for name, text in unquoted.items()}
    for key in ("time", "timestamp"):
        repeated = f'"{key}": 1e300, ' * 3000
        datagrams[f"{key} again and again"] = json.dumps(WHOLE).replace(
            f'"{key}"', repeated + f'"{key}"', 1
        )
    return {name: text.encode() for name, text in datagrams.items()}


@pytest.mark.parametrize("name", costly())
def test_no_number_costs_more_than_milliseconds(name: str) -> None:
    datagram = costly()[name]
    assert 40_000 < len(datagram) < 65_507
    assert decode(datagram).host == "h"
    # CPU time, the least of several, because other programs disturb; 6 times what is measured.
    times = timeit.repeat(lambda: decode(datagram), timer=time.process_time, number=1, repeat=5)
    assert min(times) < 0.015


if __name__ == "__main__":
    flood(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
