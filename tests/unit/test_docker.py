"""The container files agree with each other, with the agents, and with the documentation.

They are read and compared here; no container is run.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from ocs import agent_cli, site_config
from sqlalchemy.dialects import mysql

from socs import plugin
from socs.archive.settings import archive_settings
from socs.cli import host_checks
from socs.db import batches, copies, pysmurf_files_manager
from socs.epics.store import tables as epics_tables
from socs.sim.site_files import router_config

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
AGENTS = {name: agent["module"].split(".")[-1] for name, agent in plugin.agents.items()}
COMPOSE_FILES = sorted(DOCKER.rglob("docker-compose.yml"))
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::-[^}]*)?\}")


def target_of(module: str) -> str:
    """Build target, and directory below docker/, of an agent."""
    return module.replace("_", "-")


def services(file: Path) -> dict[str, dict]:
    return yaml.safe_load(file.read_text())["services"]


def named(file: Path) -> str:
    return str(file.relative_to(DOCKER))


ALL_SERVICES = [
    pytest.param(file, name, service, id=f"{named(file)}:{name}")
    for file in COMPOSE_FILES
    for name, service in services(file).items()
]


# -- Dockerfile -----------------------------------------------------------------------------------


def stages() -> dict[str, list[tuple[str, str]]]:
    """``{stage: [(instruction, arguments)]}``, with the stage's own FROM first."""
    text = (DOCKER / "Dockerfile").read_text()
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines()
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, lines)):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            current = found.setdefault(rest.split(" AS ")[1], [])
        current.append((word, rest.strip()))
    return found


def inherited(stage: str) -> list[tuple[str, str]]:
    """Instructions of a stage and of the stages that it is built on, the first first."""
    own = stages()[stage]
    parent = own[0][1].split()[0]
    return (inherited(parent) if parent in stages() else []) + own


def last(stage: str, word: str) -> str | None:
    found = [rest for instruction, rest in inherited(stage) if instruction == word]
    return found[-1] if found else None


def environment(stage: str) -> dict[str, str]:
    pairs = [rest for word, rest in inherited(stage) if word == "ENV"]
    return dict(pair.split("=", 1) for rest in pairs for pair in rest.split())


def test_every_agent_has_a_target_a_compose_file_a_page_and_an_example() -> None:
    for module in AGENTS.values():
        target = target_of(module)
        assert target in stages()
        assert (DOCKER / target / "docker-compose.yml").is_file()
        assert (ROOT / "docs" / "agents" / f"{module}.rst").is_file()
        assert (ROOT / "agents" / module / "site-config.yaml").is_file()


@pytest.mark.parametrize("module", AGENTS.values())
def test_agent_images_run_as_ocs_and_hand_on_signals(module: str) -> None:
    target = target_of(module)
    assert last(target, "USER") == "ocs:ocs"
    assert json.loads(last(target, "ENTRYPOINT")) == ["dumb-init", "ocs-agent-cli"]
    settings = environment(target)
    assert settings["OCS_CONFIG_DIR"] == "/config"
    assert settings["SOCS_DATA_DIR"] == "/var/lib/socs"
    assert settings["INSTANCE_ID"] == target


def test_the_user_is_9000_everywhere() -> None:
    for stage in ("base", "crossbar"):
        made = " ".join(rest for word, rest in stages()[stage] if word == "RUN")
        assert "groupadd --gid 9000 ocs" in made
        assert "useradd --uid 9000 --gid 9000" in made
    assert last("crossbar", "USER") == "ocs:ocs"


def test_all_images_are_of_one_python() -> None:
    first = {instructions[0][1].split()[0] for instructions in stages().values()}
    assert first - stages().keys() == {"${PYTHON}"}
    assert "ARG PYTHON=python:3.11-slim-bookworm\n" in (DOCKER / "Dockerfile").read_text()


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = set()
    for instructions in stages().values():
        for word, rest in instructions:
            if word == "COPY" and "--from" not in rest:
                copied.update(rest.split()[:-1])
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    needed = re.findall(r'HERE / "(\w[^"]*)"', (ROOT / "setup.py").read_text())
    assert set(needed) <= copied  # setup.py reads them


