"""Which files may go: rules, ages, the newest, and what is said of a policy that is wrong."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from socs.archive.policy import NEVER, ArchivedFile, Policy, Ranking, Verdict
from socs.archive.policy_yaml import DEFAULT, default_policy, read_policy
from socs.errors import ConfigError

DAY = 86400.0
NOW = 1_700_000_000.0
EXAMPLE = Path(__file__).parents[3] / "docs" / "howto" / "prune-policy.yaml"


def file(
    number: int = 1, *, age: float = 100 * DAY, name: str = "1_x.npy", **known
) -> ArchivedFile:
    """An archived file whose copy is ``age`` old [s]."""
    return ArchivedFile(
        id=number,
        source=f"/data/outputs/{name}",
        path=f"/archive/{number}",
        md5sum=bytes(16),
        archived_at=NOW - age,
        **known,
    )


def ranking(policy: Policy, files) -> Ranking:
    made = Ranking(policy)
    for one in files:
        made.add(one)
    return made


def verdict(text: str, one: ArchivedFile, others=()) -> Verdict:
    policy = read_policy(text, "a test")
    return policy.decide(one, ranking(policy, [one, *others]), NOW)


def left(text: str, files) -> list[int]:
    """Ids of those of ``files`` that the policy keeps."""
    policy = read_policy(text, "a test")
    ranks = ranking(policy, files)
    return [one.id for one in files if not policy.decide(one, ranks, NOW).delete]


# -- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "unit", "deleted"),
    [
        (7, "7s", True),
        (6.9, "7s", False),
        (60, "1m", True),
        (59, "1m", False),
        (3600, "1h", True),
        (3599, "1h", False),
        (DAY, "1d", True),
        (DAY - 1, "1d", False),
        (14 * DAY, "2w", True),
        (14 * DAY - 1, "2w", False),
        (1.5 * 3600, "1.5h", True),
        (1.5 * 3600 - 1, "1.5 h", False),
        (0, "0s", True),
        (-5, "0s", False),
        (1e12, "never", False),
    ],
)
def test_age_of_the_copy_decides(age: float, unit: str, deleted: bool) -> None:
    assert verdict(f"delete_after: {unit}", file(age=age)).delete is deleted


def test_first_rule_that_matches_decides() -> None:
    rules = """
delete_after: 0s
rules:
  - {keep: always, action: tune}
  - {delete_after: 10d, action: "t*"}
  - {keep: always, plot: true}
"""
    assert not verdict(rules, file(action="tune")).delete
    assert verdict(rules, file(action="take", plot=True)).delete
    assert not verdict(rules, file(action="take", age=9 * DAY)).delete
    assert not verdict(rules, file(action="other", plot=True)).delete
    assert verdict(rules, file(action="other")).delete
    assert verdict(rules, file()).delete


@pytest.mark.parametrize("criterion", ["action", "pub_id", "instance_id", "format"])
@pytest.mark.parametrize(
    ("patterns", "value", "matches"),
    [
        ("tune", "tune", True),
        ("tune", "fortune", False),
        ("tune", "Tune", False),
        ("*_iv", "take_iv", True),
        ("*_iv", "take_ive", False),
        ("*_iv", "active", False),
        ("[ab]?", "ax", True),
        ("[!ab]?", "ax", False),
        ("a*", "a\nb", True),
        ("[x, y]", "y", True),
        ("[x, y]", "z", False),
        ("'*'", None, False),
    ],
)
def test_patterns_match_whole_values(criterion, patterns, value, matches) -> None:
    rules = f"delete_after: 0s\nrules: [{{keep: always, {criterion}: {quoted(patterns)}}}]"
    assert verdict(rules, file(**{criterion: value})).delete is not matches


def quoted(patterns: str) -> str:
    return patterns if patterns.startswith("[x") else f'"{patterns.strip(chr(39))}"'


def test_name_is_that_of_the_source() -> None:
    rules = 'delete_after: 0s\nrules: [{keep: always, name: "*_tune.npy"}]'
    assert not verdict(rules, file(name="1700000000_tune.npy")).delete
    assert verdict(rules, file(name="1_tune.npy.1")).delete
    assert verdict(rules.replace("*_tune.npy", "*outputs*"), file()).delete


def test_all_criteria_of_a_rule_must_match() -> None:
    rules = "delete_after: 0s\nrules: [{keep: always, action: a, pub_id: p, plot: false}]"
    assert not verdict(rules, file(action="a", pub_id="p", plot=False)).delete
    assert not verdict(rules, file(action="a", pub_id="p", plot=None)).delete
    assert verdict(rules, file(action="a", pub_id="p", plot=True)).delete
    assert verdict(rules, file(action="a", pub_id="q")).delete
    assert verdict(rules, file(action="b", pub_id="p")).delete


def test_verdict_names_the_rule_that_decided() -> None:
    rules = """
delete_after: 7d
rules:
  - {keep: always, action: tune}
  - {keep: {newest: 2}, action: bgmap}
  - {delete_after: 1d, plot: true}
