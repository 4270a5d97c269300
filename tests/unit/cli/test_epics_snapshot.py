"""A snapshot answers as the monitor would have that wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from socs.cli.epics_snapshot import SnapshotAsked
from socs.cli.main import main
from socs.epics.accounts.inventory import InventoryLimits
from socs.epics.knowledge.knowledge import KnowledgeSettings
from socs.epics.monitor.taking_up import gathered
from socs.epics.store import snapshot_file
from socs.epics.store.snapshots import Snapshots, SnapshotSettings
from socs.errors import ConfigError, Malformed, NotAllowed
from tests.epics_gateways import FakeGateway
from tests.epics_servers import SETTINGS, T0

IOC = "10.0.0.2"
NAMES = [b"A:1", b"A:2", b"B\x1b:3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two snapshots; by the newer one an archiver asks for three names, and two are served."""
    from socs.epics.knowledge.knowledge import Knowledge  # noqa: PLC0415

    settings = KnowledgeSettings(
        SETTINGS, InventoryLimits(names=100), classes={"archiver": ["10.0.9.9"]}
    )
    knowledge, gateway = Knowledge(settings, since=T0, secret=1), FakeGateway()
    snapshots = Snapshots(SnapshotSettings(tmp_path_factory.mktemp("snapshots")))
    assert snapshots.write(gathered(knowledge, T0), T0)
    gateway.ask(NAMES)
    gateway.ask(NAMES[:1], host="10.0.8.8")
    for name in NAMES[:2]:
        gateway.answer(name, T0 + 1, IOC)
    gateway.ca_beacon(T0 + 1, 7, 0x0A000002)
    knowledge.take(gateway.take(T0 + 2), T0 + 2)
    assert snapshots.write(gathered(knowledge, T0 + 3600), T0 + 3600)
    return snapshots.paths()[0].parent


def names(rows) -> list[str]:
    return [row["name"] for row in rows]


def test_the_newest_of_a_folder_is_asked(folder):
    asked = SnapshotAsked(folder)
    assert asked.moment == T0 + 3600
    assert names(asked.ask("search")["rows"]) == ["A:1", "A:2", "B\x1b:3"]
    oldest = sorted(folder.iterdir())[0]
    assert SnapshotAsked(oldest).ask("search")["total"] == 0


def test_filters_and_pages(folder):
    asked = SnapshotAsked(folder)
    assert names(asked.ask("search", state="ONLINE", server=IOC)["rows"]) == ["A:1", "A:2"]
    assert names(asked.ask("search", pattern="a:*", start=1, most=1)["rows"]) == ["A:2"]
    assert names(asked.ask("search", requester="10.0.8.8")["rows"]) == ["A:1"]
    assert asked.ask("search", source_class="archiver")["total"] == 3
    assert asked.ask("search", asked_within=60.0)["total"] == 0  # before it was written
    assert [len(page["rows"]) for page in asked.pages("search", pattern="A*")] == [2]
    with pytest.raises(Malformed, match="state"):
        asked.ask("search", state="THERE")
    with pytest.raises(ConfigError, match="groups are not in a snapshot"):
        asked.ask("search", group="ring")


def test_who_asks_and_what_serves(folder, capsys):
    asked = SnapshotAsked(folder)
    known = asked.ask("pv_info", name="A:1")
    assert (known["state"], known["server"]) == ("ONLINE", f"{IOC}:5064")
    assert known["requests_by_class"] == {"client": 1, "archiver": 1}
    with pytest.raises(NotAllowed, match="'C' is not known"):
        asked.ask("pv_info", name="C")
    assert main(["epics", "who", "A:1", "--json", "--snapshot", str(folder)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["state"], row["server"]) for row in told["servers"]] == [("ALIVE", f"{IOC}:5064")]
    assert {row["source"] for row in told["requesters"]} == {"10.0.9.9:40000", "10.0.8.8:40000"}


def test_lists(folder):
    asked = SnapshotAsked(folder)
    assert [row["server"] for row in asked.ask("servers")["rows"]] == [f"{IOC}:5064"]
    assert asked.ask("servers", host="10.0.0.3")["rows"] == []
    assert asked.ask("clients", host="10.0.8.8")["total"] == 1
    assert asked.ask("clients")["total"] == 2
    assert [row["host"] for row in asked.ask("hosts")["rows"]] == [IOC]
    assert asked.ask("applications")["rows"] == []


def test_names_are_exported_whole_and_harmless(folder, capsys, tmp_path):
    offline = ["--snapshot", str(folder)]
    assert main(["epics", "export", *offline]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("name,state,protocol,server,requests,")
    assert [line.split(",")[0] for line in printed[1:]] == ["A:1", "A:2", "B\\x1b:3"]
    assert main(["epics", "export", "--format", "json", "--state", "ONLINE", *offline]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert names(rows) == ["A:1", "A:2"]
    assert main(["epics", "export", "applications", *offline]) == 0
    assert capsys.readouterr().out.startswith("key,title,")
    assert main(["epics", "export", "hosts", "--state", "LOST", *offline]) == 1
    assert "filters are for process variables only" in capsys.readouterr().err


def test_a_file_is_replaced_when_all_is_written(folder, capsys, tmp_path):
    path = tmp_path / "pvs.csv"
    path.write_text("before")
    wrong = ["epics", "export", "--server", "x", "-o", str(path), "--snapshot", str(folder)]
    assert main(wrong) == 1
    assert path.read_text() == "before"
    assert main(["epics", "export", "-o", str(path), "--snapshot", str(folder)]) == 0
    assert len(path.read_text().splitlines()) == 4
    assert "3 pvs are in" in capsys.readouterr().err
    nowhere = str(tmp_path / "missing" / "pvs.csv")
    assert main(["epics", "export", "-o", nowhere, "--snapshot", str(folder)]) == 1
    assert "--output: cannot write" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["pvs.csv"]


def test_what_is_no_snapshot_is_refused(tmp_path):
    for make, why in (
        (lambda path: path.write_bytes(b"nothing"), "not a zip file"),
        (lambda path: snapshot_file.write(path, {"x": np.zeros(3)}), "this is no snapshot"),
        (lambda path: path.unlink(missing_ok=True), "No such file"),
    ):
        make(tmp_path / "file")
        with pytest.raises(ConfigError, match=f"--snapshot: .*{why}"):
            SnapshotAsked(tmp_path / "file")
    with pytest.raises(ConfigError, match="no snapshot that is whole"):
        SnapshotAsked(tmp_path)
