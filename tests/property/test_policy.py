"""Policies: the newest are exactly those that sorting finds, and any text reads or is refused."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from socs.archive.policy import ArchivedFile, Ranking
from socs.archive.policy_yaml import DEFAULT, read_policy
from socs.errors import ConfigError

NOW = 1_700_000_000.0
BEGIN = datetime(2023, 1, 1)
few = st.integers(0, 4)


def archived(number: int, moment: int, crate: int, action: int) -> ArchivedFile:
    return ArchivedFile(
        id=number,
        source=f"/data/{number}.npy",
        path=f"/archive/{number}",
        md5sum=bytes(16),
        archived_at=0.0,
        timestamp=BEGIN + timedelta(seconds=moment),
        pub_id=f"crate{crate}",
        action=f"a{action % 2}",
        action_timestamp=action or None,
    )


@st.composite
def files(draw) -> list[ArchivedFile]:
    numbers = draw(st.lists(st.tuples(few, few, few), max_size=40))
    made = [archived(number, *known) for number, known in enumerate(numbers)]
    return draw(st.permutations(made))


@given(files(), st.integers(1, 5))
def test_newest_of_each_publisher_are_those_that_sorting_finds(found, newest) -> None:
    policy = read_policy(f"delete_after: 0s\nrules: [{{keep: {{newest: {newest}}}}}]", "a test")
    ranking = Ranking(policy)
    for file in found:
        ranking.add(file)
    kept = {file.id for file in found if not policy.decide(file, ranking, NOW).delete}
    expected = set()
    for crate in {file.pub_id for file in found}:
        mine = [file for file in found if file.pub_id == crate]
        mine.sort(key=lambda file: (file.timestamp, file.id), reverse=True)
        expected |= {file.id for file in mine[:newest]}
    assert kept == expected


@given(files(), st.integers(1, 3))
def test_an_action_is_kept_with_all_its_files_or_with_none(found, newest) -> None:
    found = [file for file in found if file.action_timestamp is not None]
    rule = f"delete_after: 0s\nrules: [{{keep: {{newest: {newest}, by: action}}}}]"
    policy = read_policy(rule, "a test")
    ranking = Ranking(policy)
    for file in found:
        ranking.add(file)
    for crate in {file.pub_id for file in found}:
        runs: dict[tuple, set[bool]] = {}
        for file in found:
            if file.pub_id == crate:
                deleted = policy.decide(file, ranking, NOW).delete
                runs.setdefault((file.action_timestamp, file.action), set()).add(deleted)
        assert all(len(verdicts) == 1 for verdicts in runs.values())
        kept = {run for run, verdicts in runs.items() if verdicts == {False}}
        assert kept == set(sorted(runs, reverse=True)[:newest])


pieces = st.sampled_from([*DEFAULT.split(), "delete_after:", "rules:", "- ", "\n", " ", "7d", "{"])


@given(st.one_of(st.text(), st.lists(pieces).map(" ".join), st.lists(pieces).map("\n".join)))
def test_any_text_is_a_policy_or_is_refused(text: str) -> None:
    try:
        policy = read_policy(text, "a test")
    except ConfigError as error:
        assert str(error).startswith("a test")  # noqa: PT017
    else:
        assert policy.shortest >= 0
