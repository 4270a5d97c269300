"""How Tasks of the PV monitor take parameters, and answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from ocs import ocs_agent

from socs.agent import Reply
from socs.epics.monitor.asked_values import Paging
from socs.epics.monitor.monitor import PvMonitor
from socs.errors import SocsError

NOT_MONITORING = "Not monitoring: start the process monitor first"

Params = dict[str, Any]
Session = Any  # an ocs.ocs_agent.OpSession, which has no types
Task = TypeVar("Task", bound=Callable[..., Reply])


def param(name: str, **rules: Any) -> Callable[[Task], Task]:
    """A parameter of a Task, as ``ocs_agent.param`` takes it."""
    added: Callable[[Task], Task] = ocs_agent.param(name, **rules)
    return added


text = partial(param, type=str)
maybe_text = partial(param, type=str, default=None)
maybe_number = partial(param, type=float, default=None, check=math.isfinite)
maybe_whole = partial(
    param, type=int, default=None, check=lambda value: not isinstance(value, bool)
)
listed = partial(param, type=list, default=[])


def paged(task: Task) -> Task:
    """Parameters of a Task that answers with a page."""
    return param("start", default=0, type=int)(param("most", default=25, type=int)(task))


def paging(params: Params) -> Paging:
    """The page that is wanted."""
    return Paging(params["start"], params["most"])


def chosen(params: Params, *names: str) -> Params:
    """Some of the parameters."""
    return {name: params[name] for name in names}


class Answering:
    """Answers with session data: ``timestamp``, and what each Task tells.

    Attributes:
        pvs: the monitor, None while it is not running.
    """

    pvs: PvMonitor | None

    def _answer(
        self,
        session: Session,
        ask: Callable[[PvMonitor], Mapping[str, Any] | None],
        said: str = "Done",
    ) -> Reply:
        """Reply of a Task whose session data are what ``ask`` finds."""
        pvs = self.pvs
        if pvs is None:
            return False, NOT_MONITORING
        try:
            found = ask(pvs) or {}
        except SocsError as error:
            return False, str(error)
        session.data = {"timestamp": time.time(), **found}
        if "rows" in found:
            shown = len(found["rows"])
            said = f"{shown} of {found['total']}" if "total" in found else str(shown)
        return True, said
