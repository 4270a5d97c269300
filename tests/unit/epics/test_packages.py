"""The docstring of each package of EPICS lists what is in it, so that a reader finds his way."""

import importlib
import pkgutil
import re

import pytest

import socs.epics

PACKAGES = ["socs.epics"] + [
    each.name for each in pkgutil.iter_modules(socs.epics.__path__, "socs.epics.") if each.ispkg
]


@pytest.mark.parametrize("name", PACKAGES)
def test_docstring_lists_what_is_there(name: str) -> None:
    package = importlib.import_module(name)
    listed = re.findall(r"^:mod:`\.(\w+)`", package.__doc__ or "", re.MULTILINE)
    there = [each.name for each in pkgutil.iter_modules(package.__path__)]
    assert sorted(listed) == sorted(there)
