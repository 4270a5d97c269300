"""What a PV monitor wants of gateways, as calls of their Tasks. For the reactor's thread.

At most one call of a Task of a gateway is under way. What comes meanwhile waits, what somebody
looks at first; of searches so many names, of which what is beyond is dropped and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from socs.counters import Counters
from socs.epics.knowledge.wishes import Ask, Resync, Search, Wish
from socs.epics.networks import host_text

MOST_WAITING = 50_000  # names that wait for one gateway
MOST_ASKS = 10_000  # applications that are to be asked by one gateway

Call = Callable[[str, str, Mapping[str, Any]], Any]
Line = tuple[str, str]  # gateway, Task


class GatewayCalls:
    """Brings wishes to gateways.

    Args:
        call: calls a Task of a gateway and waits for its end: ``call(gateway, task, params)`` gives
            a Deferred of whether it succeeded, and what it said.
        counters: must know :data:`socs.counters.EPICS_MONITOR`.
        refused: called with a wish that a gateway did not do.
        report: gets lines for the log.
    """

    def __init__(
        self,
        call: Call,
        counters: Counters,
        refused: Callable[[Wish], object],
        report: Callable[[str], None],
    ) -> None:
        self._call, self._counters = call, counters
        self._refused, self._report = refused, report
        self._waiting: dict[Line, deque[Wish]] = {}
        self._busy: set[Line] = set()
        self._said: dict[Line, str] = {}
        self._ended = False

    def wish(self, wishes: Sequence[Wish]) -> None:
        """Have these done."""
        for wish in wishes:
            line = wish.gateway, _task(wish)
            waiting = self._waiting.setdefault(line, deque())
            if isinstance(wish, Resync):
                waiting.clear()  # one is as good as many
            elif not self._is_room(waiting, wish):
                self._counters.add("gateway_wishes_dropped", len(getattr(wish, "names", (wish,))))
                self._refused(wish)
                continue
            waiting.append(wish)
            self._next(line)

    def end(self) -> None:
        """Call nobody any more."""
        self._ended = True
        self._waiting.clear()

    def troubles(self) -> list[str]:
        """What gateways refused last, of each Task. For any thread."""
        refusals = dict(self._said)  # in one step, as the reactor's thread may change it meanwhile
        return [f"{gateway}: {task}: {said}" for (gateway, task), said in refusals.items()]

    @staticmethod
    def _is_room(waiting: Sequence[Wish], wish: Wish) -> bool:
        if isinstance(wish, Search):
            names = sum(len(each.names) for each in _searches(waiting))
            return names + len(wish.names) <= MOST_WAITING
        return len(waiting) < MOST_ASKS

    def _next(self, line: Line) -> None:
        waiting = self._waiting.get(line)
        if self._ended or not waiting or line in self._busy:
            return
        wish = min(waiting, key=_rank)
        waiting.remove(wish)
        self._busy.add(line)
        self._counters.add("gateway_calls")
        called = self._call(*line, _params(wish))
        called.addCallbacks(
            lambda reply: self._over(line, wish, *reply),
            lambda failure: self._over(line, wish, False, failure.getErrorMessage()),
        )

    def _over(self, line: Line, wish: Wish, done: bool, said: str) -> None:
        self._busy.discard(line)
        if done:
            self._said.pop(line, None)
        elif not self._ended:
            self._counters.add("gateway_calls_failed")
            if self._said.get(line) != said:
                self._report(f"{line[0]} did not {line[1]}: {said}")
            self._said[line] = said
            self._refused(wish)
        self._next(line)


def _task(wish: Wish) -> str:
    return type(wish).__name__.lower()


def _rank(wish: Wish) -> int:
    return int(wish.priority) if isinstance(wish, Search) else 0


def _searches(waiting: Sequence[Wish]) -> Iterator[Search]:
    return (wish for wish in waiting if isinstance(wish, Search))


def _params(wish: Wish) -> dict[str, Any]:
    """The parameters of the Task."""
    if isinstance(wish, Search):
        names = [name.decode("utf-8", "replace") for name in wish.names]
        return {"names": names, "priority": wish.priority.name.lower()}
    if isinstance(wish, Ask):
        return {
            "what": wish.what,
            "host": host_text(wish.host),
            "port": wish.port,
            "sequence": wish.sequence,
            "server": wish.server,
        }
    return {}
