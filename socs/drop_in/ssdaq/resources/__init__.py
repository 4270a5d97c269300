"""The configuration that ``control-ssdaq`` uses when it is given none."""
