"""The command lines of SSDAQ: control-ssdaq, ssdaq, ssdatawriter and ss-example-listener.

What they need is loaded here, when it is known that it will be, and told if it is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from socs.errors import SocsError

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def control_ssdaq() -> int:
    """``control-ssdaq``"""
    return _run("control-ssdaq", "control")


def ssdaq() -> int:
    """``ssdaq``"""
    return _run("ssdaq", "quick_assembler")


def ssdatawriter() -> int:
    """``ssdatawriter``"""
    return _run("ssdatawriter", "quick_writer")


def ss_example_listener() -> int:
    """``ss-example-listener``"""
    return _run("ss-example-listener", "example_listener")


def _run(program: str, module: str) -> int:
    try:
        main: Callable[[], int] = import_module(f"socs.cli.ssdaq.{module}").main
        return main()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("socs"):
            raise
        print(
            f"{program}: needs {error.name}; install it with pip install 'socs[slow-signal]'",
            file=sys.stderr,
        )
        return EXIT_ERROR
    except SocsError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
