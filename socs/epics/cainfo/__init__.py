"""Asking the servers themselves about process variables, by Channel Access and PV Access."""

from socs.epics.cainfo.addresses import AddressLists
from socs.epics.cainfo.asker import ChannelInfo
from socs.epics.cainfo.messages import PvInfo, Question

__all__ = ["AddressLists", "ChannelInfo", "PvInfo", "Question"]
