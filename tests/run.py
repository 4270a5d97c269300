"""All tests of every day, in processes side by side: ``python -m tests.run [ARGUMENTS]``.

Integration tests mostly wait, for agents to start as a rule; the others compute. What the first
process says is shown at once, and what the others say at the end. With arguments it is pytest with
these, in one process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

PYTEST = [sys.executable, "-m", "pytest"]
INTEGRATION = Path(__file__).parent / "integration"
MIDDLE = "test_p"  # files from this name on are the second half of the integration tests
COMPUTING = ["tests/unit", "tests/property", "tests/faults", "-m", "not slow"]


def groups() -> list[list[str]]:
    """Arguments of each process."""
    files = sorted(INTEGRATION.glob("test_*.py"))
    first = [str(file) for file in files if file.name < MIDDLE]
    second = [str(file) for file in files if file.name >= MIDDLE]
    return [second, first, COMPUTING]


def main(arguments: list[str]) -> int:
    """The first exit status that is not 0, or 0."""
    if arguments:
        return subprocess.call([*PYTEST, *arguments])
    here, *others = groups()
    with ExitStack() as stack:
        beside = []
        for group in others:
            output = stack.enter_context(tempfile.TemporaryFile())
            command = [*PYTEST, *group, "-p", "no:cacheprovider"]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.kill)
            beside.append((process, output))
        print("Other tests run beside these, and report at the end.", flush=True)
        statuses = [subprocess.call([*PYTEST, *here])]
        for process, output in beside:
            if process.poll() is None:
                print("Waiting for other tests ...", flush=True)
            statuses.append(process.wait())
            output.seek(0)
            print(output.read().decode(errors="replace"), flush=True)
    return next(filter(None, statuses), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
