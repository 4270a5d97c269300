"""Who asks for what, and who serves it: every process variable in columns."""
