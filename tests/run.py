"""All tests of every day, in two processes side by side: ``python -m tests.run [ARGUMENTS]``.

Tests with servers wait most of the time; those without compute. With arguments it is pytest with
these, in one process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

PYTEST = [sys.executable, "-m", "pytest"]
WITH_SERVERS = ["tests/integration", "tests/faults"]
WITHOUT = ["tests/unit", "tests/property", "-m", "not slow", "-p", "no:cacheprovider"]


def main(arguments: list[str]) -> int:
    """The first exit status that is not 0, or 0."""
    if arguments:
        return subprocess.call([*PYTEST, *arguments])
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(
            ["nice", *PYTEST, *WITHOUT], stdout=output, stderr=subprocess.STDOUT
        )
        print("Tests without servers run beside these; what they say comes at the end.", flush=True)
        try:
            status = subprocess.call([*PYTEST, *WITH_SERVERS])
            if beside.poll() is None:
                print("Waiting for the tests without servers ...", flush=True)
            status = status or beside.wait()
        finally:
            beside.kill()
            beside.wait()
        output.seek(0)
        sys.stdout.write(output.read().decode(errors="replace"))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
