"""What a reply of ``QueryEventSystem`` holds; see :mod:`socs.tango.decode` for what it means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from socs.tango.limits import MAX_NAME

_Count = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**63 - 1)]  # 32 bits may come with a sign
_Micros = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]

# -- either dialect: keys that are missing here are no error ---------------------------------------


class Top(msgspec.Struct):
    server: dict[str, Any] | None = None
    client: dict[str, Any] | None = None
    version: Any = None


class Server(msgspec.Struct):
    event_counters: dict[str, _Count] = {}


class Client(msgspec.Struct):
    event_callbacks: dict[str, dict[str, Any]] = {}
    not_connected: list[dict[str, Any]] = []
    event_channels: dict[str, dict[str, Any]] = {}


class Entry(msgspec.Struct):
    server_counter: _Count
    event_count: _Count
    missed_event_count: _Count
    channel_name: _Name = ""
    callback_count: _Count = 0
    discarded_event_count: _Count | None = None
    last_resubscribed: str | None = None


class Lacking(msgspec.Struct):
    device: _Name
    attribute: _Name | None = ""
    event_type: _Name = ""
    last_heartbeat: str | None = None
    tango_host: _Name | None = None


class Channel(msgspec.Struct):
    endpoint: _Name = ""


class Push(msgspec.Struct):
    push_event_micros: _Micros
    micros_since_last_event: _Micros | None = None


class Callback(msgspec.Struct):
    process_micros: _Micros
    sleep_micros: _Micros = 0
    wake_count: _Count = 0
    callback_count: _Count = 0
    micros_since_last_event: _Micros | None = None
    first_callback_latency_micros: _Micros | None = None
    attr_name: str | None = ""
    discarded: bool | None = None


# -- a whole reply of stock Tango, with these keys only --------------------------------------------


class StockEntry(Entry, forbid_unknown_fields=True):
    pass


class StockLacking(Lacking, forbid_unknown_fields=True):
    pass


class StockChannel(Channel, forbid_unknown_fields=True):
    pass


class StockPush(Push, forbid_unknown_fields=True):
    pass


class StockCallback(Callback, forbid_unknown_fields=True):
    pass


class StockServer(Server, forbid_unknown_fields=True):
    perf: list[StockPush] | None = None


class StockClient(msgspec.Struct, forbid_unknown_fields=True):
    event_callbacks: dict[str, StockEntry] = {}
    not_connected: list[StockLacking] = []
    event_channels: dict[str, StockChannel] = {}
    perf: list[StockCallback] | None = None


class Stock(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    server: StockServer | None = None
    client: StockClient | None = None
