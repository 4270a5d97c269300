"""All tests of every day, in processes side by side: ``python -m tests.run [ARGUMENTS]``.

Integration tests mostly wait, for agents to start as a rule; the others compute. Two processes
begin with the integration tests and one with the others; who is done helps with what is left.
What the first process says is shown at once, and what the others say at the end. With arguments it
is pytest with these, in one process.

Many tests run servers and kill them, and a busy machine can be too slow for one of them. A few
tests that fail side by side are therefore run a second time, alone; those that pass then are named
at the very end, because a race in what they test looks just the same. More than a few are no
accident, and are not tried again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.side_by_side import failed_tests

PYTEST = [sys.executable, "-m", "pytest"]
WAITING = ["tests/integration", "tests/faults"]
COMPUTING = ["tests/unit", "tests/property"]
GROUPS = [WAITING, WAITING, [*COMPUTING, *WAITING]]  # what each process may run, in its order
# A process does not know which part of all tests it will run, so it shows no percentage.
OPTIONS = ["-m", "not slow", "-o", "console_output_style=classic"]
DIVIDING = ["-p", "tests.side_by_side", "--divide"]
SOME_FAILED = 1  # exit status of pytest
SHELL_KILLED = 128  # exit status of what a signal ended, as a shell says it, is this and the signal
A_FEW = 5  # tests
NOTES = "notes"


def main(arguments: list[str]) -> int:
    """0 if each test has passed, beside the others or alone."""
    if arguments:
        return subprocess.call([*PYTEST, *arguments])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        status = side_by_side(Path(directory))
        failed = failed_tests(Path(directory, NOTES))
    if status != SOME_FAILED or not 0 < len(failed) <= A_FEW:
        return status
    print(f"Tests that failed beside others are run again, alone: {len(failed)}", flush=True)
    status = subprocess.call([*PYTEST, *OPTIONS, *failed])
    if status == 0:
        print(
            "Failed beside other tests, and passed alone (is the machine slow, or is it a race?):"
        )
        print("\n".join(f"    {test}" for test in failed))
    return status


def side_by_side(directory: Path) -> int:
    """Run all tests; the highest exit status of pytest: 0 all passed, 1 some failed, else trouble.

    Args:
        directory: for notes, with which the processes divide them, and for what tests write; empty.
    """
    notes = directory / NOTES
    notes.mkdir()
    here, *others = (
        # A directory for each: of several that tidy a common one some would fail.
        [*PYTEST, *OPTIONS, *DIVIDING, str(notes), f"--basetemp={directory / str(number)}", *group]
        for number, group in enumerate(GROUPS)
    )
    with ExitStack() as stack:
        beside = []
        for command in others:
            output = stack.enter_context(tempfile.TemporaryFile())
            command += ["-p", "no:cacheprovider"]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.kill)
            beside.append((process, output))
        print("Other tests run beside these, and report at the end.", flush=True)
        statuses = [subprocess.call(here)]
        for process, output in beside:
            if process.poll() is None:
                print("Waiting for other tests ...", flush=True)
            statuses.append(process.wait())
            output.seek(0)
            print(output.read().decode(errors="replace"), flush=True)
    return max(status if status >= 0 else SHELL_KILLED - status for status in statuses)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
