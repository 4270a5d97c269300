"""What an error of Tango tells of a server. Pure: errors are ``(reason, description)`` pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from socs.tango.states import Outcome

Failure = Outcome | Literal["timeout", "delayed"]
Cause = tuple[str, str]

# What is looked for, the first that is found decides: reasons, and parts of descriptions.
_SIGNS: tuple[tuple[Failure, tuple[str, ...], tuple[str, ...]], ...] = (
    ("no_command", ("API_CommandNotFound",), ()),
    ("not_exported", ("DB_DeviceNotDefined", "API_DeviceNotDefined"), ()),
    (
        "unknown",
        ("API_CantConnectToDatabase", "API_DatabaseException"),
        ("device sys/database/",),
    ),
    ("timeout", ("API_DeviceTimedOut",), ("CallTimedout",)),
    ("not_exported", ("API_DeviceNotExported",), ()),
    ("delayed", (), ("request was delayed",)),
    (
        "refused",
        ("API_CantConnectToDevice",),
        ("ConnectFailed", "COMM_FAILURE", "OBJECT_NOT_EXIST"),
    ),
)


def failure_of(causes: Sequence[Cause]) -> tuple[Failure, str]:
    """What the causes of one ``DevFailed`` mean, and a sentence for people.

    Besides the outcomes of :mod:`socs.tango.states`: ``timeout`` for no answer in time, and
    ``delayed`` for a connection that was not tried because the last try was within a second.
    What is not known, such as a refusal by access control, is ``unknown``.
    """
    reasons = {reason for reason, _ in causes}
    text = " ".join(description for _, description in causes)
    why = next((words for _, words in causes if "CORBA" not in words), text).split("\n")[0]
    for failure, some_reasons, words in _SIGNS:
        if not reasons.isdisjoint(some_reasons) or any(word in text for word in words):
            return failure, why
    return "unknown", why
