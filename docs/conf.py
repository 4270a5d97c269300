"""Sphinx configuration. Build with ``make docs``."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# The agents are documented under the path at which they lie in the repository (agents.…).
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
# Options whose default depends on the machine are shown as on a machine where nothing is set.
for name in [name for name in os.environ if name.startswith(("MYSQL_", "SOCS_", "SMURFPUB_"))]:
    del os.environ[name]

from socs._version import __version__  # noqa: E402

project = "socs"
copyright = "the socs authors"
author = "the socs authors"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxarg.ext",
    "socs_reference",
    "tango_reference",
    "slow_signal_reference",
]
exclude_patterns = ["_build"]
html_theme = "sphinx_rtd_theme"
html_static_path = ["_static"]
html_css_files = ["socs.css"]  # the theme alone cuts off wide tables
html_copy_source = False
autodoc_member_order = "bysource"
smartquotes = False  # options begin with two hyphens
autodoc_typehints = "none"  # the docstrings say more than the annotations
