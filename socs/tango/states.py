"""What a device server can be found to be, as a table.

An *outcome* is what became of one query; it alone decides the state the server is in. Whether a
server that answers was started anew meanwhile is another question: see `began_anew`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal[
    "ok", "hung", "busy", "refused", "not_exported", "no_command", "bad_reply", "unknown"
]
State = Literal[
    "unknown", "up", "hung", "busy", "dead", "not_exported", "without_command", "unreadable"
]
Severity = Literal["info", "warning", "error"]


class Meaning(NamedTuple):
    """Of a state: what the server did, how bad that is, what a sentence says of it."""

    when: str
    severity: Severity
    sentence: str


STATES: dict[State, Meaning] = {
    "unknown": Meaning("nobody could ask it, has yet, or does any more", "info", "cannot be asked"),
    "up": Meaning("it answered", "info", "answers"),
    "hung": Meaning("no answer in time, nor to a ping", "error", "hangs"),
    "busy": Meaning("no answer in time, but its devices answer", "warning", "is busy"),
    "dead": Meaning("the connection was refused", "error", "is dead"),
    "not_exported": Meaning("the database says that it is not running", "error", "is not running"),
    "without_command": Meaning("it has no `QueryEventSystem`", "warning", "has no such command"),
    "unreadable": Meaning("its answer could not be decoded", "error", "gives unreadable answers"),
}
OUTCOMES: dict[Outcome, State] = {
    "ok": "up",
    "hung": "hung",
    "busy": "busy",
    "refused": "dead",
    "not_exported": "not_exported",
    "no_command": "without_command",
    "bad_reply": "unreadable",
    "unknown": "unknown",
}
GONE: frozenset[State] = frozenset({"dead", "not_exported"})  # no process: nothing is pushed


def began_anew(
    *, known: str, told: str, was_gone: bool, was_up_before: bool, fell_back: bool
) -> bool:
    """Whether a server that answers is another process than the one that answered last.

    Args:
        known: what told processes apart (process id and start) when it answered last; "" if
            nothing did.
        told: the same now.
        was_gone: it was in one of the states `GONE` since.
        was_up_before: it answered before at all.
        fell_back: a number is lower than it was.
    """
    if not was_up_before:
        return False
    if known and told:
        return known != told
    return was_gone or fell_back
