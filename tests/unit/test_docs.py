"""The documentation is run, and compared with the code.

Commands of the tutorial are executed; names of options, files, counters and variables must be real;
figures must be those of the code.
"""

import argparse
import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import click
import pytest
import yaml
from ocs import agent_cli, site_config

from socs import agent, counters, plugin
from socs.archive import archiver as archiving
from socs.archive import markers, storage, timecodes
from socs.archive import paths as archive_paths
from socs.archive import publish as archive_feeds
from socs.archive.markers import Marker
from socs.archive.publish import FEEDS, ArchiveFeeds
from socs.archive.settings import LEASE, ArchiveSettings
from socs.archive.statistics import Statistics
from socs.cli import main as cli
from socs.cli.ssdaq import control
from socs.counters import Counter, Counters
from socs.db import copies, engine, file_readers, fingerprint, registrar, spool
from socs.db import pysmurf_files_manager as files
from socs.epics.gateway import options as gateway_options
from socs.epics.knowledge.knowledge import Knowledge, KnowledgeSettings
from socs.epics.monitor import feeds as monitor_feeds
from socs.epics.monitor import measures
from socs.epics.search.limiter import MOST_PER_SECOND
from socs.epics.track.settings import TrackSettings
from socs.pysmurf import limits, publish, script, session, settings, store
from socs.pysmurf.settings import StreamSettings
from socs.pysmurf.stream import PysmurfStream
from socs.testing import wait_until

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.rst"))
TEXTS = [*PAGES, ROOT / "README.rst", ROOT / "CHANGELOG.rst"]
AGENTS = {name: entry["module"].split(".")[-1] for name, entry in plugin.agents.items()}
LITERAL = re.compile(r"``([^`]+)``")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def literals(page: Path) -> list[str]:
    """Inline literals, which may go over the end of a line."""
    return [" ".join(text.split()) for text in LITERAL.findall(page.read_text())]


def extension():
    """The directives that render pages from the code."""
    pytest.importorskip("sphinx", reason="needs the extra docs")
    directory = str(DOCS / "_ext")
    sys.path.insert(0, directory)
    try:
        return importlib.import_module("socs_reference")
    finally:
        sys.path.remove(directory)


# -- the whole ------------------------------------------------------------------------------------


def test_documentation_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="needs the extra docs")
    pytest.importorskip("sphinxarg", reason="needs the extra docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")],
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "html" / "reference" / "counters.html").read_text()
    missing = [counter.name for counter in all_counters() if counter.name not in html]
    assert missing == []
    assert "<svg" in (tmp_path / "html" / "reference" / "spool.html").read_text()
    for module in AGENTS.values():
        assert "Agent Options" in (tmp_path / "html" / "agents" / f"{module}.html").read_text()


def test_every_page_is_reached_from_the_index() -> None:
    index = (DOCS / "index.rst").read_text()
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES}
    listed = set(re.findall(r"(?m)^   ([a-z_]+(?:/[a-z_]+)?)$", index)) | {"index"}
    assert listed == {page for page in pages if not page.startswith("decisions/0")}


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_no_line_is_unfinished(page: Path) -> None:
    assert not re.search(r"\b(TODO|FIXME|XXX|TBD)\b", page.read_text())


# -- the tutorial is run --------------------------------------------------------------------------

BLOCK = re.compile(r"(?m)^\.\. code-block:: (console|python)\n((?:   :.*\n)*)\n((?:   .*\n|\n)+)")
PORT = 8200


