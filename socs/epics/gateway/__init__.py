"""What a gateway does: hears a network, adds up what it hears, and asks it for monitors.

==========================  ======================================================================
:mod:`.gateway`             all of it, wired together; begin here
:mod:`.settings`            what it is to do
:mod:`.options`             the options of the agent that make these settings
:mod:`.listening`           hearing this host: which way, and why
:mod:`.replay`              a capture file in place of that
:mod:`.gathering`           traffic added up to summaries
:mod:`.gathering_settings`  how much of it is told
:mod:`.adding_up`           pairs of name and source, and how often each came
:mod:`.open_requests`       whose name an answer is about that we overhear
:mod:`.questions`           searches, and questions to applications
:mod:`.feeds`               the feeds of the agent
:mod:`.under_way`           summaries of which it is not known yet what became of them
==========================  ======================================================================

Nothing is imported here: who adds up a capture file needs no socket.
"""
