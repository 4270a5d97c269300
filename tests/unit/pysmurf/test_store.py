"""The ingest thread and a spool at its quota."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from socs.counters import FILES, PYSMURF, Counters
from socs.db.spool import Spool
from socs.errors import StorageUnavailable
from socs.problems import Problems
from socs.pysmurf import store
from socs.pysmurf.store import Ingest
from socs.pysmurf.track import SequenceTracker
from socs.testing import wait_until


def announcement(number: int, name: str = "h") -> bytes:
    message = {"host": name, "id": name, "script": name, "time": 1.0 + number, "seq_no": number}
    payload = {"path": f"/data/{number}", "type": "t"}
    return json.dumps(message | {"type": "data_file", "payload": payload}).encode()


@pytest.fixture
def spool(tmp_path: Path):
    spool = Spool(tmp_path, quota=1)
    yield spool
    spool.close()


@pytest.fixture
def ingest(spool: Spool, monkeypatch):
    monkeypatch.setattr(store, "SAVE_INTERVAL", 0.01)
    ingest = Ingest(
        spool,
        SequenceTracker(),
        counters=Counters(PYSMURF, FILES),
        on_messages=lambda messages: None,
        problems=Problems(lambda text: None),
    )
    ingest.start()
    yield ingest
    assert ingest.stop()


def test_full_spool_is_a_problem_until_there_is_room(ingest: Ingest, spool: Spool) -> None:
    ingest.take_in([announcement(0)], [(1, 1)])
    wait_until(lambda: ingest.problem)
    wait_until(spool.streams, what="the state of sequence tracking, which needs no room")
    state = next(iter(spool.streams().values()))
    ingest.take_in(
        [b'{"host":"h","id":"h","script":"h","time":9,"type":"log","seq_no":1}'], [(1, 1)]
    )
    wait_until(lambda: next(iter(spool.streams().values())) != state)
    assert "--spool-quota" in (ingest.problem or "")
    spool.quota = 1 << 30
    ingest.take_in([announcement(2)], [(1, 1)])
    wait_until(lambda: ingest.problem is None)


def test_report_of_publishers_stays_small(ingest: Ingest) -> None:
    names = [f"{number:03d}" + "\U0001f600" * 252 for number in range(20)]
    ingest.take_in([announcement(0, name) for name in names], [(1, 1)] * 20)
    wait_until(lambda: ingest.publishers)
    assert len(json.dumps(ingest.publishers, ensure_ascii=False).encode()) < 32_000


def test_spool_that_refuses_is_not_tried_with_every_group(
    ingest: Ingest, spool: Spool, monkeypatch
) -> None:
    """Each attempt writes all files that are kept; a full disk must not cost the reception."""
    spool.quota = 1 << 30
    attempts = []

    def refuse(files: list, **_: object) -> None:
        attempts.append(len(files))
        raise StorageUnavailable("disk is full")

    monkeypatch.setattr(spool, "append", refuse)
    for number in range(200):
        ingest.take_in([announcement(number)], [(1, 1)])
        wait_until(lambda: ingest.unsaved > number, period=0.0005)  # noqa: B023  called at once
    assert len(attempts) < 20
    monkeypatch.undo()
    wait_until(lambda: ingest.unsaved == 0)
    assert spool.counts()["queued"] == 200