def blocks() -> Iterator[tuple[str, str]]:
    """(language, text) of the blocks of the tutorial that are to be run, in order."""
    for language, options, text in BLOCK.findall((DOCS / "tutorial.rst").read_text()):
        if ":class: not-run" not in options:
            yield language, re.sub(r"(?m)^   ", "", text).strip("\n") + "\n"


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of a console block; ``> `` continues a command."""
    for part in re.split(r"(?m)^\$ ", text)[1:]:
        lines = part.splitlines()
        command = [lines.pop(0)]
        while lines and lines[0].startswith("> "):
            command.append(lines.pop(0)[2:])
        yield "\n".join(command) + "\n", "\n".join(lines).strip()


def looks_like(printed: str, shown: str) -> bool:
    """Is ``printed`` what is ``shown``, in which ``...`` stands for anything?"""
    pattern = r".*".join(map(re.escape, " ".join(shown.split()).split("...")))
    return re.fullmatch(pattern, " ".join(printed.split()), re.DOTALL) is not None


def test_dots_stand_for_anything_and_nothing_else_does() -> None:
    assert looks_like("a\tb  c\n", "a b c")
    assert looks_like("Created x in /tmp/y", "Created x in .../y")
    assert not looks_like("Created x in /tmp/y", "Created z in ...")


class Shell:
    """A shell that keeps directory and variables from one command to the next."""

    def __init__(self, directory: Path) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(directory), "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            ["bash", "-e"],
            cwd=directory,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        """What the command prints. Fails if its exit status is not 0."""
        self._process.stdin.write(f"{command}echo :end:\n")
        self._process.stdin.flush()
        printed = []
        for line in self._process.stdout:
            if line == ":end:\n":
                return "".join(printed)
            printed.append(line)
        pytest.fail(f"{command}ended with {self._process.wait()}:\n{''.join(printed)}")

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A directory in which the repository seems to be."""
    for name in ("socs", "docker"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_the_tutorial_leads_to_a_registered_file(workplace: Path) -> None:
    shell = Shell(workplace)
    stream = None
    ran = []
    try:
        for language, text in blocks():
            if language == "python":  # this is where the reader has started the monitor
                stream = monitor_of_the_tutorial(workplace)
                shell.run(on_port(text, stream.receiver.port))
                wait_until_registered(stream)
                continue
            for command, shown in commands(text):
                printed = shell.run(command)
                assert not shown or looks_like(printed, shown), f"{command}printed\n{printed}"
                ran.append(command.strip())
    finally:
        shell.close()
        if stream is not None:
            stream.stop()
    assert stream is not None
    assert "python3 socs/db/pysmurf_files_manager.py create" in ran
    assert {"socs --help", "socs files create", "socs files list", "socs files stats"} <= {*ran}


def wait_until_registered(stream: PysmurfStream) -> None:
    wait_until(lambda: stream.numbers()["files_registered"] == 1, 10, "the file to be registered")


def on_port(program: str, port: int) -> str:
    """A shell command that runs ``program`` with another port in the place of 8200."""
    assert str(PORT) in program
    return f"python3 - <<'PROGRAM'\n{program.replace(str(PORT), str(port))}\nPROGRAM\n"


def monitor_of_the_tutorial(workplace: Path) -> PysmurfStream:
    """What the monitor does there, with the options that the tutorial writes, without a router."""
    read = yaml.safe_load((workplace / "site" / "default.yaml").read_text())
    (entry,) = read["hosts"]["localhost"]["agent-instances"]
    assert read["hosts"]["localhost"]["crossbar_timeout"] == 0
    module = importlib.import_module(plugin.agents[entry["agent-class"]]["module"])
    words = [str(word) for group in entry["arguments"] for word in group]
    parser = site_config.add_arguments(module.make_parser())
    args = parser.parse_args([*words, "--instance-id", entry["instance-id"]])
    assert args.udp_port == PORT
    database = engine.Database({"SOCS_DATA_DIR": str(workplace / "socs-tutorial")})
    args.address_root = read["hub"]["address_root"]
    chosen = StreamSettings(
        args.udp_address, 0, (), args.data_root, workplace / "spool", receive_buffer=1 << 20
    )
    stream = PysmurfStream(chosen, settings.row_constants(args), database)
    stream.start()
    return stream


# -- agents ---------------------------------------------------------------------------------------

HEADINGS = [
    "Dependencies",
    "Configuration File Examples",
    "OCS Site Config",
    "Docker Compose",
    "Description",
    "Agent API",
    "Example Clients",
    "Supporting APIs",
]


def headings(text: str) -> list[str]:
    return [title for title, _ in re.findall(r"(?m)^(\S.*)\n([-=`\"])\2{3,}$", text)]


@pytest.mark.parametrize("module", AGENTS.values())
def test_agent_pages_have_the_headings_of_ocs(module: str) -> None:
    text = (DOCS / "agents" / f"{module}.rst").read_text()
    found = [title for title in headings(text) if title in HEADINGS]
    assert found == HEADINGS
    assert f".. _{module}:" in text
    assert f":filename: ../agents/{module}/{module}.py" in text
    assert f".. autoclass:: agents.{module}.{module}." in text
    assert f"../../docker/{module.replace('_', '-')}/docker-compose.yml" in text
    assert f"../../agents/{module}/site-config.yaml" in text


@pytest.mark.parametrize("agent_class", AGENTS)
def test_site_config_in_the_agent_page_works(agent_class: str) -> None:
    text = (DOCS / "agents" / f"{AGENTS[agent_class]}.rst").read_text()
    entry = ast.literal_eval(re.search(r"\{'agent-class'.*?\]\]\}", text, re.DOTALL)[0])
    assert entry["agent-class"] == agent_class
    module = importlib.import_module(plugin.agents[agent_class]["module"])
    words = [str(word) for group in entry["arguments"] for word in group]
    module.make_parser().parse_args(words)


def test_site_config_of_the_how_to_for_epics_works() -> None:
    text = (DOCS / "howto" / "epics.rst").read_text()
    block = re.search(r"\.\. code-block:: yaml\n\n((?:   .*\n|\n)+)", text)[1]
    hosts = yaml.safe_load(re.sub(r"(?m)^   ", "", block))["hosts"]
    chosen = {}
    for entry in [entry for host in hosts.values() for entry in host["agent-instances"]]:
        words = [str(word) for group in entry["arguments"] for word in group]
        module = importlib.import_module(plugin.agents[entry["agent-class"]]["module"])
        chosen[entry["instance-id"]] = module.make_parser().parse_args(words)
    assert chosen["pv-monitor"].gateway == [name for name in chosen if name != "pv-monitor"]
    assert chosen["pv-gateway-1"].networks == chosen["pv-monitor"].subnet


def rows_of(page: str, title: str = "") -> list[str]:
    """Names in the first column of a table: the one called ``title``, or all of the page."""
    text = (DOCS / page).read_text()
    if title:
        text = re.split(r"\n(?=\S)", text.partition(f".. list-table:: {title}\n")[2])[0]
    return re.findall(r"(?m)^   \* - ``(\w+)``$", text)


def test_fields_of_the_archivers_feeds_are_those_of_the_code(tmp_path: Path) -> None:
    chosen = ArchiveSettings("archiver", ["monitor"], str(tmp_path / "archive"), ["/data"])
    numbers = Counters(counters.ARCHIVE)
    stats = Statistics(chosen, numbers).archive_stats()
    published: dict[str, dict[str, object]] = {}
    feeds = SimpleNamespace(
        register_feed=lambda name, record: None,
        is_attached=lambda: True,
        publish_to_feed=lambda name, message: published.update({name: message["data"]}),
    )
    status = {"archive_stats": stats, "counters": numbers.snapshot()}
    ArchiveFeeds(feeds).update(status)
    for feed in ("archive_stats", "transfer_stats"):
        assert rows_of("reference/feeds.rst", f"Fields of ``{feed}``") == list(published[feed])
    assert rows_of("reference/feeds.rst", "Feeds of the archiver") == list(FEEDS)


def test_keys_of_markers_are_those_of_the_code() -> None:
    text = (DOCS / "reference" / "archive_tree.rst").read_text().partition("archive_markers:")[2]
    assert re.findall(r"(?m)^   \* - ``(\w+)``$", text) == list(Marker.__struct_fields__)


def test_what_to_do_is_told_for_each_state_that_wants_something_done() -> None:
    text = (DOCS / "howto" / "archive.rst").read_text()
    told = re.findall(r"(?m)^   \* - (\w+)$", text.partition("* - State")[2])
    assert told == [*copies.AT_REST, *copies.DAMAGED]


def test_every_operation_is_described_as_ocs_wants_it() -> None:
    for agent_class, module in AGENTS.items():
        source = importlib.import_module(plugin.agents[agent_class]["module"])
        text = (ROOT / "agents" / module / f"{module}.py").read_text()
        for kind, name in re.findall(r'register_(task|process)\("(\w+)"', text):
            doc = getattr(getattr(source, agent_class), name).__doc__
            assert doc.startswith(f"{name}("), f"{agent_class}.{name}"
            assert f"**{kind.title()}** - " in doc, f"{agent_class}.{name}"


def test_columns_in_the_monitor_page_are_those_of_the_table() -> None:
    text = (DOCS / "agents" / "pysmurf_monitor.rst").read_text()
    listed = re.findall(r"(?m)^    \* - (\w+)( \(required\))?$", text)
    required = {name for name, mark in listed if mark}
    assert [name for name, _ in listed] == list(files.COLUMNS)
    assert required == {name for name in files.COLUMNS if not files.table.c[name].nullable}


def test_publisher_options_are_those_that_the_controller_sets(monkeypatch) -> None:
    text = (DOCS / "agents" / "pysmurf_controller.rst").read_text()
    controller = importlib.import_module(plugin.agents["PysmurfController"]["module"])
    for name in [name for name in os.environ if name.startswith("SMURFPUB_")]:
        monkeypatch.delenv(name)
    args = argparse.Namespace(udp_port=None, smurfpub_id=None, udp_host=None, instance_id="me")
    assert controller._smurfpub_environment(args) == {
        "SMURFPUB_BACKEND": "udp",
        "SMURFPUB_ID": "me",
        "SMURFPUB_UDP_HOST": "127.0.0.1",
        "SMURFPUB_UDP_PORT": "8200",
    }
    rows = re.findall(r"(?m)^   \* - ``(SMURFPUB_\w+)``\n     - .*\n     - .*(?:else )(.*)$", text)
    assert dict(rows) == {
        "SMURFPUB_BACKEND": "``udp``",
        "SMURFPUB_ID": "its instance-id",
        "SMURFPUB_UDP_HOST": "127.0.0.1",
        "SMURFPUB_UDP_PORT": "8200",
    }


# -- names ----------------------------------------------------------------------------------------


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    found = set()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found |= options_of(sub)
    return found


def all_options() -> set[str]:
    parsers = [cli.make_parser(), site_config.add_arguments(), agent_cli._get_parser()]
    for entry in plugin.agents.values():
        parsers.append(importlib.import_module(entry["module"]).make_parser())
    return set().union(*map(options_of, parsers)) | {"--password"} | options_of_click(control.cli)


def options_of_click(command: click.Command) -> set[str]:
    found = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return found.union(*map(options_of_click, getattr(command, "commands", {}).values()))


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_options_named_in_the_text_exist(page: Path) -> None:
    named = {text.split()[0] for text in literals(page) if text.startswith("--")}
    assert named - all_options() == set()


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_files_named_in_the_text_exist(page: Path) -> None:
    places = ("socs/", "agents/", "docs/", "docker/", "tests/")
    named = [text for text in literals(page) if text.startswith(places)]
    missing = [text for text in named if not list(ROOT.glob(re.sub(r"<\w+>", "*", text)))]
    assert missing == []


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_code_named_in_the_text_exists(page: Path) -> None:
    text = page.read_text()
    named = [*literals(page), *re.findall(r":(?:mod|class|func|data):`~?([^`]+)`", text)]
    for dotted in named:
        if re.fullmatch(r"socs(\.\w+)+", dotted):
            resolve(dotted)


def resolve(dotted: str) -> object:
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found
    raise AssertionError(dotted)


def all_counters() -> list[Counter]:
    tables = [value for name, value in vars(counters).items() if name.isupper()]
    return [entry for table in tables for entry in table if isinstance(entry, Counter)]


def test_every_table_of_counters_is_in_the_page() -> None:
    named = {
        name
        for name, value in vars(counters).items()
        if name.isupper() and any(isinstance(entry, Counter) for entry in value)
    }
    page = (DOCS / "reference" / "counters.rst").read_text()
    assert set(re.findall(r"\.\. counters:: (\w+)", page)) == named


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_counters_named_in_the_text_exist(page: Path) -> None:
    known = {counter.name for counter in all_counters()}
    first_words = {name.split("_")[0] for name in known} - {"files", "bytes", "bad", "handler"}
    pattern = rf"(?:{'|'.join(sorted(first_words))}|files)_[a-z_]+"
    named = {text for text in literals(page) if re.fullmatch(pattern, text)}
    others = {"session_data", "session_log", "failed_files", "data_file", *monitor_fields()}
    assert named - known - others - {"packet_debug_stream_file"} == set()


def monitor_fields() -> set[str]:
    """Fields of the recorded feed of the PV monitor that depend on what is known."""
    known = Knowledge(KnowledgeSettings(TrackSettings(("10.0.0.0/8",))), secret=1)
    counts = measures.counts(known) | {"events": 0}
    return {*measures.totals(known), *measures.Rates().of(counts, 1.0)}


def test_fields_of_the_pv_monitors_feed_are_those_of_the_code() -> None:
    text = (DOCS / "reference" / "feeds.rst").read_text().partition("block ``pv_monitor``\n")[2]
    table = re.split(r"\n(?=\S)", text)[0]
    listed = {name for row in re.findall(r"(?m)^   \* - (.*)$", table) for name in
              LITERAL.findall(row)}  # fmt: skip
    listed = listed - {"requests_<class>_rate"} | {"requests_client_rate"}
    assert monitor_fields() <= listed
    others = listed - monitor_fields()
    folder = ROOT / "socs" / "epics" / "monitor"
    source = "".join((folder / name).read_text() for name in ("monitor.py", "measures.py"))
    assert all(f'"{name}": ' in source for name in others)


def test_environment_variables_are_those_of_the_code() -> None:
    page = set(literals(DOCS / "reference" / "environment.rst"))
    database = {f"MYSQL_{name}" for name in engine.MYSQL_VARIABLES}
    database |= {f"MYSQL_SSL_{name}" for name in ("CA", "CERT", "KEY")}
    assert {name for name in page if re.fullmatch(r"MYSQL_[A-Z_]+[A-Z]", name)} == database
    sources = [*ROOT.glob("socs/**/*.py"), *ROOT.glob("agents/**/*.py")]
    used = set()
    for source in sources:
        used |= set(re.findall(r'["`$](?:SOCS|SMURFPUB)_[A-Z_]*[A-Z]\b', source.read_text()))
    used = {name[1:] for name in used}
    assert {name for name in page if name.startswith(("SOCS_", "SMURFPUB_"))} == used
    assert {"INSTANCE_ID", "SITE_HUB", "SITE_HTTP", "SITE_HOST", "CROSSBAR_TIMEOUT"} <= page


def test_readme_refers_to_what_is_there() -> None:
    text = (ROOT / "README.rst").read_text()
    links = re.findall(r"<((?!http)[^>\s]+)>`_", text) + re.findall(
        r"(?m)^\.\. _\w+: (docs.*)", text
    )
    links += re.findall(r"\.\. image:: (\S+)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^(\w[\w-]*):", makefile))
    assert set(re.findall(r"(?m)^    make (\w+)", text)) == {"demo", "test"} <= targets
    setup = (ROOT / "setup.py").read_text()
    for extra in re.findall(r"'\.\[(\S+)\]'", text):
        assert f'"{extra}": ' in setup
    for agent_class in AGENTS:
        assert f"{agent_class}_ " in text


