"""The log is told no more than so many lines a poll."""

from socs.tango.events import event
from socs.tango.poll_log import PollLog


def events(kind, count):
    return [event(kind, "once", 1.0, server=f"dserver/pub/{n}") for n in range(count)]


def test_what_is_beyond_the_limit_is_counted() -> None:
    lines: list[str] = []
    log = PollLog(lines.append, most=3)
    for told in events("restarted", 5):
        log.take([told, *events("new_publisher", 3)])
    assert len(lines) == 3
    assert "dserver/pub/2" in lines[2]
    log.poll_over()
    assert lines[3:] == ["and 2 more in this poll: the tables of the session data tell of all"]
    log.take(events("restarted", 3))
    log.poll_over()
    assert len(lines) == 7
