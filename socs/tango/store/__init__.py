"""What the event system did, in JSON Lines files (:mod:`socs.lines_file`).

Their lines: :mod:`socs.tango.lines`.

===============  ==============================================================================
:mod:`.series`   file after file, with rotation, and what a crash left
:mod:`.writer`   the same in a thread of its own, with a bounded queue
===============  ==============================================================================

Nothing is imported here: a program that writes one file need not load a database's driver.
"""
