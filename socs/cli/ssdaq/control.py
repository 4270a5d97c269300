"""``control-ssdaq``: starts, stops and commands a readout assembler and a file writer.

What only ``start`` needs is loaded by it: HDF5 for one takes long to load.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from socs.cli.ssdaq.background import UP, Report, into_background
from socs.cli.ssdaq.pid_file import running, stop
from socs.cli.ssdaq.running import set_up_log
from socs.errors import ConfigError, OurError, SocsError, naming
from socs.slow_signal.ssdaq.control import TIMEOUT, ask, control_path, run_dir

if TYPE_CHECKING:
    from socs.slow_signal.settings import Configuration, DaemonSettings

STOP_TIMEOUT = 40.0  # s; each of the threads that end may take 10 s
ASSEMBLER_PID = "ssdaq_daemon.pid"
WRITER_PID = "ssdaq_writer_daemon.pid"
DEFAULT = "ssdaq-default-config.yaml"
CONTEXT = {"help_option_names": ["-h", "--help"]}
NOT_RUNNING = "does not run; there is nothing to stop"

as_daemon = click.option("--daemon/--no-daemon", "-d", default=False, help="Run in the background.")
with_config = click.argument("config", required=False)
to_whom = click.option("--report-to", type=int, hidden=True)  # see socs.cli.ssdaq.background


@click.group(context_settings=CONTEXT)
def cli() -> None:
    """Start, stop and control ssdaq readout assembler and writer daemons"""


# -- start ----------------------------------------------------------------------------------------


@cli.group()
def start() -> None:
    """Start a readout assembler or writer"""


@dataclass(frozen=True)
class Job:
    """What is started, here or in the background.

    Attributes:
        what: for people.
        section: of the configuration, that says how it runs in the background.
        settings: what it says.
        pid_path: file that says that it runs.
        words: after ``start``, that do the same again.
        run: does it, and calls what it is given when it is up.
    """

    what: str
    section: str
    settings: DaemonSettings
    pid_path: Path
    words: Sequence[str]
    run: Callable[[Callable[[], object]], None]


@start.command("roa")
@as_daemon
@with_config
@to_whom
def start_roa(daemon: bool, config: str | None, report_to: int | None) -> None:
    """Start a readout assembler, with the configuration file CONFIG or a default one"""
    from socs.cli.ssdaq.assembling import assemble  # noqa: PLC0415

    path = run_dir() / ASSEMBLER_PID
    chosen = _configuration(config)
    job = Job(
        "readout assembler",
        "ReadoutAssemblerDaemon",
        chosen.assembler_daemon,
        path,
        ["roa", *_words(config)],
        lambda up: assemble(chosen, pid_path=path, up=up),
    )
    _start(job, daemon, report_to)


@start.command("dw")
@as_daemon
@with_config
@click.option("--filename-prefix", "-f", metavar="PREFIX", help="Instead of file_prefix.")
@click.option("--output-folder", "-o", metavar="FOLDER", help="Instead of folder.")
@to_whom
def start_dw(
    daemon: bool,
    config: str | None,
    filename_prefix: str | None,
    output_folder: str | None,
    report_to: int | None,
) -> None:
    """Start a data writer, with the configuration file CONFIG or a default one"""
    from socs.cli.ssdaq.file_writing import write_files  # noqa: PLC0415

    path = run_dir() / WRITER_PID
    chosen = _configuration(config)
    words, writer = ["dw"], chosen.writer
    if filename_prefix is not None:
        words += ["-f", filename_prefix]
        writer = replace(writer, file_prefix=filename_prefix)
    if output_folder is not None:
        words += ["-o", output_folder]
        writer = replace(writer, folder=output_folder)
    job = Job(
        "readout writer",
        "ReadoutFileWriterDaemon",
        chosen.writer_daemon,
        path,
        [*words, *_words(config)],
        lambda up: write_files(writer, pid_path=path, up=up),
    )
    _start(job, daemon, report_to)


def _configuration(config: str | None) -> Configuration:
    from socs.slow_signal.settings import read_configuration  # noqa: PLC0415

    if config is not None:
        return read_configuration(Path(config))
    with resources.as_file(resources.files("ssdaq.resources") / DEFAULT) as path:
        return read_configuration(path)


def _words(config: str | None) -> list[str]:
    return [] if config is None else [str(Path(config).absolute())]


def _start(job: Job, daemon: bool, report_to: int | None) -> None:
    """Do the job here, or have a process in the background do it."""
    if not daemon:
        if report_to is None:
            click.echo(f"Starting {job.what}...")
        _run_here(job, report_to)
        return
    click.echo(f"Starting {job.what}...")
    other = running(job.pid_path)
    if other is not None:
        raise ConfigError(f"the {job.what} runs already, as process {other} ({job.pid_path})")
    command = ["-m", "socs.cli.ssdaq", "start", *job.words]
    stdout, stderr = Path(job.settings.stdout), Path(job.settings.stderr)
    with naming(job.section):
        pid = into_background(command, stdout, stderr)
    click.echo(f"It runs in the background as process {pid}; log: {stderr}")


def _run_here(job: Job, report_to: int | None) -> None:
    """Do the job in this process, and tell the one that has started it, if any, how it goes."""

    report = Report(report_to)

    def up() -> None:
        if report_to is not None:
            os.chdir("/")  # whatever is mounted where this was started can be unmounted
        report(UP)

    try:
        set_up_log(job.settings.log_level, f"{job.section}: log_level")
        job.run(up)
    except SocsError as error:
        report(str(error))
        raise


# -- stop -----------------------------------------------------------------------------------------


@cli.group("stop")
def stop_group() -> None:
    """Stop a running readout assembler or writer"""


seconds = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=STOP_TIMEOUT,
    show_default=True,
    help="Longest time to wait [s].",
)


@stop_group.command("roa")
@seconds
def stop_roa(timeout: float) -> None:
    """Stop a running readout assembler"""
    _stop(ASSEMBLER_PID, "readout assembler", timeout)


@stop_group.command("dw")
@seconds
def stop_dw(timeout: float) -> None:
    """Stop a running readout writer"""
    _stop(WRITER_PID, "readout writer", timeout)


def _stop(name: str, what: str, timeout: float) -> None:
    there = stop(run_dir() / name, timeout, lambda line: click.echo(line, err=True))
    click.echo(f"The {what} has ended" if there else f"The {what} {NOT_RUNNING}")


# -- roa-ctrl -------------------------------------------------------------------------------------


@cli.group("roa-ctrl")
def roa_ctrl() -> None:
    """Send control commands to a running readout assembler daemon"""


def _command(name: str, request: str, text: str, shown: Callable[[str], str] = str) -> None:
    waiting = click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=TIMEOUT,
        show_default=True,
        help="Longest time to wait for the answer [s].",
    )

    @roa_ctrl.command(name, help=text)
    @waiting
    def command(timeout: float) -> None:
        answer = ask(request, control_path(), timeout)
        if answer.startswith("Error,"):
            raise OurError(answer)
        click.echo(shown(answer))


def _indented(answer: str) -> str:
    try:
        status: Any = json.loads(answer)
    except ValueError as error:
        raise OurError(f"the assembler's answer is no JSON: {error}") from error
    return json.dumps(status, indent=2)


_command("reset-count", "reset_ro_count 1", "Count readouts from 1 again, which begins a new file")
_command("pause-pub", "set_publish_readouts False", "Pause readout publishing")
_command("restart-pub", "set_publish_readouts True", "Restart readout publishing")
_command("status", "status", "Print the state of the assembler, as JSON", _indented)


def main() -> int:
    """The command line; ends the process, see click."""
    cli(prog_name="control-ssdaq")
    return 0
