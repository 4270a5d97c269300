"""Which machine files are on, and who logs in there, as the options say."""

from __future__ import annotations

import argparse

import pytest

from socs.archive.other_machine import add_ssh_options, host_and_user
from socs.errors import ConfigError


def parsed(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_ssh_options(parser)
    return parser.parse_args(options)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], (None, None)),
        (["--host", "smurf-srv"], ("smurf-srv", None)),
        (["--host", "smurf-srv", "--user", "cryo"], ("smurf-srv", "cryo")),
        (["--host", "cryo@smurf-srv"], ("smurf-srv", "cryo")),
        (["--host", "cryo@smurf-srv", "--user", "cryo"], ("smurf-srv", "cryo")),
        (["--host", "cryo@site@smurf-srv"], ("smurf-srv", "cryo@site")),
    ],
)
def test_host_and_user(options: list[str], found: tuple[str | None, str | None]) -> None:
    assert host_and_user(parsed(*options)) == found


def test_two_users_are_refused() -> None:
    with pytest.raises(ConfigError, match="--host cryo@smurf-srv and --user ocs name two users"):
        host_and_user(parsed("--host", "cryo@smurf-srv", "--user", "ocs"))
