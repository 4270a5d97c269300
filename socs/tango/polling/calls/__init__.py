"""Calls to Tango. Imported by the child process only."""
