"""Which interfaces hear a network; cables are pulled in ``tests/faults/test_epics_blind.py``."""

from __future__ import annotations

import socket

import pytest

from socs.wire.carrier import has_carrier


def test_interfaces_that_are_named() -> None:
    assert has_carrier(["lo"])
    assert has_carrier(["lo", "gone0"])
    assert not has_carrier(["gone0"])


def test_interfaces_by_their_addresses() -> None:
    assert has_carrier((), lambda host: host >> 24 == 127)
    assert has_carrier((), lambda host: False)


def test_if_nothing_tells_which_matter_all_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(2, "gone0")])
    assert has_carrier()
    assert not has_carrier(["gone0"])


def test_an_interface_that_is_down_does_not_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "gone0")])
    monkeypatch.setattr("socs.wire.carrier._is_of", lambda probe, name, belongs: name == "gone0")
    assert not has_carrier((), lambda host: True)
