#!/usr/bin/env python3
"""Plays one module of a camera: ``python3 SSUDPTMSimulator.py 2009 localhost``; ``-h`` for more.

Needs the package socs: installed, or beside this file (in the image), or in the repository.
"""

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("socs") is None:
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from socs.sim.camera_module import main

if __name__ == "__main__":
    sys.exit(main())
