"""Counters of EPICS traffic: decoding and accounting."""

from __future__ import annotations

from socs.counters.core import Conservation, Counter

_NOT_CA = "find the sender in the log; it does not speak Channel Access"
_NOT_PVA = "find the sender in the log; it does not speak PV Access"

EPICS_CA = (
    Counter("ca_datagrams", "datagrams", "of Channel Access taken apart"),
    Counter("ca_messages", "messages", "found in them, known or not"),
    Counter("ca_requests", "messages", "search requests: somebody asks for a name"),
    Counter("ca_responses", "messages", "search responses: a server has the name"),
    Counter("ca_versions", "messages", "that go before searches and number the datagrams"),
    Counter("ca_beacons", "messages", "by which servers say that they are there"),
    Counter("ca_not_found", "messages", "by which a server says that it has no such name"),
    Counter("ca_repeater", "messages", "between clients and a repeater on their host"),
    Counter(
        "ca_registrations", "datagrams", "of no byte, by which clients register with a repeater"
    ),
    Counter("ca_errors", "messages", "by which a server says what went wrong"),
    Counter(
        "ca_unknown_command",
        "messages",
        "with a command that has no place in a datagram; passed over",
        _NOT_CA,
    ),
    Counter("ca_name_empty", "messages", "search requests without a name", _NOT_CA),
    Counter("ca_name_too_long", "messages", "search requests for names over 507 bytes", _NOT_CA),
    Counter(
        "ca_search_unclear", "messages", "searches that are neither request nor response", _NOT_CA
    ),
    Counter(
        "ca_header_cut",
        "datagrams",
        "that end within a header; what stands before is taken, here and below",
        _NOT_CA,
    ),
    Counter("ca_payload_cut", "datagrams", "that end within what the header announces", _NOT_CA),
    Counter("ca_misaligned", "datagrams", "with a payload that is no multiple of 8 bytes", _NOT_CA),
    Counter(
        "ca_extended_header", "datagrams", "with a header that only TCP connections have", _NOT_CA
    ),
)

EPICS_PVA = (
    Counter("pva_datagrams", "datagrams", "of PV Access taken apart"),
    Counter("pva_messages", "messages", "found in them, known or not"),
    Counter("pva_searches", "messages", "searches, each for some names"),
    Counter("pva_discoveries", "messages", "of these, without a name: who looks for all servers"),
    Counter("pva_requests", "names", "in searches: somebody asks for a name"),
    Counter("pva_responses", "messages", "search responses: a server has the names, or has not"),
    Counter("pva_beacons", "messages", "by which servers say that they are there"),
    Counter("pva_origins", "messages", "that go before searches passed on within a host"),
    Counter("pva_control", "messages", "that say nothing of names or servers"),
    Counter(
        "pva_unknown_command",
        "messages",
        "with a command that has no place in a datagram; passed over",
        _NOT_PVA,
    ),
    Counter("pva_message_cut", "messages", "shorter than their fields need; left out", _NOT_PVA),
    Counter(
        "pva_list_cut", "messages", "shorter than their list; its beginning is taken", _NOT_PVA
    ),
    Counter("pva_name_empty", "names", "in searches, of no byte", _NOT_PVA),
    Counter("pva_name_too_long", "names", "in searches, over 500 bytes", _NOT_PVA),
    Counter(
        "pva_header_cut",
        "datagrams",
        "that end within a header; what stands before is taken, here and below",
        _NOT_PVA,
    ),
    Counter("pva_not_pva", "datagrams", "with a message that does not begin as all do", _NOT_PVA),
    Counter("pva_payload_cut", "datagrams", "that end within what the header announces", _NOT_PVA),
    Counter("pva_segmented", "datagrams", "with a part of a message, as TCP has them", _NOT_PVA),
)

_DEFECT = "report it with the traceback in the log"
_NOT_BEAT = "find the sender in the log; it does not send heartbeats"

EPICS_HEARTBEATS = (
    Counter("heartbeat_decoded", "datagrams", "heartbeats of the JSON kind"),
    Counter("heartbeat_answers", "datagrams", "answers of applications that we asked"),
    Counter("heartbeat_not_json", "datagrams", "not JSON, or not UTF-8", _NOT_BEAT),
    Counter(
        "heartbeat_malformed",
        "datagrams",
        "JSON, but no heartbeat: a key is missing or of the wrong type",
        _NOT_BEAT,
    ),
    Counter("heartbeat_too_large", "datagrams", "beyond a limit of size", _NOT_BEAT),
    Counter("alive_decoded", "datagrams", "heartbeats of alive records"),
    Counter("alive_cut", "datagrams", "too short, or with a name without an end", _NOT_BEAT),
    Counter(
        "alive_other_magic",
        "datagrams",
        "with another magic number than the one of this site",
        "set --alive-magic to that of your records (HMAG), or allow any",
    ),
    Counter(
        "alive_other_version",
        "datagrams",
        "of another version of the protocol than 5",
        "update the module alive of that IOC",
    ),
    Counter("alive_too_large", "datagrams", "beyond a limit of size", _NOT_BEAT),
)

