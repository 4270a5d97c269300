"""What the database says of itself."""

from datetime import datetime, timezone

import pytest

from socs.cli import database_checks

NOW = 1_800_000_000.0
GOOD = {"zone": "+00:00", "server_zone": "SYSTEM", "mode": "A,STRICT_ALL_TABLES", "flush_log": 1}


@pytest.mark.parametrize(
    ("seconds", "level"), [(0.0, "OK"), (4.9, "OK"), (5.1, "WARN"), (-5.1, "WARN"), (3600, "WARN")]
)
def test_clocks_apart(seconds, level):
    server = datetime.fromtimestamp(NOW + seconds, timezone.utc).replace(tzinfo=None)
    assert database_checks.check_clock(server, NOW).level == level


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"zone": "SYSTEM"}, "time zone SYSTEM"),
        ({"mode": "NO_ENGINE_SUBSTITUTION"}, "not strict"),
        ({"mode": "NOT_STRICT_ALL_TABLES"}, "not strict"),
        ({"flush_log": 2}, "innodb_flush_log_at_trx_commit is 2"),
    ],
)
def test_each_setting_that_is_not_right_is_warned_of(change, words):
    found = [f for f in database_checks.check_server_settings(GOOD | change) if f.level != "OK"]
    assert [finding.level for finding in found] == ["WARN"]
    assert words in found[0].text


def test_right_settings_are_ok():
    assert {f.level for f in database_checks.check_server_settings(GOOD)} == {"OK"}
