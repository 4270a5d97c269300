"""What becomes of process variables, servers, applications and hosts over time.

State machines given as tables, with the time as an argument: `feed` what was decoded, call `tick`
now and then, and take the events. No socket, no clock.

====================  ============================================================================
:mod:`.events`        what is told
:mod:`.settings`      every threshold
:mod:`.coverage`      when we could see what, by which gateways
:mod:`.life`          the states of servers and applications
:mod:`.beacons`       servers, by their beacons
:mod:`.beacon_ids`    what the number of a beacon says
:mod:`.applications`  applications, by their heartbeats
:mod:`.pvs`           process variables, by answers to searches
:mod:`.hosts`         hosts: is everything there that should be
:mod:`.conditions`    what is wrong for a while
====================  ============================================================================
"""
