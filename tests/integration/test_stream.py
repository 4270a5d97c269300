"""From real datagrams on a real socket to rows in a real table, without OCS."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from socs.counters import CONSERVATION, imbalances
from socs.errors import ConfigError
from socs.pysmurf.stream import PysmurfStream
from socs.sim.pysmurf_publisher import Publisher
from socs.testing import wait_until
from socs.testing.relay import Fate, RandomFates, UdpRelay
from tests.harness import rows, run_source, running_stream


def settled(stream: PysmurfStream, messages: int, timeout: float = 60) -> dict[str, int]:
    """Wait until ``messages`` datagrams were received and nothing is on its way; the counters."""
    wait_until(
        lambda: stream.numbers()["datagrams_received"] >= messages,
        timeout,
        f"{messages} datagrams",
    )

    def at_rest() -> bool:
        numbers = stream.numbers()
        unfinished = numbers["files_pending"] + numbers["files_unsaved"]
        return not (unfinished or imbalances(numbers, CONSERVATION))

    wait_until(at_rest, timeout, "all files registered")
    return stream.numbers()


def test_burst_of_20000_datagrams(files_env, tmp_path: Path) -> None:
    """Sent back to back at full speed from another process; nothing lost, nothing doubled."""
    with running_stream(tmp_path, files_env) as stream:
        port = stream.receiver.port
        truth = run_source(
            *(tmp_path, port, "--rate", "burst", "--files", 20_000, "--prepare"),
            *("--size", "100:300", "--drop", 0.002, "--duplicate", 0.001, "--seed", 5),
        )
        numbers = settled(stream, truth.datagrams)
    assert truth.messages >= 20_000
    assert truth.dropped.total() > 0
    assert truth.duplicated.total() > 0
    assert numbers["kernel_drops"] == 0
    assert numbers["datagrams_received"] == truth.datagrams
    assert numbers["sequence_lost"] == truth.dropped.total()
    assert numbers["message_duplicate"] == truth.duplicated.total()
    assert sorted(rows(files_env)) == sorted(truth.announced.items())


def test_loss_on_the_way_is_reported_exactly(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    fates = RandomFates(seed=3, loss=0.02, duplicate=0.02, reorder=0.02)

    def decide(index: int, datagram: bytes) -> Fate:
        """Nobody can tell that a publisher's last message is missing, so that one passes."""
        return Fate.PASS if b'"stop"' in datagram else fates(index)

    with (
        running_stream(tmp_path, env) as stream,
        UdpRelay(("127.0.0.1", stream.receiver.port), decide=decide) as relay,
    ):
        truth = run_source(tmp_path, relay.address[1], "--rate", "burst", "--files", 3000)
        wait_until(lambda: relay.counts.received == truth.datagrams)
        relay.release()
        counts = relay.counts
        numbers = settled(stream, counts.received - counts.dropped + counts.duplicated)
        assert counts.dropped > 20
        assert counts.held > 20
        assert numbers["sequence_lost"] == counts.dropped
        assert numbers["message_duplicate"] == counts.duplicated
        assert numbers["kernel_drops"] == 0


HOSTILE = [
    b"",
    b"\xff\xfe\x00",
    b"{",
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b"1" * 60_000,
    b"null",
    b"[]",
    b"{}",
    b'{"type": 5}',
    b'{"host":"h","id":"i","script":"s","time":NaN,"seq_no":-5,"type":"data_file","payload":{}}',
    b'"\\ud800"',
    b"\x00" * 65_507,
    b'{"type":"data_file","payload":{"path":"\\u001b[31m"}}',
]


def message(path: str, number: int, **more: object) -> bytes:
    payload = {"path": path, "type": "t", "format": "", "timestamp": None, "plot": False} | more
    return json.dumps(
        {
            "host": "h",
            "id": "i",
            "script": "s",
            "time": float(number),
            "seq_no": number,
            "type": "data_file",
            "payload": payload,
        }
    ).encode()


def test_hostile_datagrams_are_counted_and_the_next_good_one_registered(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    (tmp_path / "secret").write_text("secret")
    with running_stream(tmp_path, env, allow=["127.0.0.1/32"]) as stream:
        data = tmp_path / "data"
        (data / "link").symlink_to(tmp_path / "secret")
        os.mkfifo(data / "fifo")
        (data / "directory").mkdir()
        (data / "good.npy").write_bytes(b"good")
        outside = ["/etc/passwd", f"{data}/../secret", f"{data}/link", "/dev/zero"]
        refused = [*outside, f"{data}/fifo", f"{data}/directory"]
        malformed = [message(path, 0) for path in ("relative", "/nul\0", "/" + "x" * 5000, "")]
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
        ):
            stranger.bind(("127.0.0.9", 0))
            target = ("127.0.0.1", stream.receiver.port)
            for datagram in HOSTILE + malformed:
                sender.sendto(datagram, target)
            for number, path in enumerate(refused):
                sender.sendto(message(path, number), target)
            stranger.sendto(message(str(data / "good.npy"), 0), target)
            sender.sendto(message(str(data / "good.npy"), len(refused)), target)
            sent = len(HOSTILE) + len(malformed) + len(refused) + 2
            numbers = settled(stream, sent)
        assert numbers["datagrams_received"] == sent
        assert numbers["sender_not_allowed"] == 1
        assert numbers["attempts_outside_roots"] == len(outside)
        assert numbers["attempts_not_regular"] == 2
        assert numbers["messages_decoded"] == len(refused) + 1
        assert numbers["files_registered"] == 1
        assert numbers["files_failed"] == len(refused)
        assert stream.troubles() == []
        assert [path for path, _ in rows(env)] == [str(data / "good.npy")]
        # One line a kind at most, and nothing in it that a terminal would obey.
        assert len(stream.log) <= 15
        assert all(line.isprintable() and len(line) < 520 for line in stream.log)


