"""Tango's event system: who published, who received, and who lost what of it."""
