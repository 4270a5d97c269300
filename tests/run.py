"""All tests of every day, in processes side by side: ``python -m tests.run [ARGUMENTS]``.

Integration tests mostly wait, for agents to start as a rule; the others compute. Two processes
begin with the integration tests and one with the others; who is done helps with what is left.
What the first process says is shown at once, and what the others say at the end. With arguments it
is pytest with these, in one process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack

PYTEST = [sys.executable, "-m", "pytest"]
WAITING = ["tests/integration", "tests/faults"]
COMPUTING = ["tests/unit", "tests/property"]
GROUPS = [WAITING, WAITING, [*COMPUTING, *WAITING]]  # what each process may run, in its order
# A process does not know which part of all tests it will run, so it shows no percentage.
OPTIONS = ["-m", "not slow", "-o", "console_output_style=classic", "-p", "tests.side_by_side"]


def main(arguments: list[str]) -> int:
    """The first exit status that is not 0, or 0."""
    if arguments:
        return subprocess.call([*PYTEST, *arguments])
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        pytest = [*PYTEST, *OPTIONS, "--divide", directory]
        here, *others = GROUPS
        beside = []
        for group in others:
            output = stack.enter_context(tempfile.TemporaryFile())
            command = [*pytest, *group, "-p", "no:cacheprovider"]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.kill)
            beside.append((process, output))
        print("Other tests run beside these, and report at the end.", flush=True)
        statuses = [subprocess.call([*pytest, *here])]
        for process, output in beside:
            if process.poll() is None:
                print("Waiting for other tests ...", flush=True)
            statuses.append(process.wait())
            output.seek(0)
            print(output.read().decode(errors="replace"), flush=True)
    return next(filter(None, statuses), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
