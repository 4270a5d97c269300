"""All tests of every day, in two processes side by side: ``python -m tests.run [ARGUMENTS]``.

Integration tests wait most of the time; the others compute. The two take about as long. With
arguments it is pytest with these, in one process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

PYTEST = [sys.executable, "-m", "pytest"]
HERE = ["tests/integration"]
BESIDE = ["tests/unit", "tests/property", "tests/faults", "-m", "not slow"]


def main(arguments: list[str]) -> int:
    """The first exit status that is not 0, or 0."""
    if arguments:
        return subprocess.call([*PYTEST, *arguments])
    with tempfile.TemporaryFile() as output:
        beside = subprocess.Popen(
            [*PYTEST, *BESIDE, "-p", "no:cacheprovider"], stdout=output, stderr=subprocess.STDOUT
        )
        print("Other tests run beside the integration tests; they report at the end.", flush=True)
        try:
            status = subprocess.call([*PYTEST, *HERE])
            if beside.poll() is None:
                print("Waiting for the other tests ...", flush=True)
            status = status or beside.wait()
        finally:
            beside.kill()
            beside.wait()
        output.seek(0)
        sys.stdout.write(output.read().decode(errors="replace"))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
