"""What is kept of EPICS traffic, in the database and in files.

=====================  ===========================================================================
:mod:`.tables`         tables of their own beside the files table
:mod:`.event_rows`     events of the trackers as rows, and back
:mod:`.event_spool`    events on disk, until the database has them
:mod:`.event_writer`   from there into the database: each once, in order
:mod:`.history`        events, a page at a time
:mod:`.logs`           what people must know or wrote of a host; acknowledging
:mod:`.groups`         groups of hosts
:mod:`.hosts`          what should be on a host, and who works on it
:mod:`.purge`          what is old enough to go
:mod:`.trackers`       the state of the trackers as bytes, and back
:mod:`.snapshot_file`  everything that is known, in a file
:mod:`.finishing`      complete files: their names, and who must know of them
:mod:`.periodic`       what snapshots and statistics share
:mod:`.snapshots`      one such file after the other
:mod:`.statistics`     a file for each day, with a line for each minute
=====================  ===========================================================================

Nothing is imported here: a program that reads a snapshot need not load a database's driver.
"""
