"""What is asked about process variables, and what is told; and how the child is spoken to."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Protocol = Literal["ca", "pva"]
PROTOCOLS: tuple[Protocol, ...] = ("ca", "pva")
Number = float | int | str | None


class Question(msgspec.Struct, frozen=True):
    """One name, asked for by one protocol.

    Attributes:
        server: ``host:port`` (TCP) to ask; "" to search for the one that has it.
    """

    name: str
    protocol: Protocol = "ca"
    server: str = ""


class PvInfo(msgspec.Struct, kw_only=True):
    """What is known of a process variable. None, and "", stand for what was not told.

    Attributes:
        state: ``connected`` if the server says that it has it.
        reason: why it is disconnected, or what is missing although it is connected.
        server: ``host:port`` that was asked.
        others: servers that answered the search for it as well.
        type: as tools of the protocol call it: ``DBF_DOUBLE``, or ``double[]``.
        structure: of PV Access: ``epics:nt/NTScalar:1.0``.
        count: most elements that it can have; for PV Access those that it has.
        length: elements that it has.
        value: one value, or the first ones of a list. Not a number and infinite are the texts
            ``NaN``, ``Infinity`` and ``-Infinity``.
        text: the value as text: the choice of an enum; characters of an array of characters.
        time_ns: of the value [ns since 1970].
        limits: pairs of the lowest and the highest value, by ``display``, ``control``,
            ``warning`` and ``alarm``.
        choices: texts of an enum.
    """

    name: str
    protocol: Protocol
    state: Literal["connected", "disconnected"] = "disconnected"
    reason: str = ""
    server: str = ""
    others: list[str] = []
    type: str = ""
    structure: str = ""
    count: int | None = None
    length: int | None = None
    read: bool | None = None
    write: bool | None = None
    value: Any = None
    text: str | None = None
    time_ns: int | None = None
    severity: str = ""
    status: str = ""
    message: str = ""
    units: str = ""
    precision: int | None = None
    limits: dict[str, tuple[Number, Number]] = {}
    choices: list[str] = []
    description: str = ""


class Ask(msgspec.Struct):
    """To the child.

    Attributes:
        timeout: for each of the questions, from now on [s].
        most_elements: of a value that are told.
    """

    number: int
    timeout: float
    most_elements: int
    questions: list[Question]


class Answer(msgspec.Struct):
    """From the child: what came of one question. The first message of all has no ``info``."""

    number: int = 0
    index: int = 0
    info: dict[str, Any] | None = None


encode = msgspec.json.Encoder().encode
decode_ask = msgspec.json.Decoder(Ask).decode
decode_answer = msgspec.json.Decoder(Answer).decode
