"""Asking the servers themselves about process variables, by Channel Access and PV Access.

==================  ==============================================================================
:mod:`.asker`       asks, by a child process: `ChannelInfo`; begin here
:mod:`.addresses`   where searches are sent
:mod:`.messages`    questions and answers, and how the child is spoken to
:mod:`.process`     the child, seen from here
:mod:`.child`       what runs in it
:mod:`.search`      who serves a name
:mod:`.connecting`  connections whose errors say what is wrong
:mod:`.ca`          one server of Channel Access
:mod:`.pva`         one server of PV Access
:mod:`.values`      values as JSON has them
==================  ==============================================================================
"""

from socs.epics.cainfo.addresses import AddressLists
from socs.epics.cainfo.asker import ChannelInfo
from socs.epics.cainfo.messages import PvInfo, Question

__all__ = ["AddressLists", "ChannelInfo", "PvInfo", "Question"]