def test_volumes_of_the_image_belong_to_its_user() -> None:
    for stage in ("base", "crossbar"):
        volume = last(stage, "VOLUME")
        owned = [rest for word, rest in stages()[stage] if "--owner ocs" in rest and volume in rest]
        assert owned, f"{volume} is not made for the user ocs in {stage}"


# -- compose files --------------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "name", "service"), ALL_SERVICES)
def test_what_a_service_refers_to_exists(file: Path, name: str, service: dict) -> None:
    if "build" in service:
        context = (file.parent / service["build"]["context"]).resolve()
        assert context == ROOT
        assert (context / service["build"]["dockerfile"]) == DOCKER / "Dockerfile"
        assert service["build"]["target"] in stages()
    for env_file in service.get("env_file", []):
        assert (file.parent / env_file).is_file()
    declared = yaml.safe_load(file.read_text()).get("volumes") or {}
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (file.parent / source).exists(), source
        elif not source.startswith(("/", "$")):
            assert source in declared


@pytest.mark.parametrize(("file", "name", "service"), ALL_SERVICES)
def test_values_of_variables_are_text(file: Path, name: str, service: dict) -> None:
    values = service.get("environment", {})
    assert isinstance(values, dict)
    assert all(isinstance(value, str) for value in values.values())


def test_all_compose_files_are_looked_at() -> None:
    expected = {"docker-compose.yml"}
    expected |= {f"{target_of(module)}/docker-compose.yml" for module in AGENTS.values()}
    assert {named(file) for file in COMPOSE_FILES} == expected


