"""What becomes of process variables, servers, applications and hosts over time.

State machines given as tables, with the time as an argument: `feed` what was decoded, call `tick`
now and then, and take the events. No socket, no clock.
"""
