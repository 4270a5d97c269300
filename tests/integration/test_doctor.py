"""``socs doctor`` on a site with a real router, and on real databases."""

import json
import re
import socket
from pathlib import Path

import pytest
import yaml

from socs.cli import database_checks, router_checks
from socs.cli.doctor import examine
from socs.cli.main import main
from socs.db import copies
from socs.db import pysmurf_files_manager as files
from socs.db.engine import Database
from socs.sim.ports import free_port
from socs.sim.site import AgentInstance, Site


@pytest.fixture
def environ(monkeypatch, tmp_path) -> dict[str, str]:
    """An environment with an SQLite file that is not there yet, for this process too."""
    for name in ("MYSQL_HOST", "MYSQL_PORT", "MYSQL_DATABASE", "MYSQL_USER", "MYSQL_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SOCS_DATA_DIR", str(tmp_path / "socs-data"))
    return {"SOCS_DATA_DIR": str(tmp_path / "socs-data")}


def monitor(root: Path, *arguments: object) -> AgentInstance:
    port = free_port(socket.SOCK_DGRAM)
    options = [["--udp-port", port], ["--data-root", str(root)], ["--spool-quota", 1], *arguments]
    return AgentInstance("PysmurfMonitor", "monitor", options)


def wrong(found) -> list[tuple[str, str]]:
    """(level, subject) of all that is not OK, but for programs this machine may lack."""
    return [(f.level, f.subject) for f in found if f.level != "OK" and f.subject not in PROGRAMS]


PROGRAMS = ("rsync", "ssh")


def look(site: Site, environ: dict[str, str]):
    return examine(environ | {"OCS_CONFIG_DIR": str(site.directory)}, None, "localhost")


