"""Searching for names on the network: what is sent when, and what came of it.

==================  ==============================================================================
:mod:`.limiter`     how many datagrams may be sent
:mod:`.messages`    search requests of both protocols
:mod:`.searcher`    what is sent when; no socket, no clock
:mod:`.udp_thread`  a socket and a thread around such a core
:mod:`.active`      the two together: searching
==================  ==============================================================================
"""