"""
    assert verdict(rules, file(action="tune")).why == "rule 1 keeps it"
    assert verdict(rules, file(action="bgmap")).why == "rule 2 keeps the newest 2 files"
    plot = file(plot=True, age=36 * 3600)
    assert verdict(rules, plot) == Verdict(True, "rule 3: copied 1.5d ago, deleted after 1d")
    young = Verdict(False, "no rule matches: copied 5d ago, deleted after 7d")
    assert verdict(rules, file(age=5 * DAY)) == young


# -- the newest -----------------------------------------------------------------------------------


def written(number: int, day: float, **known) -> ArchivedFile:
    return file(number, timestamp=datetime(2023, 1, 1) + timedelta(days=day), **known)


def test_newest_files_of_each_publisher_are_kept() -> None:
    rules = "delete_after: 1d\nrules: [{keep: {newest: 3}, action: bgmap}]"
    maps = [
        written(10 * day + crate, day, action="bgmap", pub_id=f"crate{crate}")
        for day in (3, 0, 4, 2, 1)
        for crate in (1, 2)
    ]
    others = [written(100, 9, action="iv", pub_id="crate1")]
    assert left(rules, [*maps, *others]) == [31, 32, 41, 42, 21, 22]


def test_newest_are_those_written_last_whatever_their_copies_age() -> None:
    rules = "delete_after: 1d\nrules: [{keep: {newest: 1}, action: a}]"
    young_copy = written(1, 0, action="a", age=2 * DAY)
    old_copy = written(2, 1, action="a", age=50 * DAY)
    assert left(rules, [young_copy, old_copy]) == [2]


def test_among_files_of_one_time_the_last_registered_is_the_newest() -> None:
    rules = "delete_after: 1d\nrules: [{keep: {newest: 2}, action: a}]"
    assert left(rules, [written(n, 5, action="a") for n in (4, 1, 3, 2)]) == [4, 3]
    assert left(rules, [file(n, action="a") for n in (1, 2, 3)]) == [2, 3]  # no times at all


def test_earlier_rules_take_files_out_of_the_count() -> None:
    rules = """
delete_after: 1d
rules:
  - {keep: always, name: "*tune*"}
  - {keep: {newest: 1}, action: a}
