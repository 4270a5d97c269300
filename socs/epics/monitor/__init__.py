"""The PV monitor: what it takes, keeps, answers and tells.

=====================  ===========================================================================
:mod:`.monitor`        all of it, wired together; begin here
:mod:`.options`        the options of the agent, and the settings that they make
:mod:`.summary_queue`  messages of gateways that wait
:mod:`.our_clock`      was our clock set
:mod:`.turns`          a lock that goes round
:mod:`.taking_up`      what was known at the end of the last run
:mod:`.catch_up`       what happened after the snapshot of that
:mod:`.store`          what is kept, and where
:mod:`.upkeep`         what is done from time to time
:mod:`.measures`       what is counted each second
:mod:`.queries`        what can be asked
:mod:`.asked_values`   values that people give, with errors that name the parameter
:mod:`.pv_search`      process variables by pattern and filters
:mod:`.pv_values`      what servers themselves say of them
:mod:`.host_book`      what people write down of hosts
:mod:`.tasks`          the Tasks of the agent
:mod:`.feeds`          the feeds of the agent
:mod:`.gateway_calls`  calls of the Tasks of gateways
=====================  ===========================================================================

Nothing is imported here, as a command that reads a snapshot needs little of it.
"""