_ELSEWHERE = "add the network to --subnet, or find out who sends"

EPICS_ACCOUNTS = (
    Counter("requests_valid", "requests", "for valid names, accounted for by name and source"),
    Counter(
        "requests_invalid",
        "requests",
        "for names that no database of EPICS would take; accounted for like the others",
        "look up who asks: often a macro that was not replaced",
    ),
    Counter(
        "requests_not_kept",
        "requests",
        "for names for which there is no room; accounted for by source only",
        "look up who invents names; forget idle ones, or raise --max-names",
    ),
    Counter(
        "requests_unknown",
        "requests",
        "for names that the gateway told before this program listened, or while it did not; "
        "accounted for by source only",
        "it asks the gateway for all names anew; if that goes on, see summaries_missed",
    ),
    Counter("names_new", "names", "asked for that were not known before"),
)

EPICS_TRACKS = (
    Counter("answers_taken", "answers", "of servers within the subnets"),
    Counter("answers_elsewhere", "answers", "from or about other addresses; ignored", _ELSEWHERE),
    Counter("searches_judged", "searches", "that said something of the state of a name"),
    Counter("searches_unanswered", "searches", "of ours without an answer from the subnets"),
    Counter(
        "searches_blind",
        "searches",
        "of these, while nobody listened; they say nothing",
        "see why the gateway was away",
    ),
    Counter("beacons_taken", "beacons", "of servers that are tracked"),
    Counter("beacons_repeated", "beacons", "of these, the same again: first ones, or two routes"),
    Counter("beacons_late", "beacons", "of these, overtaken by a later one"),
    Counter(
        "beacons_missing",
        "beacons",
        "whose numbers were left out while somebody listened",
        "datagrams were lost on the way: see kernel_drops, then the network",
    ),
    Counter("beacons_elsewhere", "beacons", "from outside of the subnets; ignored", _ELSEWHERE),
    Counter(
        "beacons_no_room",
        "beacons",
        "of further servers than are tracked, while none of those is lost; ignored",
        "look for who invents servers; raise most_servers with --threshold",
    ),
    Counter(
        "servers_displaced",
        "servers",
        "that were lost for longest, and were forgotten to make room for others",
        "if there are many, look for who invents servers; raise most_servers with --threshold",
    ),
    Counter("heartbeats_taken", "heartbeats", "of applications that are tracked"),
    Counter("heartbeats_repeated", "heartbeats", "of these, the same again, or late"),
    Counter(
        "heartbeats_missing",
        "heartbeats",
        "whose numbers were left out while somebody listened",
        "datagrams were lost on the way: see kernel_drops, then the network",
    ),
    Counter(
        "heartbeats_older",
        "heartbeats",
        "of an earlier start of the same application, which still runs",
        "see the event DUPLICATE: two processes have one identity; stop one",
    ),
    Counter(
        "heartbeats_elsewhere", "heartbeats", "from outside of the subnets; ignored", _ELSEWHERE
    ),
    Counter(
        "heartbeats_no_room",
        "heartbeats",
        "of further applications than are tracked, while none of those is lost; ignored",
        "look for who invents applications; raise most_applications with --threshold",
    ),
    Counter(
        "applications_displaced",
        "applications",
        "that were lost for longest, and were forgotten to make room for others",
        "if there are many, look for who invents applications; raise most_applications with "
        "--threshold",
    ),
)

EPICS_CONSERVATION = (
    Conservation(
        ("ca_messages",),
        (
            "ca_requests",
            "ca_responses",
            "ca_versions",
            "ca_beacons",
            "ca_not_found",
            "ca_repeater",
            "ca_errors",
            "ca_unknown_command",
            "ca_name_empty",
            "ca_name_too_long",
            "ca_search_unclear",
        ),
    ),
    Conservation(
        ("pva_messages",),
        (
            "pva_searches",
            "pva_responses",
            "pva_beacons",
            "pva_origins",
            "pva_control",
            "pva_unknown_command",
            "pva_message_cut",
        ),
    ),
    Conservation(
        ("ca_requests", "pva_requests"),
        ("requests_valid", "requests_invalid", "requests_not_kept", "requests_unknown"),
    ),
    Conservation(
        ("ca_beacons", "pva_beacons"), ("beacons_taken", "beacons_elsewhere", "beacons_no_room")
    ),
    Conservation(
        ("heartbeat_decoded", "alive_decoded"),
        ("heartbeats_taken", "heartbeats_elsewhere", "heartbeats_no_room"),
    ),
)