"""
    newest = written(1, 9, action="a", name="1_tune.npy")
    assert left(rules, [newest, written(2, 5, action="a"), written(3, 4, action="a")]) == [1, 2]


def test_files_of_one_action_count_as_one() -> None:
    rules = "delete_after: 1d\nrules: [{keep: {newest: 2, by: action}, action: [bgmap, iv]}]"
    files = [
        written(100 * start + n, start + n / 100, action=action, action_timestamp=start)
        for start, action in ((1, "bgmap"), (2, "iv"), (3, "bgmap"))
        for n in range(3)
    ]
    assert left(rules, files) == [200, 201, 202, 300, 301, 302]
    assert left(rules, list(reversed(files))) == [302, 301, 300, 202, 201, 200]
    alone = [written(n, n, action="iv") for n in (1, 2, 3)]  # without a start: each for itself
    assert left(rules, alone) == [2, 3]


def test_rest_of_a_rule_with_newest_has_its_own_age_or_the_usual() -> None:
    rules = "delete_after: 50d\nrules: [{keep: {newest: 1}, action: a%s}]"
    files = [written(1, 1, action="a", age=10 * DAY), written(2, 2, action="a", age=10 * DAY)]
    assert left(rules % "", files) == [1, 2]
    assert left(rules % ", delete_after: 5d", files) == [2]


def test_what_the_ranking_has_not_seen_is_kept_in_doubt() -> None:
    policy = read_policy("delete_after: 0s\nrules: [{keep: {newest: 1}, action: a}]", "a test")
    assert not policy.decide(file(action="a"), Ranking(policy), NOW).delete


def test_ranking_holds_no_more_than_what_is_kept() -> None:
    policy = read_policy("delete_after: 0s\nrules: [{keep: {newest: 2}, action: a}]", "a test")
    ranks = ranking(policy, (written(n, n, action="a") for n in range(1000)))
    assert [len(best) for best in ranks._newest.values()] == [2]


@pytest.mark.parametrize(
    ("text", "shortest", "ranks"),
    [
        ("delete_after: 7d", 7 * DAY, False),
        ("delete_after: never", NEVER, False),
        ("delete_after: never\nrules: [{delete_after: 3d, plot: true}]", 3 * DAY, False),
        ("delete_after: 2d\nrules: [{delete_after: 3d, plot: true}]", 2 * DAY, False),
        ("delete_after: 7d\nrules: [{keep: {newest: 1}, action: a}]", 7 * DAY, True),
        (
            "delete_after: 7d\nrules: [{keep: {newest: 1}, delete_after: 1d, action: a}]",
            DAY,
            True,
        ),
    ],
)
def test_shortest_age_and_need_for_a_ranking(text: str, shortest: float, ranks: bool) -> None:
    policy = read_policy(text, "a test")
    assert policy.shortest == shortest
    assert policy.ranks is ranks


# -- the policies that we ship --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "name", "kept"),
    [
        ("take_iv", "1700000000_iv_rfracs.png", True),
        ("run_iv", "1700000000_iv_raw_data.npy", True),
        (None, "1700000000_iv.npy", True),
        (None, "1700000000_tune.npy", True),
        ("tune_band_serial", "1700000000_b0_resonances.npy", True),
        ("uxm_setup", "1700000000_x.npy", True),
        ("setup_notches", "1700000000_channel_assignment_b3.txt", True),
        ("take_noise", "1700000000_noise.npy", False),
        ("take_stream_data", "1700000000.dat", False),
        ("activate", "1700000000_active.npy", False),
        (None, "fortunes.txt", False),
    ],
)
def test_default_policy_keeps_tunes_ivs_and_channel_assignments(action, name, kept) -> None:
    assert verdict(DEFAULT, file(action=action, name=name)).delete is not kept


def test_default_policy_keeps_the_last_of_some_and_gives_a_month() -> None:
    for action in ("take_bgmap", "take_bias_steps"):
        runs = [
            written(10 * start + n, start, action=action, action_timestamp=start)
            for start in (1, 2)
            for n in (0, 1)
        ]
        assert left(DEFAULT, runs) == [20, 21]
    assert default_policy().shortest == 30 * DAY


def test_default_policy_does_not_look_at_directories() -> None:
    one = replace(file(action="take_noise"), source="/data/smurf_archive/iv/tune/x.npy")
    assert verdict(DEFAULT, one).delete


def test_example_in_the_documentation_is_a_policy() -> None:
    policy = read_policy(EXAMPLE.read_text(), "the example")
    assert policy.after == 7 * DAY
    assert policy.ranks
    assert len(policy.rules) > 2


# -- what is said of one that is wrong ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "about"),
    [
        ("", None, "empty"),
        ("# nothing", None, "empty"),
        ("[]", 1, "mapping"),
        ("rules: []", 1, "`delete_after`"),
        ("delete_after: 7", 1, "delete_after"),
        ("delete_after: 7 years", 1, "'7 years'"),
        ("delete_after: -1d", 1, "'-1d'"),
        ("delete_after: nand", 1, "'nand'"),
        ("delete_after: 7d\n\nrulez: []", 3, "`rulez`; there are delete_after, rules"),
        ("delete_after: 7d\ndelete_after: 8d", 2, "twice"),
        (
            "delete_after: 7d\nrules:\n - keep: always\n   acton: x",
            4,
            "rule 1: unknown key `acton`; there are keep, delete_after, action, name, pub_id,",
        ),
        ("delete_after: 7d\nrules:\n - {keep: always, action: a}\n - plto: true", 4, "rule 2"),
        ("delete_after: 7d\nrules:\n - action: x", 3, "neither keep nor delete_after"),
        ("delete_after: 7d\nrules:\n - keep: alway\n   action: x", 3, "'alway'"),
        ("delete_after: 7d\nrules:\n - keep: {newest: 0}\n   action: x", 3, "keep.newest"),
        (
            "delete_after: 7d\nrules:\n - keep: {newest: 1, of: 2}\n   action: x",
            3,
            "`of`; there are newest, by",
        ),
        ("delete_after: 7d\nrules:\n - keep: {newest: 1, by: day}\n   action: x", 3, "keep.by"),
        ("delete_after: 7d\nrules:\n - keep: always\n   action: []", 4, "action"),
        ("delete_after: 7d\nrules:\n - keep: always\n   action: [a, 1]", 4, "action[1]"),
        ("delete_after: 7d\nrules:\n - keep: always\n   plot: maybe", 4, "plot"),
        ("delete_after: 7d\nrules:\n - keep: always\n   delete_after: 1d\n   action: x", 3, "both"),
        ("delete_after: 7d\nrules:\n - delete_after: 1x\n   action: x", 3, "'1x'"),
        ("delete_after: 7d\nrules:\n - delete_after: 1d\n - keep: always", 4, "rule 2 never"),
        ("delete_after: 7d\nrules: [null]", 2, "rule 1"),
        ("delete_after: 7d\non: true", 2, "'on' is no key"),
        ("delete_after: [", 1, "no YAML"),
        ("delete_after: 1d\n---\na: b", 1, "no YAML"),
        ("a: !!python/name:os.system", 1, "no YAML"),
        ("delete_after: 2001-99-99", None, "no YAML"),
        ("\0", None, "no YAML"),
        ("[" * 5000, None, "no YAML"),
    ],
)
def test_message_names_place_and_key(text: str, line: int | None, about: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_policy(text, "/etc/prune.yaml")
    message = str(caught.value)
    assert message.startswith("/etc/prune.yaml")
    assert about in message
    assert line is None or f"line {line}" in message
    assert "\n" not in message
