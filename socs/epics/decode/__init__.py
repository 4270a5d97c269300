"""Datagrams of EPICS as arrays, whole batches at once: Channel Access, PV Access, heartbeats.

Any bytes decode or are counted, by cause. No socket, no clock.
"""
