"""Agent classes of this package, as ``ocs-agent-cli`` looks them up (entry point ``ocs.plugins``)."""

package_name = "socs"
agents = {
    "PysmurfMonitor": {"module": "socs.agents.pysmurf_monitor.pysmurf_monitor", "entry_point": "main"},
    "PysmurfController": {
        "module": "socs.agents.pysmurf_controller.pysmurf_controller",
        "entry_point": "main",
    },
}
