"""``socs doctor`` on a site with a PV monitor."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from socs.cli import pv_monitor_checks
from socs.cli.database_checks import refusals
from socs.cli.doctor import examine
from socs.db.engine import Database
from socs.db.registrar import RowConstants
from socs.epics.monitor.store import StoreSettings
from socs.epics.store import tables
from socs.sim.site import AgentInstance


def levels(found, words: str) -> list[str]:
    return [each.level for each in found if re.search(words, each.text)]


def test_its_gateways_folder_spools_and_options_are_looked_at(site, tmp_path: Path) -> None:
    environ = {"SOCS_DATA_DIR": str(tmp_path / "state")}
    options = ["--gateway", "there", "away", "--folder", str(tmp_path / "kept")]
    wrong = ["--subnet", "10.0.0.0/40"]
    made = site(
        [
            AgentInstance("PVGateway", "there", []),
            AgentInstance("PVMonitor", "well", options),
            AgentInstance("PVMonitor", "ill", wrong),
        ],
        router=False,
    )
    found = examine(environ | {"OCS_CONFIG_DIR": str(made.directory)}, None, "localhost")
    well = [each for each in found if each.subject == "well"]
    assert levels(well, "listens to there") == ["OK"]
    assert levels(well, "--gateway away is no instance") == ["WARN"]
    assert levels(well, f"folder {tmp_path}/kept can be written") == ["OK"]
    assert levels(well, "spool directory .* can be written") == ["OK"]
    ill = [each for each in found if each.subject == "ill"]
    assert levels(ill, "PVMonitor: --subnet: '40' is not a valid netmask") == ["FAIL"]


@pytest.mark.parametrize(("create", "level"), [(True, "WARN"), (False, "FAIL")])
def test_tables_that_are_missing_are_named(files_env, tmp_path, create: bool, level: str) -> None:
    settings = StoreSettings(tmp_path, tmp_path, RowConstants("s", "i"), create_table=create)
    database = Database(files_env)
    database.ping()

    def look() -> list[tuple[str, str]]:
        found = pv_monitor_checks.check_tables("pv-monitor", settings, files_env)
        return [(each.level, each.text) for each in found]

    try:
        ((found, text),) = look()
        assert found == level
        assert all(table.name in text for table in tables.TABLES)
        tables.ensure_tables(database)
        assert look() == [("OK", "this user may keep what is known of EPICS")]
    finally:
        database.close()


def test_privileges_that_are_missing_are_named(mariadb) -> None:
    admin = Database(mariadb.env())
    tables.ensure_tables(admin)
    admin.close()
    database = Database(mariadb.create_user("reader", "SELECT, INSERT"))
    try:
        lacking = refusals(database, [(tables.logs, ("SELECT", "INSERT", "UPDATE", "DELETE"))])
        text = " ".join(each.text for each in lacking)
        assert [each.level for each in lacking] == ["FAIL", "FAIL"]
        assert "UPDATE on socs_epics_logs_v1 is refused" in text
        assert "DELETE on socs_epics_logs_v1 is refused" in text
    finally:
        database.close()
