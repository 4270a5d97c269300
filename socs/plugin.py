"""Agent classes of this package, for ``ocs-agent-cli`` (entry point group ``ocs.plugins``)."""

package_name = "socs"
agents = {
    name: {"module": f"socs.agents.{module}.{module}", "entry_point": "main"}
    for name, module in {
        "PysmurfMonitor": "pysmurf_monitor",
        "PysmurfController": "pysmurf_controller",
        "PysmurfArchiver": "pysmurf_archiver",
        "SlowSignalBuilder": "slow_signal_builder",
        "TangoEventMonitor": "tango_event_monitor",
        "PVGateway": "pv_gateway",
        "PVMonitor": "pv_monitor",
    }.items()
}