def test_database_away_in_the_middle(mariadb_private, tmp_path: Path) -> None:
    """Reception never stops; all rows are there after the server is back."""
    away_for_a_while(mariadb_private, tmp_path, seconds=3, files=3000, rate=1000)


@pytest.mark.slow
def test_database_away_for_a_minute_in_a_burst_of_20000(mariadb_private, tmp_path: Path) -> None:
    away_for_a_while(mariadb_private, tmp_path, seconds=60, files=20_000, rate="burst")


def away_for_a_while(server, directory: Path, *, seconds: float, files: int, rate: object) -> None:
    env = server.env()
    with running_stream(directory, env) as stream:
        first = run_source(directory, stream.receiver.port, "--rate", "burst", "--files", 10)
        settled(stream, first.datagrams)
        before = rows(env)
        assert len(before) == 10
        server.stop()
        stopped = time.monotonic()
        truth = run_source(
            *(directory, stream.receiver.port, "--rate", rate, "--files", files, "--seed", 7),
            *("--drop", 0.01, "--id", "second"),
        )
        received = stream.numbers()["datagrams_received"]
        problem = wait_until(lambda: stream.troubles(), 15)
        assert "MYSQL_HOST" in problem[0]
        wait_until(lambda: time.monotonic() - stopped > seconds, seconds + 5)
        server.start()
        numbers = settled(stream, truth.datagrams, timeout=60)
        assert received <= numbers["datagrams_received"]
        assert numbers["kernel_drops"] == 0
        assert numbers["sequence_lost"] == truth.dropped.total()
        assert stream.troubles() == []
    assert sorted(rows(env)) == sorted([*before, *truth.announced.items()])


def test_spool_at_its_quota_sheds_with_a_count(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    with running_stream(tmp_path, env, spool_quota=60_000) as stream:
        stream.registrar.stop()
        truth = run_source(
            tmp_path, stream.receiver.port, "--rate", "burst", "--files", 3000, "--size", 10
        )
        wait_until(lambda: stream.numbers()["datagrams_received"] >= truth.datagrams)

        def at_rest() -> dict[str, int] | None:
            numbers = stream.numbers()
            return (
                None if imbalances(numbers, CONSERVATION) or numbers["files_unsaved"] else numbers
            )

        numbers = wait_until(at_rest, 10, "all accounted for")
        assert numbers["files_shed"] > 1000
        assert numbers["files_spooled"] == numbers["files_pending"] > 50
        assert any("--spool-quota" in text for text in stream.troubles())


def test_full_disk_is_survived(tmp_path: Path) -> None:
    """SQLite meets its SQLITE_FULL here as it does on a disk without room."""
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    with running_stream(tmp_path, env) as stream:
        (pages,) = stream.spool._db.execute("PRAGMA page_count").fetchone()
        stream.spool._db.execute(f"PRAGMA max_page_count = {pages}")
        truth = run_source(
            tmp_path, stream.receiver.port, "--rate", "burst", "--files", 1000, "--size", 10
        )
        wait_until(lambda: stream.numbers()["datagrams_received"] >= truth.datagrams)
        troubles = wait_until(stream.troubles)
        assert any("disk is full" in text for text in troubles)
        assert stream.numbers()["messages_file"] == 1000
        stream.spool._db.execute("PRAGMA max_page_count = 1000000")
        numbers = settled(stream, truth.datagrams)
        assert numbers["files_registered"] == 1000
        assert numbers["files_shed"] == 0
        wait_until(lambda: stream.troubles() == [])
    assert sorted(rows(env)) == sorted(truth.announced.items())


def test_gap_while_the_monitor_was_down_is_reported(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def announce(stream: PysmurfStream, numbers: range) -> None:
            for number in numbers:
                path = tmp_path / "data" / str(number)
                path.write_bytes(b"x")
                sender.sendto(message(str(path), number), ("127.0.0.1", stream.receiver.port))

        with running_stream(tmp_path, env) as stream:
            announce(stream, range(10))
            settled(stream, 10)
        with running_stream(tmp_path, env) as stream:
            announce(stream, range(17, 20))
            assert settled(stream, 3)["sequence_lost"] == 7
    assert len(rows(env)) == 13


def test_port_in_use_names_the_setting(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"{port}.*--udp-port|--udp-port.*{port}"),
            running_stream(tmp_path, {"SOCS_DATA_DIR": str(tmp_path)}, port=port),
        ):
            pass


def test_other_messages_are_handed_on_in_order(tmp_path: Path) -> None:
    env = {"SOCS_DATA_DIR": str(tmp_path / "table")}
    with running_stream(tmp_path, env) as stream:
        got: list = []
        stream.ingest._on_messages = got.extend
        options = {"BACKEND": "udp", "UDP_PORT": stream.receiver.port, "ID": "crate"}
        with Publisher("script", options) as publisher:
            for number in range(5):
                publisher.publish({"n": number}, "session_data")
            publisher.publish("hello", "session_log")
            publisher.publish({"path": "a.b", "value": 1, "type": "int"}, "metadata")
        numbers = settled(stream, 9)
    assert [m.type for m in got] == [
        "start",
        *["session_data"] * 5,
        "session_log",
        "metadata",
        "stop",
    ]
    assert [m.payload["n"] for m in got if m.type == "session_data"] == list(range(5))
    assert numbers["messages_session"] == 6
    assert numbers["messages_metadata"] == 1
    assert numbers["messages_lifecycle"] == 2
