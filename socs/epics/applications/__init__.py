"""Applications that send heartbeats: what they answer when they are asked.

======================  ==========================================================================
:mod:`.conversations`   what to ask next, and when all is told
:mod:`.asking`          all conversations; no more requests than the limiter allows
:mod:`.asker`           the same with a socket, in a thread
:mod:`.netstat`         what listens at which port, from the lines that an application tells
:mod:`.host_processes`  what serves at the ports of all hosts
:mod:`.interviews`      who is asked for what, and when; what came of it
:mod:`.api_lists`       two lists that programs of sites read
======================  ==========================================================================
"""
