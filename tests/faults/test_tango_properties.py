"""Children that ask a Tango database which hangs, when nobody is left to end them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from socs.tango.properties import CHILD

pytest.importorskip("tango")


def test_a_child_without_a_parent_ends_though_the_database_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hangs:
        host = f"127.0.0.1:{hangs.getsockname()[1]}"
        request = {"do": "read", "object": "CtrlSystem", "wildcard": "Multicast*", "timeout": 0.5}
        done = subprocess.run(
            [sys.executable, "-m", CHILD],
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            env={**os.environ, "TANGO_HOST": host},
            timeout=50,
        )
    assert done.returncode == -signal.SIGALRM
