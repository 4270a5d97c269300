"""Asking many device servers at one moment, whatever state they are in.

All calls to Tango are made by a child process (:mod:`socs.tango.polling.child` and the modules
below ``socs.tango.polling.calls``): some of them hold Python's global lock for a minute, others
ignore their time-outs. :class:`~socs.tango.polling.poller.Poller` looks after it.
"""
