"""Runs a readout assembler until it is told to end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from socs.cli.ssdaq.pid_file import PidFile
from socs.cli.ssdaq.running import EndSignals, loaded, pin_to_core
from socs.errors import ConfigError
from socs.slow_signal.settings import Configuration, CustomPublisherSettings
from socs.slow_signal.ssdaq.assembler import ReadoutAssembler
from socs.slow_signal.ssdaq.control import control_path
from socs.slow_signal.ssdaq.outlet import CustomPublisher

SECTION = "ReadoutAssemblerDaemon"

log = logging.getLogger("ssdaq")


def assemble(
    chosen: Configuration,
    *,
    pid_path: Path | None = None,
    up: Callable[[], object] = lambda: None,
) -> None:
    """Assemble and publish readouts until a signal comes; then give out what there is.

    Args:
        chosen: the configuration.
        pid_path: file that says that this process is *the* assembler; None for none.
        up: called when it receives.

    Raises:
        ConfigError: a setting is wrong or an address in use, or there is an assembler already.
    """
    with EndSignals() as signals:
        pid_file = PidFile(pid_path) if pid_path else None
        try:
            if chosen.assembler_daemon.set_taskset:
                pin_to_core(chosen.assembler_daemon.core_id, f"{SECTION}: core_id")
            custom = [_made(each) for each in chosen.custom_publishers]
            with ReadoutAssembler(
                chosen.stream, custom, control=control_path(), report=log.warning
            ) as assembler:
                assembler.start()
                _tell_beginning(assembler)
                up()
                signals.wait(assembler.stream.troubles)
            _tell_end(assembler)
        finally:
            if pid_file:
                pid_file.close()


def _made(settings: CustomPublisherSettings) -> CustomPublisher:
    where = f"ReadoutPublishers: {settings.name}: class"
    try:
        made: CustomPublisher = loaded(settings.class_name, where)(
            name=settings.name, **settings.arguments
        )
    except ConfigError:
        raise
    except Exception as error:  # of a class that is not ours
        raise ConfigError(
            f"{where}: {settings.class_name} cannot be made: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(made, "name"):
        with suppress(AttributeError):
            made.name = settings.name  # type: ignore[attr-defined]
    return made


def _tell_beginning(assembler: ReadoutAssembler) -> None:
    status = assembler.status()
    log.info("listens to packets at %s", status["listening"]["address"])
    for publisher in status["publishers"]:
        log.info("%s publishes at %s", publisher["name"], publisher["endpoint"])
    for publisher in status["custom_publishers"]:
        log.info("%s gets readouts, too", publisher["name"])


def _tell_end(assembler: ReadoutAssembler) -> None:
    status = assembler.status()
    numbers = {name: number for name, number in status["counters"].items() if number}
    told = ", ".join(f"{name} {number}" for name, number in numbers.items())
    log.info("ended; %s", told or "nothing came")
    for publisher in status["custom_publishers"]:
        log.info("%s: %s", publisher.pop("name"), publisher)
    if status["unaccounted"]:
        log.error("unaccounted for: %s", status["unaccounted"])
