"""What a running script tells the session it runs in, through the monitor's feed.

No I/O and no clock.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from socs.errors import PeerError, TooLarge
from socs.pysmurf.limits import MAX_DEPTH, MAX_SEQUENCE

MAX_SESSION_DATA = 100_000  # bytes of JSON; what an OCS session should carry at most
MAX_LINE = 4_000  # characters of one line for the session's messages
MAX_LINES = 1_000_000  # characters of all lines of one run; each reply to a client carries them
OWN_KEY = "_run"  # the only key of the session's data that is not the script's


class ScriptSession:
    """Collects the ``session_data`` and ``session_log`` of one run.

    Args:
        pub_id: only messages with this publisher id are the script's.
        about: what this program says about the run; stays under ``_run``, and gains
            ``ignored_messages`` (for the script, but of no use), ``ignored`` (how many of them by
            cause) and ``foreign_messages`` (from other publishers).

    Attributes:
        data: for the session's data: the script's own keys, and ``_run``. Fit for JSON.
    """

    def __init__(self, pub_id: str, about: dict[str, Any]) -> None:
        self._pub_id = pub_id
        self._about = about
        self._ignored: Counter[str] = Counter()
        self._sizes: dict[str, int] = {}
        self._characters = 0
        self.data: dict[str, Any] = {OWN_KEY: about}
        about.update(ignored_messages=0, ignored={}, foreign_messages=0)

    def take(self, message: object) -> str | None:
        """Take a message of the feed.

        Returns:
            A line for the session's messages, if there is one: what the script logged, or why this
            message was ignored (for the first of a kind).
        """
        if not isinstance(message, Mapping) or message.get("id") != self._pub_id:
            self._about["foreign_messages"] += 1
            return None
        try:
            return self._take(message.get("type"), message.get("payload"))
        except PeerError as error:
            return self._ignore(error.cause, str(error))

    def _take(self, kind: object, payload: object) -> str | None:
        if kind == "session_data":
            self._take_data(payload)
            return None
        if kind == "session_log":
            return self._take_line(payload)
        raise PeerError("neither session_data nor session_log", "other_type")

    def _take_data(self, payload: object) -> None:
        if not isinstance(payload, Mapping):
            raise PeerError("session_data that is not a dict", "data_not_a_dict")
        values = json_safe(payload)
        if OWN_KEY in values:
            raise PeerError(f"session_data with the reserved key {OWN_KEY}", "reserved_key")
        sizes = {key: len(json.dumps({key: value})) for key, value in values.items()}
        size = sum({**self._sizes, **sizes}.values())
        if size > MAX_SESSION_DATA:
            limit = f"{MAX_SESSION_DATA} bytes"
            raise TooLarge(f"session_data would grow to {size} bytes, beyond {limit}")
        self._sizes.update(sizes)
        self.data.update(values)

    def _take_line(self, payload: object) -> str:
        if not isinstance(payload, str):
            raise PeerError("session_log that is not a text", "log_not_a_text")
        line = _text(payload)
        if len(line) > MAX_LINE:
            line = f"{line[:MAX_LINE]}... ({len(line)} characters)"
        if self._characters + len(line) > MAX_LINES:
            raise TooLarge(f"session_log beyond {MAX_LINES} characters", "too_many_lines")
        self._characters += len(line)
        return line

    def _ignore(self, cause: str, reason: str) -> str | None:
        self._ignored[cause] += 1
        self._about["ignored_messages"] += 1
        self._about["ignored"] = dict(self._ignored)
        if self._ignored[cause] > 1:
            return None
        return f"Ignored a message of the script: {reason}; more of the kind are only counted"


def json_safe(value: Any, depth: int = 0) -> Any:
    """A copy that any JSON or WAMP peer can read: keys are text, NaN and infinities are None.

    Integers beyond 64 bits become floats; what JSON has no value for becomes a text about it.

    Raises:
        TooLarge: nested deeper than a message may be.
    """
    if depth > MAX_DEPTH:
        raise TooLarge(f"session_data nested deeper than {MAX_DEPTH}", "too_deep")
    if isinstance(value, Mapping):
        return {_text(str(key)): json_safe(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(item, depth + 1) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    return _text(value if isinstance(value, str) else repr(value))


def _number(value: float) -> float | None:
    if isinstance(value, int) and -MAX_SEQUENCE <= value <= MAX_SEQUENCE:
        return value
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _text(text: str) -> str:
    """Text that UTF-8 can carry: lone surrogates become question marks."""
    return text.encode(errors="replace").decode()