@pytest.mark.parametrize("module", AGENTS.values())
def test_the_whole_site_runs_each_agent_as_its_own_file_does(module: str) -> None:
    target = target_of(module)
    (alone,) = services(DOCKER / target / "docker-compose.yml").values()
    whole = services(DOCKER / "docker-compose.yml")[f"ocs-{target}"]
    paths = {"build", "volumes", "env_file"}
    assert {k: v for k, v in alone.items() if k not in paths} == {
        k: v for k, v in whole.items() if k not in paths
    }
    assert alone["build"]["target"] == whole["build"]["target"] == target
    ends = [[volume.split(":", 1)[1] for volume in s["volumes"]] for s in (alone, whole)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("module", AGENTS.values())
def test_services_are_called_as_host_manager_expects(module: str) -> None:
    target = target_of(module)
    ((name, service),) = services(DOCKER / target / "docker-compose.yml").items()
    assert name == f"ocs-{service['environment']['INSTANCE_ID']}"
    assert service["network_mode"] == "host"


def test_monitor_keeps_the_settings_of_the_seed() -> None:
    (monitor,) = services(DOCKER / "pysmurf-monitor" / "docker-compose.yml").values()
    wanted = {
        "MYSQL_HOST": "${DB_HOST}",
        "MYSQL_DATABASE": "${DB}",
        "MYSQL_USER": "${DB_USER}",
        "MYSQL_PASSWORD": "${DB_PW}",
    }
    assert wanted.items() <= monitor["environment"].items()
    assert monitor["env_file"] == ["env_files/db.env"]
    assert monitor["user"] == "ocs:ocs"
    assert "${OCS_CONFIG_DIR}:/config:ro" in monitor["volumes"]
    assert monitor["command"] == [
        "--site-hub=ws://${CB_HOST}:8001/ws",
        "--site-http=http://${CB_HOST}:8001/call",
    ]


def test_the_archiver_reads_files_and_reaches_other_hosts() -> None:
    (archiver,) = services(DOCKER / "pysmurf-archiver" / "docker-compose.yml").values()
    assert "/data:/data:ro" in archiver["volumes"]
    assert "${SSH_DIR}:/home/ocs/.ssh:ro" in archiver["volumes"]
    assert archiver["environment"]["MYSQL_USER"] == "socs_archiver"
    assert archiver["environment"]["MYSQL_PASSWORD"] == "${DB_ARCHIVER_PW}"
    installed = " ".join(rest for word, rest in stages()["pysmurf-archiver"] if word == "RUN")
    assert set(host_checks.PROGRAMS) == {"rsync", "ssh"}
    assert {"rsync", "openssh-client"} <= set(installed.split())


def test_the_archive_of_the_site_is_on_a_mounted_directory() -> None:
    config = yaml.safe_load((DOCKER / "config" / "default.yaml").read_text())
    (block,) = config["hosts"].values()
    (entry,) = [e for e in block["agent-instances"] if e["agent-class"] == "PysmurfArchiver"]
    settings = archive_settings(
        parse("PysmurfArchiver", [*flattened(entry["arguments"]), "--instance-id", "archiver"])
    )
    archiver = services(DOCKER / "docker-compose.yml")["ocs-pysmurf-archiver"]
    (mounted,) = [v.split(":")[1] for v in archiver["volumes"] if v.startswith("${ARCHIVE_DIR}")]
    assert settings.data_dir.startswith(f"{mounted}/")  # one that is not there is noticed
    registering = ("PysmurfMonitor", "SlowSignalBuilder", "TangoEventMonitor", "PVMonitor")
    assert settings.targets == [
        e["instance-id"] for e in block["agent-instances"] if e["agent-class"] in registering
    ]
    assert settings.data_dir in (DOCKER / ".env.example").read_text()


def used_variables() -> set[str]:
    return {name for file in COMPOSE_FILES for name in VARIABLE.findall(file.read_text())}


def test_every_variable_is_in_the_example_with_an_explanation() -> None:
    text = (DOCKER / ".env.example").read_text()
    given = set(re.findall(r"(?m)^([A-Z_]+)=.+", text))
    assert given == used_variables()
    for paragraph in text.strip().split("\n\n"):
        assert paragraph.startswith("#"), f"not explained: {paragraph}"


def test_no_variable_is_written_without_braces() -> None:
    for file in COMPOSE_FILES:
        assert not re.findall(r"\$[A-Za-z]", file.read_text()), file


def test_the_file_with_passwords_is_not_committed() -> None:
    assert ".env" in (DOCKER / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize(("file", "name", "service"), ALL_SERVICES)
def test_variables_given_to_agents_are_documented(file: Path, name: str, service: dict) -> None:
    if service.get("build", {}).get("target") not in map(target_of, AGENTS.values()):
        return
    page = (ROOT / "docs" / "reference" / "environment.rst").read_text()
    given = set(service["environment"])
    for env_file in service.get("env_file", []):
        given |= set(re.findall(r"(?m)^#?([A-Z_]+)=", (file.parent / env_file).read_text()))
    assert not [variable for variable in given if f"``{variable}``" not in page]


# -- options --------------------------------------------------------------------------------------


class WrongOption(Exception):
    pass


def parse(agent_class: str, arguments: list[str]) -> argparse.Namespace:
    """As the agent does it. Raises WrongOption for an option that it does not know."""
    module = importlib.import_module(plugin.agents[agent_class]["module"])
    parser = site_config.add_arguments(module.make_parser())

    def fail(message: str) -> None:
        raise WrongOption(message)

    parser.error = fail
    return parser.parse_args(arguments)


def instances(text: str) -> list[dict]:
    """Entries of ``agent-instances`` in a whole site config, or in an example of one."""
    read = yaml.safe_load(text)
    if isinstance(read, list):
        return read
    return [entry for host in read["hosts"].values() for entry in host["agent-instances"]]


def flattened(arguments: list) -> list[str]:
    return [str(word) for group in arguments for word in group]


CONFIGS = [DOCKER / "config" / "default.yaml", *sorted(ROOT.glob("agents/*/site-config.yaml"))]


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: str(file.relative_to(ROOT)))
def test_agents_accept_the_arguments_of_the_configs(file: Path) -> None:
    for entry in instances(file.read_text()):
        options = flattened(entry["arguments"])
        parse(entry["agent-class"], [*options, "--instance-id", entry["instance-id"]])


def test_each_agent_has_an_example_of_its_own() -> None:
    for agent_class, module in AGENTS.items():
        (entry,) = instances((ROOT / "agents" / module / "site-config.yaml").read_text())
        assert entry["agent-class"] == agent_class


def test_a_wrong_option_is_noticed() -> None:
    with pytest.raises(WrongOption):
        parse("PysmurfMonitor", ["--no-such-option", "1"])


@pytest.mark.parametrize("module", AGENTS.values())
def test_agents_accept_the_command_of_their_compose_file(module: str) -> None:
    (service,) = services(DOCKER / target_of(module) / "docker-compose.yml").values()
    command = [VARIABLE.sub("127.0.0.1", word) for word in service["command"]]
    assert agent_cli._get_parser().parse_known_args(command)[1] == []
    (agent_class,) = [name for name in AGENTS if AGENTS[name] == module]
    parsed = parse(agent_class, command)
    assert parsed.site_hub == "ws://127.0.0.1:8001/ws"
    assert parsed.site_http == "http://127.0.0.1:8001/call"


def test_the_config_of_the_site_names_what_the_compose_file_starts() -> None:
    config = yaml.safe_load((DOCKER / "config" / "default.yaml").read_text())
    ((host, block),) = config["hosts"].items()
    assert block["crossbar_timeout"] == 0
    started = {
        service["environment"]["INSTANCE_ID"]: service["hostname"]
        for service in services(DOCKER / "docker-compose.yml").values()
        if "INSTANCE_ID" in service.get("environment", {})
    }
    assert started == {entry["instance-id"]: host for entry in block["agent-instances"]}
    assert {entry["agent-class"] for entry in block["agent-instances"]} == set(AGENTS)


# -- router and database --------------------------------------------------------------------------


def test_router_has_the_tested_config_and_is_reached_from_this_host_only() -> None:
    config = json.loads((DOCKER / "config" / "crossbar.json").read_text())
    hub = yaml.safe_load((DOCKER / "config" / "default.yaml").read_text())["hub"]
    assert config == json.loads(router_config(8001, hub["wamp_realm"], hub["address_root"]))
    (transport,) = config["workers"][0]["transports"]
    assert transport["endpoint"] == {"type": "tcp", "port": 8001, "interface": "127.0.0.1"}
    assert hub["wamp_server"] == "ws://127.0.0.1:8001/ws"
    entry_point = json.loads(last("crossbar", "ENTRYPOINT"))
    mounts = services(DOCKER / "docker-compose.yml")["crossbar"]["volumes"]
    assert "./config/crossbar.json:/config/crossbar.json:ro" in mounts
    assert entry_point[-2:] == ["--config", "/config/crossbar.json"]


def test_database_is_published_on_this_host_only_and_flushes() -> None:
    database = services(DOCKER / "docker-compose.yml")["mariadb"]
    assert database["ports"] == ["${DB_BIND:-127.0.0.1}:3306:3306"]
    assert "healthcheck" in database
    settings = (DOCKER / "mariadb" / "socs.cnf").read_text()
    assert re.search(r"(?m)^innodb_flush_log_at_trx_commit = 1$", settings)


def statements(sql: str) -> list[str]:
    """Statements without comments and in one spacing."""
    text = re.sub(r"(?m)^--.*$", "", sql)
    return [" ".join(part.split()) for part in re.split(r";\s*(?:\n|$)", text) if part.strip()]


def options_sorted(statement: str) -> str:
    """A statement with the options of its table sorted: SQLAlchemy 2.0 has them in any order."""
    columns, end, options = statement.rpartition(")")
    return " ".join([columns + end, *sorted(options.split())])


def test_tables_of_the_container_are_those_of_the_code() -> None:
    dialect = mysql.dialect()
    wanted = []
    for table in (pysmurf_files_manager.table, batches.table, copies.table, *epics_tables.TABLES):
        wanted.append(sa.schema.CreateTable(table))
        wanted += [sa.schema.CreateIndex(index) for index in table.indexes]
    from_code = [" ".join(str(ddl.compile(dialect=dialect)).split()) for ddl in wanted]
    sql = (DOCKER / "mariadb" / "initdb.d" / "10-tables.sql").read_text()
    assert sorted(map(options_sorted, statements(sql))) == sorted(map(options_sorted, from_code))


ENTRYPOINT_OF_MARIADB = r"""
set -eo pipefail
docker_process_sql() { cat; }
docker_sql_escape_string_literal() { printf '%s' "<$1>"; }
. "$1"
"""


def users_sql() -> list[str]:
    """What 20-users.sh hands to the database; escaped words are in <>."""
    script = DOCKER / "mariadb" / "initdb.d" / "20-users.sh"
    env = {
        "PATH": os.environ["PATH"],
        "MARIADB_DATABASE": "files",
        "DB_USER": "socs_monitor",
        "DB_PW": "one",
        "DB_ARCHIVER_PW": "two",
        "DB_EPICS_PW": "four",
        "DB_ADMIN_PW": "three",
    }
    done = subprocess.run(
        ["bash", "-c", ENTRYPOINT_OF_MARIADB, "bash", str(script)],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return statements(done.stdout)


def test_users_script_is_sourced_so_it_must_not_be_executable() -> None:
    assert not os.access(DOCKER / "mariadb" / "initdb.d" / "20-users.sh", os.X_OK)
    tracked = subprocess.run(
        ["git", "ls-files", "--stage", "docker/mariadb/initdb.d/20-users.sh"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert not tracked.startswith("100755")


def test_names_and_passwords_are_escaped() -> None:
    made = [text for text in users_sql() if text.startswith("CREATE USER")]
    assert made == [
        "CREATE USER '<socs_monitor>'@'%' IDENTIFIED BY '<one>'",
        "CREATE USER '<socs_archiver>'@'%' IDENTIFIED BY '<two>'",
        "CREATE USER '<socs_epics>'@'%' IDENTIFIED BY '<four>'",
        "CREATE USER '<socs_admin>'@'%' IDENTIFIED BY '<three>'",
    ]


def grants(sql: list[str]) -> set[tuple[str, str, frozenset[str]]]:
    """``{(user, table, privileges)}``"""
    pattern = re.compile(r"GRANT (.+) ON `?files`?\.(\S+) TO '<?(\w+)>?'@'%'")
    found = [pattern.fullmatch(text) for text in sql if text.startswith("GRANT")]
    return {(match[3], match[2], frozenset(match[1].split(", "))) for match in found}


def test_grants_are_those_of_the_documentation() -> None:
    page = (ROOT / "docs" / "howto" / "mariadb.rst").read_text()
    block = re.search(r"code-block:: sql\n\n((?:   .*\n|\n)+)", page)[1]
    given = grants(users_sql())
    assert given == grants(statements(block))
    monitor = {table: rights for user, table, rights in given if user == "socs_monitor"}
    tables = (pysmurf_files_manager.table.name, batches.table.name)
    assert monitor == {name: {"INSERT", "SELECT"} for name in tables}
    archiver = {table: rights for user, table, rights in given if user == "socs_archiver"}
    assert archiver == {
        pysmurf_files_manager.table.name: {"INSERT", "SELECT", "UPDATE"},
        batches.table.name: {"INSERT", "SELECT"},
        copies.table.name: {"INSERT", "SELECT", "UPDATE"},
    }
    epics = {table: rights for user, table, rights in given if user == "socs_epics"}
    kept = {table.name for table in epics_tables.TABLES}
    assert epics.keys() == kept | set(tables)
    assert epics[epics_tables.events.name] == {"DELETE", "INSERT", "SELECT"}
    assert {name for name, rights in epics.items() if "UPDATE" in rights} == (
        kept - {epics_tables.events.name}
    )
    changers = {(user, table) for user, table, rights in given if "UPDATE" in rights}
    files = {pysmurf_files_manager.table.name, copies.table.name}
    assert {(user, table) for user, table in changers if user != "socs_epics"} == {
        ("socs_archiver", table) for table in files
    }
    droppers = {user for user, table, rights in given if "DROP" in rights}
    assert droppers == {"socs_admin"}
