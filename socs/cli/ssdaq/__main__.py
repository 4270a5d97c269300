"""``python -m socs.cli.ssdaq`` is ``control-ssdaq``, wherever that is installed."""

import sys

from socs.cli.ssdaq import control_ssdaq

sys.exit(control_ssdaq())
