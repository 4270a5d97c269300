"""What is known from the summaries of gateways.

====================  ============================================================================
:mod:`.knowledge`     all of it; begin here
:mod:`.joining`       the feed of one gateway: what was missed, how its clock goes
:mod:`.routes`        what several gateways heard is taken once
:mod:`.feeding`       what a summary holds, to whom it goes
:mod:`.own_searches`  what the monitor searches for, and what that says
:mod:`.searches`      the same at several gateways: over when all have told
:mod:`.polling`       rounds through all names
:mod:`.poll_cache`    one round, by few searches
:mod:`.wishes`        what gateways should do
====================  ============================================================================
"""
