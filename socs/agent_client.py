"""Calling agents as ``ocs.ocs_client.OCSClient`` does, but never for ever.

OCS waits without end for a router that has taken a call and says nothing. Here each answer has its
time. To wait for the end of an operation takes as long as it takes, but is asked for in turns, so
that a router that begins to hang meanwhile is noticed, too.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import requests
from ocs import TIMEOUT as STILL_RUNS
from ocs.client_http import ControlClient, ControlClientError
from ocs.ocs_client import OCSClient

LONGEST_ANSWER = 30.0  # s


class NoAnswer(ControlClientError):  # type: ignore[misc]
    """The router, or an agent behind it, hangs; the message names the router's address."""


class AgentClient(OCSClient):  # type: ignore[misc]
    """An ``OCSClient`` whose calls end.

    Args:
        instance_id: of the agent.
        args: options that say where the site config is, as for ``OCSClient``.
        timeout: for the router to take a connection, and for each of its answers [s].

    Raises:
        NoAnswer: there was no answer in time. This, and all that ``OCSClient`` raises, may come of
            calls, too.
    """

    def __init__(
        self, instance_id: str, args: Sequence[str] = (), timeout: float = LONGEST_ANSWER
    ) -> None:
        self._timeout = timeout
        super().__init__(instance_id, args=list(args))

    # OCSClient makes its ControlClient and calls the agent in one go, so there is no later moment.
    @property
    def _client(self) -> TimedControlClient:
        return self._timed

    @_client.setter
    def _client(self, made: ControlClient) -> None:
        address, url, realm = made.agent_addr, made.call_url, made.realm
        self._timed = TimedControlClient(address, url=url, realm=realm, timeout=self._timeout)


class TimedControlClient(ControlClient):  # type: ignore[misc]
    """A ``ControlClient`` whose calls end.

    Args:
        agent_addr, url, realm: as for ``ControlClient``.
        timeout: see `AgentClient`.
    """

    def __init__(self, agent_addr: str, *, url: str, realm: str, timeout: float) -> None:
        super().__init__(agent_addr, url=url, realm=realm)
        self._timeout = timeout

    def call(self, procedure: str, *args: Any, **kwargs: Any) -> Any:
        """Call a procedure; what it returns.

        Raises:
            NoAnswer: there was no answer in time.
            ControlClientError: no router is there, or the call failed.
        """
        sent = json.dumps({"procedure": procedure, "args": args, "kwargs": kwargs})
        try:
            answer = requests.post(self.call_url, data=sent, timeout=self._timeout)
        except requests.exceptions.Timeout as error:
            told = f"no answer within {self._timeout:g} s by {self.call_url}"
            raise NoAnswer(told) from error
        except requests.exceptions.ConnectionError as error:
            told = f"Failed to connect to {self.call_url}"
            raise _failure("client_http.error.connection_error", [told]) from error
        if answer.status_code != requests.codes.ok:
            told = f"Server replied with code {answer.status_code}"
            raise _failure("client_http.error.request_error", [told])
        found = answer.json()
        if "error" in found:
            raise _failure(found["error"], found["args"], found["kwargs"])
        return found["args"][0]

    def request(
        self, action: str, op_name: str, params: Mapping[str, Any] | None = None, **how: Any
    ) -> Any:
        """Do something with an operation: status, message, session.

        Raises:
            NoAnswer, ControlClientError: as `call`.
        """
        if action != "wait":
            return super().request(action, op_name, params or {}, **how)
        limit = how.pop("timeout", None)
        ends = math.inf if limit is None else time.monotonic() + limit
        while True:
            turn = min(self._timeout / 2, ends - time.monotonic())
            reply = super().request(action, op_name, params or {}, timeout=turn, **how)
            if reply[0] != STILL_RUNS or time.monotonic() >= ends:
                return reply


def _failure(name: str, args: Any, kwargs: Any = None) -> ControlClientError:
    """An error as OCS makes it."""
    return ControlClientError([0, 0, 0, 0, name, args, kwargs or {}])