def test_exit_statuses() -> None:
    page = (DOCS / "reference" / "cli.rst").read_text()
    stated = {int(status) for status in re.findall(r"(?m)^   \* - (\d+)$", page)}
    assert stated == {0, cli.EXIT_ERROR, cli.EXIT_USAGE, cli.EXIT_INTERRUPTED}
    assert agent.EXIT_BAD_CONFIG == cli.EXIT_USAGE  # one row for both


# -- figures --------------------------------------------------------------------------------------

MIB = 1 << 20


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


@pytest.mark.parametrize(
    ("page", "statement"),
    [
        ("reference/spool.rst", f"up to {grouped(store.MAX_UNSAVED)} files are kept in memory"),
        ("reference/spool.rst", f"Waits begin at {registrar.FIRST_WAIT:.0f} second"),
        ("reference/spool.rst", f"double up to {registrar.LONGEST_WAIT:.0f} seconds"),
        ("explanation/reliability.rst", f"(up to {grouped(store.MAX_UNSAVED)})"),
        ("explanation/reliability.rst", f"Beyond {store.QUEUE_BYTES // MIB} MiB in the queue"),
        (
            "explanation/reliability.rst",
            f"every {registrar.DATABASE_WAITS[-1]:.0f} seconds at most",
        ),
        ("explanation/reliability.rst", f"notices it within {registrar.PROBE:.0f} seconds"),
        ("explanation/reliability.rst", f"After {file_readers.HANG:.0f} s the session"),
        ("explanation/architecture.rst", f"larger than {fingerprint.SMALL // MIB} MiB"),
        ("decisions/0001-durable-spool-first.rst", f"up to {store.GROUP}."),
        ("decisions/0004-file-readers-are-processes.rst", f"up to {fingerprint.SMALL // MIB} MiB"),
        ("decisions/0005-table-of-the-seed.rst", f"paths of {files.PATH_LENGTH} characters"),
        ("howto/mariadb.rst", f"away after {engine.STATEMENT_TIMEOUT} seconds"),
        ("howto/network.rst", f"asks for {StreamSettings.receive_buffer // MIB} MiB"),
        ("howto/network.rst", f"net.core.rmem_max = {StreamSettings.receive_buffer}'"),
        ("howto/systemd.rst", f"within {agent.HANG_TIMEOUT:.0f} seconds of SIGTERM"),
        ("howto/systemd.rst", f"with status {agent.EXIT_BAD_CONFIG} and one line"),
        ("reference/feeds.rst", f"up to {publish.MAX_KEPT} session messages"),
        ("reference/feeds.rst", f"{grouped(publish.MAX_SAMPLES)} register values"),
        ("reference/feeds.rst", f"A list of 1 to {limits.MAX_LIST} numbers"),
        ("reference/feeds.rst", f"of up to {limits.MAX_TEXT} characters"),
        ("reference/feeds.rst", f"every {archive_feeds.PERIOD:.0f} seconds"),
        ("reference/feeds.rst", f"the last {archive_feeds.LONGEST_TEXT} characters"),
        ("reference/copies.rst", f"take over {LEASE / 60:.0f} minutes after"),
        ("reference/archive_tree.rst", f"of {grouped(timecodes.TIMECODE)} seconds"),
        ("reference/archive_tree.rst", f"than the {archive_paths.LONGEST_NAME} bytes of a file"),
        ("reference/archive_tree.rst", f"``{storage.STAGING}<instance-id>`` holds"),
        ("reference/feeds.rst", f"up to {grouped(monitor_feeds.MAX_KEPT)} are kept"),
        (
            "reference/epics_heartbeats.rst",
            f"A gateway keeps {grouped(gateway_options.MOST_TEXTS)} of each",
        ),
        ("agents/pv_gateway.rst", f"never more than {MOST_PER_SECOND} in any second"),
        ("howto/epics.rst", f"never more than {MOST_PER_SECOND} datagrams in any second"),
        ("agents/pysmurf_controller.rst", f"SIGKILL {script.KILL_AFTER:.0f} seconds later"),
        ("agents/pysmurf_controller.rst", f"{grouped(session.MAX_SESSION_DATA)} bytes as JSON"),
    ],
)
def test_figures_are_those_of_the_code(page: str, statement: str) -> None:
    assert statement in " ".join((DOCS / page).read_text().split())


