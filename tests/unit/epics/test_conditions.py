"""What is wrong for a while is told once, and never too much of it."""

from socs.epics.track.conditions import Conditions


def test_told_when_it_begins_and_when_it_begins_again():
    conditions = Conditions(60.0)
    told = [conditions.begins("KIND", "host", now) for now in (0, 1, 50, 110, 171)]
    assert told == [True, False, False, False, True]
    assert conditions.begins("OTHER", "host", 171)


def test_what_is_over_makes_room():
    conditions = Conditions(60.0, most=1)
    assert conditions.begins("KIND", "host", 171)
    conditions.tick(231)
    assert not conditions.begins("KIND", "other", 231)
    conditions.tick(232)
    assert conditions.begins("KIND", "other", 232)


def test_no_more_than_are_kept():
    conditions = Conditions(60.0, most=10)
    told = [conditions.begins("KIND", host, now=0.0) for host in range(1000)]
    assert sum(told) == 10
    assert not conditions.begins("KIND", 999, 1.0)
    conditions.tick(100.0)
    assert conditions.begins("KIND", 999, 100.0)