EPICS_SEARCH = (
    Counter("search_asked", "names", "searched for by this program"),
    Counter("search_found", "names", "that at least one server answered"),
    Counter("search_not_found", "names", "that no server answered, after all attempts"),
    Counter("search_merged", "names", "asked for while they were searched for already"),
    Counter("search_requests", "names", "put into datagrams, those of further attempts too"),
    Counter("search_datagrams", "datagrams", "due to be sent, one to each destination"),
    Counter("search_answers", "names", "in answers to our searches, also from further servers"),
    Counter("search_denied", "names", "that a server of PV Access says it does not have"),
    Counter(
        "search_stray",
        "names",
        "in answers that came too late, or to nothing that was asked",
        "if there are many, raise --search-timeout, or find out who sends",
    ),
    Counter(
        "search_foreign",
        "names",
        "in answers from hosts outside the subnets of the site; not believed",
        "add the network to --networks, or find out who answers",
    ),
    Counter("search_refused_off", "names", "not searched for, as searching is switched off"),
    Counter("search_refused_name", "names", "that can be no name: empty, too long, or with a NUL"),
    Counter(
        "search_refused_full",
        "names",
        "not searched for, as too many wait",
        "raise --search-rate, or ask for fewer",
    ),
    Counter(
        "search_send_errors",
        "datagrams",
        "that the system did not send",
        "see the log for the system's reason: mostly there is no route, or the network is down",
    ),
    Counter("search_socket_errors", "errors", "of the system when answers were taken"),
    Counter(
        "search_answer_errors",
        "datagrams",
        "that came, in a batch whose handling failed: a defect in this program",
        _DEFECT,
    ),
    Counter("search_defects", "errors", "of this program, after which searching went on", _DEFECT),
    Counter(
        "search_handler_errors",
        "names",
        "whose outcomes could not be handled: a defect in this program",
        _DEFECT,
    ),
)

EPICS_ASKING = (
    Counter("asking_asked", "conversations", "with applications that send heartbeats"),
    Counter("asking_complete", "conversations", "that told all"),
    Counter(
        "asking_silent",
        "conversations",
        "without any answer, after all attempts",
        "see if the application still runs, and if a firewall drops what is sent to it",
    ),
    Counter(
        "asking_cut",
        "conversations",
        "in which answers ceased, or an empty one came, before all was told",
        "see asking_repeated: datagrams may be lost on the way",
    ),
    Counter(
        "asking_full",
        "conversations",
        "that would tell more than is kept; the first part is",
        "find out why it tells so much",
    ),
    Counter(
        "asking_long",
        "conversations",
        "that took longer than they may",
        "raise --ask-rate; see asking_repeated: datagrams may be lost on the way",
    ),
    Counter(
        "asking_changed",
        "conversations",
        "in which other clients had the lines made anew again and again",
        "find out who else asks; one PV monitor is enough",
    ),
    Counter("asking_merged", "conversations", "not begun, as there was one about the same already"),
    Counter("asking_refused_off", "conversations", "not begun, as asking is switched off"),
    Counter(
        "asking_refused_soon",
        "conversations",
        "not begun, as the host told its lines a short while ago",
    ),
    Counter(
        "asking_refused_address",
        "conversations",
        "not begun, as no application of the site can be at that address",
        "add the network to --networks, or find out who sends heartbeats from there",
    ),
    Counter(
        "asking_refused_full",
        "conversations",
        "not begun, as too many wait",
        "raise --ask-rate, or ask less often",
    ),
    Counter("asking_requests", "datagrams", "due to be sent to applications"),
    Counter(
        "asking_repeated",
        "datagrams",
        "of these, sent once more, as there was no answer",
        "if there are many, datagrams are lost, or applications are slow",
    ),
    Counter("asking_datagrams", "datagrams", "that came back, whatever they are"),
    Counter("asking_answers", "datagrams", "of these, awaited answers"),
    Counter(
        "asking_stray",
        "datagrams",
        "of these, from whom was not asked, or late, or not with the number of the request",
        "if there are many, applications are slow, or somebody else sends",
    ),
    Counter("asking_unreadable", "datagrams", "of these, no answers at all", _NOT_BEAT),
    Counter(
        "asking_answer_errors",
        "datagrams",
        "of these, whose handling failed: a defect in this program",
        _DEFECT,
    ),
    Counter("asking_names", "names", "that were told"),
    Counter("asking_lines", "lines", "that were told"),
    Counter(
        "asking_skipped", "texts", "left out: names that can be none, lines that cannot be read"
    ),
    Counter(
        "asking_send_errors",
        "datagrams",
        "that the system did not send",
        "see the log for the system's reason: mostly there is no route, or the network is down",
    ),
    Counter("asking_socket_errors", "errors", "of the system when answers were taken"),
    Counter("asking_defects", "errors", "of this program, after which asking went on", _DEFECT),
    Counter(
        "asking_handler_errors",
        "conversations",
        "of which the outcome could not be handled: a defect in this program",
        _DEFECT,
    ),
)

EPICS_ASKING_CONSERVATION = (
    Conservation(
        ("asking_datagrams",),
        ("asking_answers", "asking_stray", "asking_unreadable", "asking_answer_errors"),
    ),
    Conservation(
        ("asking_asked",),
        (
            "asking_complete",
            "asking_silent",
            "asking_cut",
            "asking_full",
            "asking_long",
            "asking_changed",
        ),
    ),
)
