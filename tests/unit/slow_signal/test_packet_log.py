"""The text file with a line for each readout in each packet."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from socs.errors import ConfigError
from socs.slow_signal.decode import decode
from socs.slow_signal.packet_log import PacketLog
from tests.slow_signal_packets import RECEIVED, STEP, T0, batch, packet


def test_lines_are_those_of_ssdaq(tmp_path: Path) -> None:
    with PacketLog(tmp_path / "packets") as packets:
        packets.put(decode(batch([packet(3, 0, 2), packet(31, 10, 3)])))
        packets.put(decode(batch([])))
    lines = (tmp_path / "packets").read_text().splitlines()
    expected = [(0, 3), (1, 3), (10, 31), (11, 31), (12, 31)]
    assert lines == [f"{T0 + i * STEP}  {int(RECEIVED * 1e9)}  {m}" for i, m in expected]
    assert packets.status() == {"path": str(tmp_path / "packets"), "written": 5, "dropped": 0}


def test_what_finds_no_room_is_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("socs.slow_signal.packet_log.ROOM", 2)
    inside, may = threading.Event(), threading.Event()

    class Slow:
        def write(self, text: bytes) -> int:
            inside.set()
            assert may.wait(60)
            return len(text)

        def close(self) -> None: ...

    with PacketLog(tmp_path / "packets") as packets:
        packets._file.close()
        packets._file = Slow()
        packets.put(decode(batch([packet(0, 0)])))
        assert inside.wait(60)
        for number in range(5):
            packets.put(decode(batch([packet(0, 10 * number)])))
        assert packets.dropped == 30
        may.set()
    assert packets.written == 30


def test_a_full_disk_is_counted_and_told_once(caplog) -> None:
    with PacketLog(Path("/dev/full")) as packets:
        for number in range(3):
            packets.put(decode(batch([packet(0, 10 * number)])))
    assert (packets.written, packets.dropped) == (0, 30)
    assert [record.getMessage() for record in caplog.records] == [
        "packet_debug_stream_file: No space left on device"
    ]


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="packet_debug_stream_file: cannot write"):
        PacketLog(tmp_path / "none" / "packets")
