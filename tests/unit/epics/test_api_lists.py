"""The two lists that programs of sites read from the peer: field by field."""

import json

import numpy as np
import pytest

from socs.epics.applications import api_lists
from socs.epics.applications.api_lists import Mapped
from socs.epics.decode.alive import Alive
from socs.epics.decode.heartbeat import Heartbeat
from socs.epics.decode.pva import PVA_BEACON
from socs.epics.track.applications import Applications
from tests.epics_packets import address
from tests.epics_servers import SETTINGS, T0, Watch, schedule

HOST, OTHER = address("10.0.0.2"), address("10.0.0.3")
LOST_AT = T0 + 200.0


@pytest.fixture
def apps():
    """One application that is lost at `LOST_AT`, one that is not, and one with an alive record."""
    applications = Applications(SETTINGS, Watch(since=T0 - 1000).sight)
    beat = Heartbeat(3, 5064, 90, int(T0), 7, "2.0", " ./bin/a", "st.cmd", "/iocs/a")
    applications.heartbeat(beat, HOST, 40000, T0)
    beat = Heartbeat(9, 40001, 600, int(T0 + 150), 8, "1.1", "./bin/b", "b.cmd", "/iocs/b")
    applications.heartbeat(beat, OTHER, 40002, T0 + 150)
    alive = Alive("ioc1", 1, int(T0), int(T0 + 150), 1, 1000, 0, 5, 0)
    applications.alive(alive, HOST, 40003, T0 + 150)
    applications.tick(LOST_AT)
    return applications


def as_read(answer):
    """As a program of the site gets it."""
    return json.loads(json.dumps(answer))


def test_an_application_field_by_field(apps):
    (key,) = (app.key for app in apps.known.values() if app.beat.host == OTHER)
    answer = as_read(api_lists.heartbeats(apps, LOST_AT, names={key: 23}, handle=5))
    (row,) = answer.pop("heartbeats")
    told = Heartbeat(9, 40001, 600, 0, 8, "1.1", "./bin/b", "b.cmd", "/iocs/b")
    assert row == {
        "heartbeat_port": 40002,
        "app_port": "40001",
        "version": "1.1",
        "pvs": 23,
        "pid": 8,
        "image": "./bin/b",
        "command": "b.cmd",
        "directory": "/iocs/b",
        "lost": False,
        "up_time": 650,
        "last_time": int(T0 + 150),
        "app_id": str(told.identity(OTHER)),
        "ioc_id": OTHER,
    }
    assert answer == {
        "version": "1.0",
        "status": "OK",
        "lost_flag": False,
        "raw_flag": False,
        "lost_count": 1,
        "result_count": 1,
        "handle": 5,
    }


def test_a_lost_application_is_listed_if_asked_for_and_says_so(apps):
    answer = as_read(api_lists.heartbeats(apps, LOST_AT, names={}, lost=True))
    assert [row["lost"] for row in answer["heartbeats"]] == [True, False]
    assert (answer["lost_count"], answer["result_count"], answer["lost_flag"]) == (1, 2, True)
    lost = answer["heartbeats"][0]
    assert (lost["up_time"], lost["last_time"], lost["pvs"]) == (90, int(T0), None)
    assert lost["image"] == "./bin/a"
    assert "handle" not in answer


def test_one_host_and_the_heartbeat_as_it_was(apps):
    answer = as_read(api_lists.heartbeats(apps, LOST_AT, names={}, host=HOST, lost=True, raw=True))
    (row,) = answer["heartbeats"]
    assert answer["raw_flag"]
    assert row["raw"] == {
        "seq": "3",
        "sp": "5064",
        "up": "90",
        "cur": str(int(T0)),
        "pid": "7",
        "cwd": "/iocs/a",
        "ver": "2.0",
        "img": " ./bin/a",
        "stcmd": "st.cmd",
        "ip_k": HOST,
        "p": 40000,
        "addr": "10.0.0.2",
        "qt": T0,
    }
    assert api_lists.heartbeats(apps, LOST_AT, names={}, host=1)["heartbeats"] == []


def test_a_server_field_by_field():
    watch = Watch(since=T0 - 1000)
    for time, number in schedule():
        if time > 300:
            break
        watch.beacon(number, T0 + time)
        last = number, T0 + time
    watch.beacon(12345, T0 + 290, host="10.0.0.3", port=40001)
    mapped = {(HOST, 5064): Mapped("./bin/a st.cmd", "/iocs/a", 1 << 63)}
    answer = as_read(api_lists.beacons(watch.beacons, mapped=mapped, handle=1))
    first, second = answer.pop("beacons")
    assert answer == {"version": "1.0", "status": "OK", "handle": 1}
    assert first == [
        HOST,
        5064,
        {
            "p": 5064,
            "seq": last[0],
            "t": last[1],
            "L": None,
            "remap": False,
            "ival": 15000,
            "t_start": T0,
            "cmd": "./bin/a st.cmd",
            "cwd": "/iocs/a",
            "ai": 1 << 63,
        },
    ]
    told = {"p": 40001, "seq": 12345, "t": T0 + 290, "L": None, "remap": True}
    assert second == [OTHER, 40001, told]


def test_servers_that_are_lost_of_pv_access_and_of_other_hosts_are_left_out():
    watch = Watch(since=T0 - 1000)
    watch.beacon(100, T0)
    watch.beacon(100, T0 + 500, host="10.0.0.3")
    watch.beacons.tick(T0 + 510)
    pva = np.zeros(1, PVA_BEACON)
    pva["port"] = 5075
    watch.beacons.feed_pva(pva, np.array([OTHER], np.uint32), T0 + 510)
    assert len(watch.beacons.servers) == 3
    (row,) = api_lists.beacons(watch.beacons, mapped={})["beacons"]
    assert row[:2] == [OTHER, 5064]
    assert api_lists.beacons(watch.beacons, mapped={}, host=HOST)["beacons"] == []


def test_an_error_tells_strangers_nothing_of_this_program():
    assert api_lists.error("host: no such host") == {
        "api_version": "1.0",
        "status": "ERROR",
        "msg": "host: no such host",
        "traceback": [],
    }
