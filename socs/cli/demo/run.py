"""A running demo: router, agents, source, and those who look on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from socs.cli.demo import camera, epics, tango
from socs.cli.demo.camera import CameraPart
from socs.cli.demo.directory import DemoDirectory
from socs.cli.demo.epics import EpicsPart
from socs.cli.demo.numbers import Numbers, ScriptRun
from socs.cli.demo.part import Part
from socs.cli.demo.tango import TangoPart
from socs.cli.demo.watch import Differences, FeedCount, RateMeter, Status, Verifier, Watcher
from socs.errors import OurError
from socs.sim.leash import Child, Leash
from socs.sim.ports import LOOPBACK, free_port
from socs.sim.pysmurf_truth import Truth, read_truth
from socs.sim.site import AgentInstance, Site

MONITOR, CONTROLLER = "pysmurf-monitor", "pysmurf-controller"
ARCHIVER = "pysmurf-archiver"
SOURCE_ID, SCRIPT_ID = "demo_source", "demo_script"
ADDRESS_ROOT = "observatory"
FAULTS = (tango.FAULT, epics.FAULT)
STILL = 15.0  # s without a change, once the sources have ended: nothing more is to be expected
LONGEST = 120.0  # s that the rest may take whatever changes; a machine may be very busy
STOP_TIMEOUT = 10.0  # s that a process has to end by itself
LISTENER = "from ocs.client_cli import main; main()"  # what `ocs-client-cli` is
SCRIPT = '''\
"""What a pysmurf script does, as far as the controller sees it."""

import sys

from socs.sim.pysmurf_publisher import Publisher

with Publisher("demo_script") as pub:
    pub.publish("taking data", "session_log")
    pub.publish({"active_channels": [0, 1, 2], "token": sys.argv[1]}, "session_data")
    pub.publish("data taken", "session_log")
'''


@dataclass(frozen=True)
class DemoSettings:
    """What the sources do. ``rate`` in files per second, ``size`` in bytes; as the source's.

    Attributes:
        fault: a fault to show, one of :data:`FAULTS`, or "".
    """

    rate: str = "50"
    size: str = "4096"
    drop: float = 0.0
    duplicate: float = 0.0
    seed: int = 0
    fault: str = ""


class Demo:
    """A demo in ``directory``; a context manager that leaves nothing running."""

    def __init__(self, directory: DemoDirectory, settings: DemoSettings) -> None:
        self.directory, self.settings = directory, settings
        self.udp_port = free_port(socket.SOCK_DGRAM)
        self.environment = {"SOCS_DATA_DIR": str(directory.data)} | _blanks()
        absent = (camera.missing(), tango.missing(), epics.missing())
        self.left_out = [reason for reason in absent if reason]
        self.parts: list[Part] = []
        if not tango.missing():
            slow = settings.fault == tango.FAULT
            self.parts.append(TangoPart(directory, self.environment, fault=slow))
        if not epics.missing():
            kill = settings.fault == epics.FAULT
            self.parts.append(EpicsPart(directory, self.environment, fault=kill))
        if not camera.missing():
            given = {"drop": settings.drop, "duplicate": settings.duplicate}
            self.parts.append(CameraPart(directory, self.environment, **given))
        self.site = Site(directory.site, address_root=ADDRESS_ROOT, instances=self._instances())
        self._leash = Leash()
        self._verifier = Verifier(self.environment, directory.archive, MONITOR)
        self._meter = RateMeter()
        self._watchers: list[Watcher] = []
        self._status = self._script = self._archiving = Status(lambda: None)
        self._feeds = FeedCount(directory.site / "log" / "listener.log")
        self._source: Child | None = None
        self._started = self._ended = 0.0
        self._token = ""
        self._differences = Differences()

    def _instances(self) -> list[AgentInstance]:
        monitor = [
            ["--udp-port", self.udp_port],
            ["--data-root", str(self.directory.files)],
            ["--create-table", "true"],
        ]
        controller = [
            ["--monitor-id", MONITOR],
            ["--smurfpub-id", SCRIPT_ID],
            ["--udp-port", self.udp_port],
            ["--script-root", str(self.directory.scripts)],
        ]
        registering = {MONITOR: str(self.directory.files)}
        for part in self.parts:
            registering.update(part.registering)
        archiver = [
            ["--target", *registering.keys()],
            ["--data-dir", str(self.directory.archive)],
            ["--data-root", *registering.values()],
            ["--poll-interval", "0.5"],
        ]
        return [
            AgentInstance("PysmurfMonitor", MONITOR, monitor),
            AgentInstance("PysmurfController", CONTROLLER, controller),
            AgentInstance("PysmurfArchiver", ARCHIVER, archiver),
            *(instance for part in self.parts for instance in part.instances()),
        ]

    # -- life -----------------------------------------------------------------------------------

    def __enter__(self) -> Demo:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:  # each is ended, whatever the others raise
            for part in self.parts:
                stack.callback(part.close)
            stack.callback(self._verifier.close)
            for watcher in self._watchers:
                stack.callback(watcher.stop)
            stack.callback(self.site.stop)
            stack.callback(self._leash.close, STOP_TIMEOUT)

    def start(self, tell: Callable[[str], None]) -> None:
        """Start all of it; ``tell`` gets a line for each step.

        Raises:
            ConfigError: crossbar is not installed.
            OurError: something did not start.
        """
        for part in self.parts:
            tell(f"preparing {part.name} ...")
            part.prepare()
        tell("starting the crossbar router ...")
        self.site.start_router()
        tell("starting the agents ...")
        for name in self.site.instances:
            self.site.start_agent(name, env=self.environment)
        for name in self.site.instances:
            self.site.wait_joined(name)
        self._start_looking()
        tell("starting the sources ...")
        for part in self.parts:
            part.start(self._child)
        self._start_source()
        self._start_script()
        for reason in self.left_out:
            tell(reason)

    def _start_looking(self) -> None:
        topic = f"{ADDRESS_ROOT}..feeds."
        self._child("listener", [sys.executable, "-c", LISTENER, "listen", "--json", topic])
        self._status = Status(self.site.client(MONITOR).run.status)
        self._script = Status(self.site.client(CONTROLLER).run.status)
        self._archiving = Status(self.site.client(ARCHIVER).run.status)
        looks = {
            "status": self._status.look,
            "script": self._script.look,
            "archiving": self._archiving.look,
            "verifier": self._verifier.look,
            "feeds": self._feeds.look,
        }
        for part in self.parts:
            looks.update(part.looks(self.site))
        for name, look in looks.items():
            self._watchers.append(Watcher(name, look))
            self._watchers[-1].start()

    def _start_source(self) -> None:
        settings = self.settings
        options = {
            "--root": self.directory.files,
            "--host": LOOPBACK,
            "--port": self.udp_port,
            "--id": SOURCE_ID,
            "--rate": settings.rate,
            "--size": settings.size,
            "--drop": settings.drop,
            "--duplicate": settings.duplicate,
            "--seed": settings.seed,
            "--metadata-rate": 2,
            "--session-rate": 1,
            "--truth": self.directory.truth,
        }
        words = [str(word) for pair in options.items() for word in pair]
        command = [sys.executable, "-m", "socs.sim.pysmurf_publisher", *words]
        self._source = self._child("source", command)
        self._started = time.monotonic()

    def _start_script(self) -> None:
        script = self.directory.scripts / "take_data.py"
        script.write_text(SCRIPT)
        self._token = secrets.token_hex(4)
        self.site.client(CONTROLLER).run.start(script=str(script), args=[self._token])

    def _child(self, name: str, command: list[str]) -> Child:
        log = self.directory.site / "log" / f"{name}.log"
        return self._leash.start(command, log=log, env=self.site.environment() | self.environment)

    def watch(self) -> None:
        """Have the parts do what is due while the sources run."""
        for part in self.parts:
            part.watch()

    @property
    def source_runs(self) -> bool:
        """Whether the source still announces files."""
        return self._source is not None and self._source.alive

    # -- the end --------------------------------------------------------------------------------

    def stop_sources(self) -> None:
        """Let the sources end, which makes their truths whole.

        Raises:
            OurError: one ended without having written it.
        """
        assert self._source is not None
        self._source.stop(STOP_TIMEOUT)
        self._ended = time.monotonic()
        for part in self.parts:
            part.stop()
        if not self._truth().finished:
            raise OurError(f"the source ended early:\n{self._source.output()[-2000:]}")

    def settled(self) -> bool:
        """Whether nothing more is to be expected: all archived, verified, and reported."""
        numbers = self.numbers()
        counters = self._status.data.get("counters", {})
        parts_settled = [part.settled() for part in self.parts]  # each is asked: it may act
        return all(parts_settled) and (
            numbers.registered >= numbers.announced
            and counters.get("files_registered", 0) >= numbers.announced
            and numbers.waiting == 0
            and numbers.verified + numbers.wrong >= numbers.registered
            and numbers.archived + numbers.wrong >= numbers.registered
            and numbers.lost == numbers.dropped
            and numbers.recognised == numbers.duplicated
            and numbers.script.state in ("done", "failed")
        )

    def compare(self) -> None:
        """Compare the table with all that the source says; the result is in :meth:`numbers`.

        Raises:
            StorageError: the table cannot be read.
        """
        truth = read_truth(self.directory.truth)
        self._differences = self._verifier.compare(truth)
        for part in self.parts:
            part.compare()

    # -- numbers --------------------------------------------------------------------------------

    def numbers(self) -> Numbers:
        """What is known now."""
        now = time.monotonic()
        truth = self._truth()
        data, verifier = self._status.data, self._verifier
        counters = data.get("counters", {})
        registered = verifier.registered
        return Numbers(
            seconds=(self._ended or now) - self._started if self._started else 0.0,
            announced=truth.sent["data_file"],
            dropped=truth.dropped.total(),
            duplicated=truth.duplicated.total(),
            received=counters.get("datagrams_received", 0),
            heard=counters.get("messages_file", 0),
            registered=registered,
            verified=verifier.verified,
            archived=verifier.archived,
            wrong=max(verifier.wrong, self._differences.wrong),
            lost=counters.get("sequence_lost", 0),
            recognised=counters.get("message_duplicate", 0),
            waiting=data.get("backlog", 0),
            rate=self._meter.rate(registered, now),
            database=data.get("database", {}).get("state", "unknown"),
            troubles=(*data.get("troubles", ()), *self._archiving.data.get("troubles", ())),
            feeds=dict(self._feeds.counts),
            script=self._script_run(),
            missing=self._differences.missing,
            surplus=self._differences.surplus,
            monitor_answers=self._status.fresh,
            archiver_answers=self._archiving.fresh,
            parts={part.name: part.numbers() for part in self.parts},
        )

    def final_numbers(self) -> Numbers:
        """What is known at the end, with the mean rate."""
        numbers = self.numbers()
        mean = numbers.registered / numbers.seconds if numbers.seconds else 0.0
        return dataclasses.replace(numbers, rate=mean)

    def _truth(self) -> Truth:
        """The counts of the source so far, without the lists of files."""
        try:
            content = json.loads(self.directory.truth.read_text())
        except FileNotFoundError:
            return Truth()
        sent, dropped, duplicated = (
            Counter(content[name]) for name in ("sent", "dropped", "duplicated")
        )
        return Truth(sent, dropped, duplicated, finished=content["finished"])

    def _script_run(self) -> ScriptRun:
        session, data = self._script.session, self._script.data
        if not session or not self._token:
            return ScriptRun()
        state = str(session.get("status"))
        if state == "done":
            state = "done" if session.get("success") else "failed"
        messages: list[Any] = session.get("messages") or []
        lines = sum(text in ("taking data", "data taken") for _, text in messages)
        shown = {name: value for name, value in data.items() if not name.startswith("_")}
        return ScriptRun(state, self._token, shown, lines)


def _blanks() -> dict[str, str]:
    """Empty values for what, in this environment, would lead the demo to other places."""
    return {name: "" for name in os.environ if name.startswith(("MYSQL_", "SMURFPUB_"))}