def test_hours_of_the_archiver_are_those_of_the_code() -> None:
    hour = 3600.0
    assert markers.LATE == archiving.LONGEST_WAIT == hour
    tree = (DOCS / "reference" / "archive_tree.rst").read_text()
    assert "- the time is over by an hour," in tree
    page = " ".join((DOCS / "reference" / "copies.rst").read_text().split())
    assert "twice as long after each further attempt, at most an hour." in page


def test_picture_names_the_threads_of_the_code() -> None:
    root = ElementTree.parse(DOCS / "_static" / "architecture.svg").getroot()
    words = {text for element in root.iter() if (text := (element.text or "").strip())}
    assert {"udp-receiver", "ingest", "registrar", "spool", "file readers"} <= words
    assert f"{store.QUEUE_BYTES // MIB} MiB" in words
    for source, name in (("pysmurf/store.py", "ingest"), ("db/registrar.py", "registrar")):
        assert f'name="{name}"' in (ROOT / "socs" / source).read_text()
    assert 'name="udp-receiver"' in (ROOT / "socs" / "wire" / "udp.py").read_text()
    assert not [element for element in root.iter() if element.tag.endswith("script")]


def test_two_and_two_worker_processes() -> None:
    assert registrar.RowConstants("", "").workers == 2
    page = (DOCS / "explanation" / "architecture.rst").read_text()
    assert "two for small ones, two for large ones" in page
    assert file_readers.__doc__.startswith("Worker processes")