def test_a_site_that_is_well(site, environ, tmp_path, capsys, monkeypatch):
    made = site([monitor(tmp_path, ["--receive-buffer", 0.1])])
    database = Database(environ)
    files.create_table(database)
    database.close()
    found = look(made, environ)
    assert wrong(found) == []
    # and as a command
    assert main(["doctor", "--site-file", str(made.site_file), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["failed"] is False
    assert len(printed["findings"]) == len(found)


def test_a_missing_table_is_a_warning_if_the_monitor_makes_it(site, environ, tmp_path):
    made = site([monitor(tmp_path, ["--receive-buffer", 0.1])])
    (missing,) = [f for f in look(made, environ) if f.level == "WARN" and f.subject == "database"]
    assert "monitor will create it" in missing.remedy
    assert not Path(environ["SOCS_DATA_DIR"]).exists()  # looking has made nothing


def test_a_missing_table_fails_if_nobody_makes_it(site, environ, tmp_path):
    made = site([monitor(tmp_path, ["--receive-buffer", 0.1], ["--create-table", "false"])])
    assert wrong(look(made, environ)) == [("FAIL", "database")]


def archiver(root: Path, *arguments: object) -> AgentInstance:
    options = [["--target", "monitor"], ["--data-dir", f"{root}/archive"], *arguments]
    return AgentInstance("PysmurfArchiver", "archiver", options)


def test_an_archiver_has_its_own_checks(site, environ, tmp_path):
    for name in ("archive", "data"):
        (tmp_path / name).mkdir()
    roots = ["--data-root", f"{tmp_path}/data"]
    small = ["--receive-buffer", 0.1]
    with_archiver = [monitor(tmp_path, small), archiver(tmp_path, roots)]
    made = site(with_archiver)
    database = Database(environ)
    files.create_table(database)
    ((level, subject),) = wrong(look(made, environ))  # the table of copies
    assert (level, subject) == ("WARN", "database")
    copies.create_table(database)
    database.close()
    assert wrong(look(made, environ)) == []
    (tmp_path / "archive").rmdir()
    assert wrong(look(made, environ)) == [("FAIL", "archiver")]


def test_an_archiver_in_a_container_has_its_own_directories(site, environ, tmp_path):
    made = site([monitor(tmp_path, ["--receive-buffer", 0.1]), archiver(tmp_path)])
    config = yaml.safe_load(made.site_file.read_text())
    config["hosts"]["localhost"]["agent-instances"][1]["manage"] = "docker/up"
    made.site_file.write_text(yaml.safe_dump(config))
    assert ("FAIL", "archiver") not in wrong(look(made, environ))


def builder(*arguments: object) -> AgentInstance:
    port = free_port(socket.SOCK_DGRAM)
    options = [["--udp-port", port], ["--receive-buffer", 0.1], ["--spool-quota", 1], *arguments]
    return AgentInstance("SlowSignalBuilder", "builder", options)


def test_a_slow_signal_builder_has_its_own_checks(site, environ, tmp_path):
    database = Database(environ)
    files.create_table(database)
    database.close()
    found = look(site([builder(["--folder", str(tmp_path / "files")])]), environ)
    assert wrong(found) == []
    texts = [f.text for f in found if f.subject == "builder"]
    assert any(f"folder {tmp_path / 'files'} can be written" in text for text in texts)
    assert any("is free" in text for text in texts)
    assert any("spool directory" in text for text in texts)
    no_folder = look(site([builder()]), environ)
    assert not any("spool" in f.text for f in no_folder if f.subject == "builder")
    narrow = look(site([builder(["--readout-tw", -1])]), environ)
    assert wrong(narrow) == [("FAIL", "builder")]
    assert any("readout_tw" in f.text for f in narrow)


def test_everything_wrong_is_told_at_once(site, environ, tmp_path):
    """Each fault of this site is found, whatever the others are."""
    bad = AgentInstance("PysmurfMonitor", "bad", [["--udp-prt", 8200]])
    unknown = AgentInstance("PysmurfMonitr", "unknown", [])
    stock = AgentInstance("HostManager", "stock", [])
    good = monitor(tmp_path / "none", ["--receive-buffer", 0.1])
    made = site([good, bad, unknown, stock], router=False)
    config = yaml.safe_load(made.site_file.read_text())
    block = config["hosts"]["localhost"]
    del block["crossbar_timeout"]
    config["hosts"]["other"] = {"agent-instances": block["agent-instances"][:1]}
    made.site_file.write_text(yaml.safe_dump(config))
    assert sorted(wrong(look(made, environ))) == [
        ("FAIL", "bad"),
        ("FAIL", "instance-id"),
        ("FAIL", "monitor"),  # data root
        ("FAIL", "router, for agents"),
        ("FAIL", "router, for clients"),
        ("FAIL", "unknown"),
        ("WARN", "crossbar_timeout"),
        ("WARN", "database"),
    ]


def test_without_a_site_config_the_rest_is_checked(environ, capsys):
    found = examine(environ)
    assert ("FAIL", "site config") in wrong(found)
    assert {f.subject for f in found} >= {"site config", "database", "rsync", "ssh"}


def test_a_failure_ends_with_1_and_says_what_to_change(environ, capsys, tmp_path):
    assert main(["doctor", "--site-file", str(tmp_path / "none.yaml")]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^FAIL  site config: .*none\.yaml: No such file", out, re.MULTILINE)
    assert "      -> give the right --site-file" in out


def test_the_port_of_a_monitor_that_runs_is_no_fault(site, environ, tmp_path):
    made = site([monitor(tmp_path, ["--receive-buffer", 0.1])])
    port = int(made.instances["monitor"].arguments[0][1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", port))
        assert ("WARN", "monitor") in wrong(look(made, environ))
    made.start_agent("monitor", env=environ)
    made.wait_joined("monitor")
    (finding,) = [f for f in look(made, environ) if f"UDP port {port}" in f.text]
    assert (finding.level, finding.subject) == ("OK", "monitor")
    assert "this agent runs" in finding.text


# -- the router -----------------------------------------------------------------------------------


def test_router_answers_and_wrong_paths_are_told_apart(site):
    made = site()
    base = f"127.0.0.1:{made.port}"
    assert router_checks.check_websocket(f"ws://{base}/ws").level == "OK"
    assert router_checks.check_http_bridge(f"http://{base}/call", "observatory").level == "OK"
    for path in ("/wrong", "/call"):
        finding = router_checks.check_websocket(f"ws://{base}{path}")
        assert finding.level == "FAIL"
        assert "path in wamp_server" in finding.remedy
    for path in ("/wrong", "/info"):
        finding = router_checks.check_http_bridge(f"http://{base}{path}", "observatory")
        assert finding.level == "FAIL"
        assert "path in wamp_http" in finding.remedy
    finding = router_checks.check_http_bridge(f"http://{base}/call", "elsewhere")
    assert finding.level == "FAIL"
    assert "address_root" in finding.remedy


@pytest.mark.parametrize("url", ["localhost:8001", "http://x:1/ws", "ws://", "ws://h:port/ws", ""])
def test_a_wrong_address_is_no_crash(url):
    assert router_checks.check_websocket(url).level == "FAIL"


def test_a_router_that_hangs_is_given_up(environ):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        finding = router_checks.check_websocket(f"ws://127.0.0.1:{port}/ws", timeout=0.2)
    assert finding.level == "FAIL"
    assert "no answer within 0.2 s" in finding.text


# -- the database ---------------------------------------------------------------------------------


def levels(environ: dict[str, str], **settings) -> list[tuple[str, str]]:
    found = database_checks.check_database(environ, **settings)
    return [(f.level, f.text) for f in found if f.level != "OK"]


def test_least_privileges_are_enough_and_each_missing_one_is_named(mariadb):
    owner = Database(mariadb.env())
    copies.create_table(owner)
    owner.close()
    least = mariadb.create_user("least", "INSERT, SELECT")
    assert levels(least) == []
    refused = [text.partition(" is refused")[0] for _, text in levels(least, archiver=True)]
    assert refused == ["UPDATE on pysmurf_files_v1", "UPDATE on socs_copies_v1"]
    reader = mariadb.create_user("reader", "SELECT")
    refused = [text.partition(" is refused")[0] for _, text in levels(reader)]
    assert refused == ["INSERT on pysmurf_files_v1", "INSERT on socs_spool_batches_v1"]
    assert levels(mariadb.create_user("archiver", "INSERT, SELECT, UPDATE"), archiver=True) == []
    assert mariadb.query("SELECT count(*) FROM pysmurf_files_v1") == [(0,)]


def test_a_user_without_anything(mariadb):
    owner = Database(mariadb.env())
    files.create_table(owner)
    owner.close()
    ((level, _),) = levels(mariadb.create_user("nobody"))
    assert level == "FAIL"


def test_a_table_of_something_else_is_found(mariadb):
    mariadb.query("CREATE TABLE pysmurf_files_v1 (id INT PRIMARY KEY, path TEXT NOT NULL)")
    mariadb.query("CREATE TABLE socs_spool_batches_v1 (batch INT)")
    ((level, text),) = levels(mariadb.env())
    assert level == "FAIL"
    assert text.startswith("table pysmurf_files_v1 lacks the columns action, timestamp")


def test_a_missing_table_and_a_server_that_is_away(mariadb):
    ((level, text),) = levels(mariadb.env())
    assert level == "FAIL"
    assert "lacks pysmurf_files_v1 and socs_spool_batches_v1" in text
    assert levels(mariadb.env(), created_by="monitor") == [("WARN", text)]
    away = mariadb.env() | {"MYSQL_HOST": "127.0.0.1", "MYSQL_PORT": "1"}
    ((level, text),) = levels(away)
    assert level == "FAIL"
    assert "MYSQL_HOST" in text


def test_an_archiver_needs_the_table_of_copies(mariadb):
    owner = Database(mariadb.env())
    files.create_table(owner)
    owner.close()
    assert levels(mariadb.env(), created_by="monitor") == []
    ((level, text),) = levels(mariadb.env(), archiver=True, created_by="monitor")
    assert (level, text) == ("FAIL", "lacks socs_copies_v1")
    made = levels(mariadb.env(), archiver=True, copies_created_by="archiver")
    assert made == [("WARN", "lacks socs_copies_v1")]


def test_a_wrong_setting_and_a_wrong_password(mariadb):
    ((level, text),) = levels({"MYSQL_HOST": "x"})
    assert (level, "MYSQL_USER is not set" in text) == ("FAIL", True)
    ((level, text),) = levels(mariadb.env() | {"MYSQL_PASSWORD": "wrong"})
    assert (level, "MYSQL_PASSWORD" in text) == ("FAIL", True)
