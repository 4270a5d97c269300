"""Datagrams of EPICS as arrays, whole batches at once: Channel Access, PV Access, heartbeats.

Any bytes decode or are counted, by cause. No socket, no clock.

=================  ===============================================================================
:mod:`.words`      the memory of a batch, and the damage found in it
:mod:`.cursor`     reading many byte strings at the same time
:mod:`.ca`         Channel Access
:mod:`.pva`        PV Access
:mod:`.heartbeat`  heartbeats as JSON, and requests to who sends them
:mod:`.alive`      heartbeats of the ``alive`` record
=================  ===============================================================================
"""
