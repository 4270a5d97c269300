"""Whatever happens between publishers and subscribers, what is told of as lost was lost."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from socs.tango.track import EventTracker
from tests.tango_truth import WIDE, World

PUBLISHERS, SUBSCRIBERS = ("pub0", "pub1"), ("sub0", "sub1")


class Monitored:
    """Publishers, subscribers and the tracker that watches them; things happen by name."""

    def __init__(self, seed: int, start: int = 0, *, identify: bool = True) -> None:
        self.random = random.Random(seed)
        self.world = World()
        self.world.identify = identify
        self.tracker = EventTracker()
        self.told: Counter[tuple[str, str]] = Counter()
        for sub in SUBSCRIBERS:
            for path in self.world.paths:
                if self.random.random() < 0.7:
                    self.world.subscribe(sub, path, start)
                    if start:
                        entry = self.world.subscribers[sub].entries[path]
                        entry.number, entry.life = start, 1
                        entry.received = self.random.randrange(1, 30)
        self.quiet_poll()
        self.quiet_poll()

    # -- what happens; the numbers are taken modulo what there is ---------------------------------

    def push(self, index: int, count: int) -> None:
        self.world.push(self.world.paths[index % 4], count)

    def deliver(self, index: int, count: int) -> None:
        self.world.deliver(SUBSCRIBERS[index % 2], PUBLISHERS[index // 2 % 2], count)

    def drop(self, index: int, count: int) -> None:
        first = index // 4
        self.world.drop(SUBSCRIBERS[index % 2], PUBLISHERS[index // 2 % 2], first, count)

    def copy(self, index: int, count: int) -> None:
        self.world.copy(SUBSCRIBERS[index % 2], self.world.paths[count % 4])

    def tear(self, index: int, count: int) -> None:
        """The next reply of an entry is made while its last event is being taken in."""
        entry = self.world.subscribers[SUBSCRIBERS[index % 2]].entries.get(
            self.world.paths[count % 4]
        )
        if entry is not None:
            entry.torn = True

    def poll(self, index: int, count: int) -> None:
        """Ask all in any order, some of them twice or in vain, while it goes on."""
        order = [*PUBLISHERS, *SUBSCRIBERS]
        self.random.shuffle(order)
        order += self.random.choices(SUBSCRIBERS, k=index % 3)
        hung = self.random.choice(order) if count > 9 else ""
        self.world.keep_moving()
        for server in order:
            self.feed(server, hung=server == hung)
            if self.random.random() < 0.5:
                self.push(self.random.randrange(4), self.random.randrange(1, 12))
            if self.random.random() < 0.5:
                self.deliver(self.random.randrange(4), 2)
        self.end_poll()

    def stop(self, index: int, count: int) -> None:
        self.world.stop(PUBLISHERS[index % 2])

    def start(self, index: int, count: int) -> None:
        self.world.start(PUBLISHERS[index % 2])

    def reconnect(self, index: int, count: int) -> None:
        self.world.reconnect(SUBSCRIBERS[index % 2], PUBLISHERS[index // 2 % 2])

    def unsubscribe(self, index: int, count: int) -> None:
        self.world.unsubscribe(SUBSCRIBERS[index % 2], self.world.paths[count % 4])

    def subscribe(self, index: int, count: int) -> None:
        sub, path = SUBSCRIBERS[index % 2], self.world.paths[count % 4]
        running = self.world.publishers[path.split("/")[0]].runs
        if running and path not in self.world.subscribers[sub].entries:
            self.world.subscribe(sub, path)

    def restart_subscriber(self, index: int, count: int) -> None:
        self.world.restart_subscriber(SUBSCRIBERS[index % 2])

    # -- being watched ----------------------------------------------------------------------------

    def quiet_poll(self) -> None:
        self.world.keep_moving()
        for server in (*PUBLISHERS, *SUBSCRIBERS):
            self.feed(server)
        self.end_poll()

    def feed(self, server: str, *, hung: bool = False) -> None:
        self.take(self.tracker.feed(self.world.sample(server, hung=hung)))

    def end_poll(self) -> None:
        self.take(self.tracker.reconcile(self.world.now))
        self.world.polled()
        self.world.now += 10
        self.check()

    def take(self, events) -> None:
        for event in events:
            subject = event.subscriber.split("/")[1:2], event.stream.split("/", 3)[-1]
            if event.kind == "lost":
                self.told[subject[0][0], subject[1]] += event.count
            assert event.kind != "arrived_late", event

    def rows(self) -> dict[tuple[str, str], dict]:
        rows = self.tracker.reconciliation(1000)
        return {(r["subscriber"].split("/")[1], r["stream"].split("/", 3)[-1]): r for r in rows}

    def check(self) -> None:
        for subject, row in self.rows().items():
            assert row["lost"] == self.told[subject]
            assert 0 <= row["lost"] <= self.world.lost[subject], subject
            assert row["rate"] >= 0
        totals = self.tracker.totals()
        assert totals["events_expected"] == totals["events_received"] + totals["events_lost"]
        assert sum(self.told.values()) == totals["events_lost"]

    def settle(self) -> None:
        for sub, pub in self.world.queues:
            self.world.deliver(sub, pub, 10_000)
        for _ in range(3):
            self.quiet_poll()

    def run(self, happenings) -> None:
        for name, index, count in happenings:
            getattr(self, name)(index, count)
        self.settle()


STEADY = ("push", "push", "deliver", "deliver", "drop", "copy", "tear", "poll", "poll")
CHANGING = (*STEADY, "stop", "start", "start", "reconnect", "reconnect")
CHANGING = tuple(name for name in CHANGING if name != "tear")  # a restart may look the same
CHANGING += ("subscribe", "unsubscribe", "restart_subscriber")
SEEDS = st.integers(0, 1000)


def happenings(names: tuple[str, ...]):
    each = st.tuples(st.sampled_from(names), st.integers(0, 31), st.integers(1, 12))
    return st.lists(each, max_size=40)


def exact(monitored: Monitored) -> None:
    """Every figure is the true one."""
    assert +monitored.told == +monitored.world.lost
    for subject, row in monitored.rows().items():
        assert row["published"] == monitored.world.pushed[subject[1]]
        assert row["received"] == row["published"] - row["lost"]
        assert row["behind"] == 0
        assert row["status"] == "level" or (row["status"] == "stalled" and row["lost_at_end"])


@settings(max_examples=200, derandomize=True)
@given(SEEDS, st.sampled_from([0, 5, WIDE - 20]), happenings(STEADY))
def test_losses_are_exact_while_nobody_starts_or_subscribes(seed, start, steps) -> None:
    monitored = Monitored(seed, start)
    monitored.run(steps)
    exact(monitored)


@settings(max_examples=200, derandomize=True)
@given(SEEDS, st.booleans(), happenings(CHANGING))
def test_nothing_is_told_that_was_not_lost_whoever_starts_or_subscribes(
    seed, identify, steps
) -> None:
    Monitored(seed, identify=identify).run(steps)
