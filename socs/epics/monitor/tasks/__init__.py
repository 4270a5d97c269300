"""The Tasks of the PV monitor: what OCS clients ask, and tell. Each runs in a thread of its own."""

from socs.epics.monitor.tasks.people import PeopleTasks
from socs.epics.monitor.tasks.pvs import PvTasks
from socs.epics.monitor.tasks.things import ThingTasks

__all__ = ["TASKS", "MonitorTasks"]

TASKS = (
    *("search", "pv_info", "cainfo", "update", "poll", "poll_now", "forget", "snapshot_now"),
    *("servers", "applications", "hosts", "clients", "events", "api_list"),
    *("logs", "note", "acknowledge", "groups", "create_group", "edit_group", "delete_group"),
    *("expect", "maintain", "describe"),
)


class MonitorTasks(PvTasks, ThingTasks, PeopleTasks):
    """All of them."""