# -- what is rendered from the code ---------------------------------------------------------------


def test_all_limits_are_rendered_with_their_values() -> None:
    groups = extension().limit_groups()
    rendered = {name: value for entries in groups.values() for name, value, _ in entries}
    assert rendered == {name: value for name, value in vars(limits).items() if name.isupper()}
    assert len(groups) > 1


def test_numbers_are_rendered_exactly() -> None:
    spaced = extension().number(limits.MAX_SEQUENCE)
    assert int(spaced.replace("\N{NO-BREAK SPACE}", "")) == limits.MAX_SEQUENCE


@pytest.mark.parametrize("table", ["CONSERVATION", "ARCHIVE_CONSERVATION"])
def test_equations_are_rendered(table: str) -> None:
    lines = "\n".join(extension().conservation_rst(table))
    for equation in getattr(counters, table):
        for name in (*equation.whole, *equation.parts):
            assert f"``{name}``" in lines
    page = (DOCS / "reference" / "counters.rst").read_text()
    assert f".. conservation:: {table}\n" in page


def test_every_state_of_a_copy_is_rendered() -> None:
    lines = "\n".join(extension().copy_states_rst())
    for state, (meaning, who, into) in copies.STATES.items():
        rows = re.findall(rf"   \* - ``{state}``\n     - (.*)\n     - (.*)\n     - (.*)", lines)
        assert rows == [(extension().literals(meaning), who, ", ".join(f"``{s}``" for s in into))]


