"""The guard of tests/conftest.py fails tests that leave something behind."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
TESTS = """
import subprocess, sys, threading, pytest
import tests.conftest
from tests.conftest import nothing_left_behind

tests.conftest.LEFTOVER_TIMEOUT = 0.2
end = threading.Event()

@pytest.fixture(scope="module", autouse=True)
def clean_up():
    yield
    end.set()

def test_thread():
    threading.Thread(target=end.wait, name="left").start()

def test_daemon_of_ours():
    threading.Thread(target=end.wait, name="ingest-1", daemon=True).start()

def test_process(request):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    request.node.getparent(pytest.Module).addfinalizer(lambda: (child.kill(), child.wait()))

def test_clean():
    thread = threading.Thread(target=threading.Event().wait, args=(0.05,))
    thread.start()
    threading.Thread(target=end.wait, name="of a library", daemon=True).start()
"""


def test_leftovers_fail_the_test_that_left_them(tmp_path):
    (tmp_path / "test_sample.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, "-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path / "test_sample.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "the test left behind: thread 'left'" in ran.stdout
    assert "the test left behind: thread 'ingest-1'" in ran.stdout
    assert "the test left behind: process " in ran.stdout
    assert "4 passed, 3 errors" in ran.stdout
    assert "ERROR test_sample.py::test_clean" not in ran.stdout
