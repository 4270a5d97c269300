"""What is said about EPICS process variables on a network: who asks, who serves, what changed.

Traffic goes from `decode` by way of a gateway, as summaries, to what a monitor knows.

====================  ============================================================================
:mod:`.decode`        datagrams as arrays
:mod:`.accounts`      who asks for what, and who serves it, in columns
:mod:`.track`         what becomes of process variables, servers, applications and hosts
:mod:`.search`        searching for names ourselves
:mod:`.applications`  asking those that send heartbeats
:mod:`.gateway`       hears a network, and tells it in summaries
:mod:`.summary`       what a gateway tells: one message of its feed
:mod:`.knowledge`     what is known from the summaries of all gateways
:mod:`.monitor`       takes summaries, answers questions, and tells what happens
:mod:`.store`         what is kept, in the database and in files
:mod:`.cainfo`        asking the servers themselves about values
:mod:`.rows`          what is known, as rows for people and programs
:mod:`.networks`      sets of IPv4 networks
:mod:`.ports`         the UDP ports of a site
:mod:`.port_options`  the options that tell them
====================  ============================================================================
"""