def test_every_column_of_the_table_of_copies_is_rendered() -> None:
    lines = "\n".join(extension().copies_table_rst())
    for column in copies.table.columns:
        assert f"``{column.name}``" in lines
        assert extension().literals(column.comment or "Primary key") in lines


def test_diagram_shows_every_state_and_way() -> None:
    extension()
    draw = sys.modules["state_diagram"].draw
    root = ElementTree.fromstring(draw(spool.STATES))
    words = [element.text for element in root.iter("text")]
    for state, (who, into) in spool.STATES.items():
        assert words.count(state) == 1
        assert not into or who in words
    ways = sum(len(into) for _, into in spool.STATES.values())
    assert len(root.findall("./path")) == ways


def test_diagram_refuses_what_it_cannot_draw() -> None:
    extension()
    draw = sys.modules["state_diagram"].draw
    with pytest.raises(ValueError, match="draw this another way"):
        draw({"a": ("x", ("b", "c")), "b": ("x", ("c",)), "c": ("", ())})


# -- decision records -----------------------------------------------------------------------------

RECORDS = sorted((DOCS / "decisions").glob("0*.rst"))


def test_decision_records_are_numbered_without_gaps() -> None:
    assert [int(page.name[:4]) for page in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("page", RECORDS, ids=name_of)
def test_decision_records_have_their_three_parts(page: Path) -> None:
    text = page.read_text()
    title, *parts = headings(text)
    assert title.startswith(page.name[:4])
    assert parts == ["Context", "Decision", "Consequences"]
    assert 20 <= len(text.splitlines()) <= 50


# -- the front page -------------------------------------------------------------------------------


def test_readme_and_changelog_are_restructured_text() -> None:
    core = pytest.importorskip("docutils.core", reason="needs the extra docs")
    for name in ("README.rst", "CHANGELOG.rst"):
        settings = {"report_level": 2, "halt_level": 2, "input_encoding": "utf-8"}
        core.publish_string((ROOT / name).read_text(), settings_overrides=settings)


def test_readme_shows_a_demo_in_which_all_is_well() -> None:
    text = (ROOT / "README.rst").read_text()
    rows = [re.split(r"\s*│\s*", line.strip())[1:6] for line in text.splitlines() if "│" in line]
    assert rows
    for _, done, _, outcome, judgement in rows:
        assert (done, judgement) == (outcome, "ok")
