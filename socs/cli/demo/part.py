"""What the demo needs of each stream that joins it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from socs.sim.leash import Child
from socs.sim.site import AgentInstance, Site

StartChild = Callable[[str, list[str]], Child]  # (name of its log, command)


@dataclass(frozen=True)
class Comparison:
    """One line of the summary: what was done, what came of it, and whether that is right."""

    what: str
    done: int
    outcome: str
    found: int

    @property
    def good(self) -> bool:
        """Whether both numbers agree."""
        return self.done == self.found


class PartNumbers(Protocol):
    """The numbers of a part at one moment."""

    def line(self) -> list[str]:
        """Pieces of a line of text."""

    def rows(self) -> list[tuple[str, str, str]]:
        """Rows of the live table: name, value, explanation."""

    def comparisons(self) -> list[Comparison]:
        """What must agree at the end."""

    def problems(self) -> list[str]:
        """Why the demo failed, beyond comparisons."""

    def sentence(self) -> str:
        """What was achieved, if all is as it must be."""

    def as_json(self) -> dict[str, Any]:
        """Fit for JSON."""


class Part(Protocol):
    """A stream in the demo. Its agents are in the demo's site.

    Attributes:
        name: in a word.
        registering: directories of files by the instance id of the agent that registers them.
    """

    name: str
    registering: Mapping[str, str]

    def instances(self) -> Sequence[AgentInstance]:
        """Its agents."""

    def prepare(self) -> None:
        """Start what must be there before the agents."""

    def looks(self, site: Site) -> Mapping[str, Callable[[], None]]:
        """What is to be called again and again in threads, by name. The agents have joined."""

    def start(self, child: StartChild) -> None:
        """Start its source."""

    def watch(self) -> None:
        """Do what is due while the source runs; called several times a second."""

    def stop(self) -> None:
        """Have the source end, and its truth be whole.

        Raises:
            OurError: it ended early.
        """

    def settled(self) -> bool:
        """Whether nothing more is to be expected after the stop; may do what is left to do."""

    def compare(self) -> None:
        """Look at all outcomes once more, at the end."""

    def numbers(self) -> PartNumbers:
        """What is known now."""

    def close(self) -> None:
        """Close what it holds."""
