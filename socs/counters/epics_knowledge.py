"""Counters of what a monitor makes of the summaries of its gateways."""

from socs.counters.core import Conservation, Counter

_AGAIN = "the gateway is asked for all names anew; if it goes on, see summaries_missed"

EPICS_KNOWLEDGE = (
    Counter("summaries_joined", "messages", "of gateways, each the next one or a later one"),
    Counter(
        "summaries_missed",
        "messages",
        "that did not come before a later one did",
        "see if the router was away, and summaries_dropped_full; nothing is taken for lost by it",
    ),
    Counter("summaries_repeated", "messages", "that came before, or too late; not taken"),
    Counter(
        "summaries_of_old_boot",
        "messages",
        "of an earlier run of a gateway; not taken",
        "if it goes on, two gateways have the same name: give one another instance-id",
    ),
    Counter(
        "summaries_strange",
        "messages",
        "of gateways that are not configured; not taken",
        "add the gateway to --gateway, or find out who publishes",
    ),
    Counter("requests_told", "requests", "in summaries that were taken"),
    Counter(
        "requests_missed",
        "requests",
        "in summaries that did not come, by the gateway's totals",
        "see summaries_missed",
    ),
    Counter("datagrams_missed", "datagrams", "with those requests", "see summaries_missed"),
    Counter(
        "names_beyond",
        "names",
        "of an epoch that got no place in the table of its numbers",
        "let the gateway begin an epoch earlier: lower its --max-names",
    ),
    Counter(
        "clocks_set",
        "times",
        "that a gateway's clock went back",
        "let the gateway's host keep its time by NTP or PTP",
    ),
    Counter("answers_told", "answers", "to searches of others, in summaries"),
    Counter("answers_weighed", "answers", "of these, that can tell who serves what"),
    Counter("answers_unknown", "answers", "for names that we were not told", _AGAIN),
    Counter("answers_late", "answers", "older than others for the same name; not taken"),
    Counter("beacons_told", "beacons", "in summaries"),
    Counter("beacons_twice", "beacons", "that another gateway told; not taken again"),
    Counter("beats_told", "heartbeats", "in summaries"),
    Counter("beats_twice", "heartbeats", "that another gateway told; not taken again"),
    Counter(
        "beats_refused",
        "heartbeats",
        "that cannot be decoded here",
        "gateway and monitor are of different releases: update one",
    ),
    Counter("names_told", "names", "that applications told when they were asked"),
    Counter("resyncs_wished", "times", "that a gateway was asked for all names anew"),
    Counter("asks_wished", "conversations", "with applications that gateways were asked for"),
    Counter(
        "asks_refused",
        "conversations",
        "of these, that gateways did not begin",
        "see if asking is switched on there (--ask)",
    ),
    Counter("told_complete", "conversations", "in which an application told all"),
    Counter(
        "told_partial",
        "conversations",
        "in which an application told something, but not all; it is asked again",
        "see how they ended: the asking_ counters of the gateway",
    ),
    Counter("told_nothing", "conversations", "without an answer; it is asked again"),
    Counter(
        "told_torn",
        "conversations",
        "that were told in parts, of which one did not come; it is asked again",
        "see summaries_missed, and findings_not_told of the gateway",
    ),
)

EPICS_SEARCHES = (
    Counter("searches_wished", "names", "that gateways were asked to search for"),
    Counter(
        "searches_conclusive",
        "names",
        "of these, that were found, or by no gateway, of which one hears the server",
    ),
    Counter(
        "searches_inconclusive",
        "names",
        "of these, of which some gateway told nothing; they say nothing",
        "see if gateways search at all, and if they are up",
    ),
    Counter("searches_again", "names", "of these, that were not found the first time"),
    Counter(
        "searches_no_gateway",
        "names",
        "not searched for, as no gateway can",
        "see if gateways are up, and if searching is switched on there",
    ),
    Counter(
        "searches_no_room",
        "names",
        "not searched for, as too many are already",
        "ask for fewer, or raise --search-rate of the gateways",
    ),
    Counter("found_told", "outcomes", "of searches by one protocol, in summaries"),
    Counter("found_unasked", "outcomes", "of these, of searches that we did not wish for, or late"),
)

EPICS_SEARCHES_NOW = (Counter("searches_now", "names", "that are searched for"),)

EPICS_KNOWLEDGE_CONSERVATION = (
    Conservation(
        ("requests_told",),
        ("requests_valid", "requests_invalid", "requests_not_kept", "requests_unknown"),
    ),
    Conservation(("answers_told",), ("answers_weighed", "answers_unknown", "answers_late")),
    Conservation(
        ("beacons_told",),
        ("beacons_taken", "beacons_elsewhere", "beacons_no_room", "beacons_twice"),
    ),
    Conservation(
        ("beats_told",),
        (
            "heartbeats_taken",
            "heartbeats_elsewhere",
            "heartbeats_no_room",
            "beats_twice",
            "beats_refused",
        ),
    ),
    Conservation(
        ("searches_wished",), ("searches_conclusive", "searches_inconclusive", "searches_now")
    ),
)
