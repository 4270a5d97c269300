"""Who asks for what, and who serves it: every process variable in columns.

==================  ==============================================================================
:mod:`.texts`       many texts in one piece of memory: their hashes, and record names
:mod:`.name_rule`   which names are not valid
:mod:`.names`       names, each with a number
:mod:`.sources`     who asks: hosts and ports, and their classes
:mod:`.asked`       who asks for what in a batch of searches
:mod:`.requesters`  who asked for each name last
:mod:`.servers`     who served each name last
:mod:`.inventory`   all of this together
:mod:`.find`        names by a pattern
:mod:`.snapshot`    an inventory as arrays, and back
==================  ==============================================================================
"""
