"""Transactions: again if the database soon refuses, not again and again while it hangs."""

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace

import pytest

from socs.db import transactions
from socs.db.transactions import ATTEMPTS, LONGEST, in_transaction
from socs.errors import StorageUnavailable


class Refusing:
    """A database that refuses, each time after so long [s]."""

    def __init__(self, clock: list[float], takes: float, times: int) -> None:
        self._clock, self._takes, self._times = clock, takes, times
        self.attempts = 0

    def begin(self) -> AbstractContextManager[None]:
        self.attempts += 1
        self._clock[0] += self._takes
        if self.attempts <= self._times:
            raise StorageUnavailable("not now")
        return nullcontext()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    time = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(transactions, "time", time)
    return now


def test_who_is_refused_tries_again(clock: list[float]) -> None:
    database = Refusing(clock, 0.1, ATTEMPTS - 1)
    assert in_transaction(database, lambda connection: "done") == "done"
    database = Refusing(clock, 0.1, ATTEMPTS)
    with pytest.raises(StorageUnavailable):
        in_transaction(database, lambda connection: "done")
    assert database.attempts == ATTEMPTS


def test_a_database_that_hangs_is_not_waited_for_again(clock: list[float]) -> None:
    database = Refusing(clock, 2 * LONGEST, ATTEMPTS)
    with pytest.raises(StorageUnavailable):
        in_transaction(database, lambda connection: "done")
    assert database.attempts == 1
