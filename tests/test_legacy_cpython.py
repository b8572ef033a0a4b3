"""The stand-ins for ``socketserver``: CPython's own tests of servers that derive from its, with ours in their place."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

#: Modules of CPython's tests that make servers of socketserver, http.server, wsgiref or xmlrpc.
SUITES = [
    *("test_socketserver", "test_httpservers", "test_wsgiref", "test_docxmlrpc", "test_urllib2_localnet"),
    *("test_xmlrpc.SimpleServerTestCase", "test_xmlrpc.KeepaliveServerTestCase2", "test_xmlrpc.FailingServerTestCase"),
]

#: Tests of what is different, or of what only CPython's own servers have.
DIFFERENT = {
    "test_ForkingUnixStreamServer": "it is refused",
    "test_forking_handled": "the same",
    "test_forking_not_handled": "the same",
    "test_all": "it looks at the module that our classes say they are of",
    "test_threads_reaped": "it looks into the list of threads",
    "test_threading_not_handled": "it waits for threading.excepthook, and a greenlet that exits is no thread that does",
}

#: Tests that cannot pass in a monkey-patched program, ours or not.
NOT_PATCHED = {
    "test_write": "it sends a signal to threading.get_ident(), which is a greenlet",
    "test_interrupted_write": "the same",
}

RUN = """
import socketserver, sys, unittest
from greensock import legacy
for name in {*legacy.__all__} & {*vars(socketserver)}:
    setattr(socketserver, name, getattr(legacy, name))
excluded, *suites = sys.argv[1:]
tests = unittest.TestSuite()
def add(some):
    for test in some:
        if isinstance(test, unittest.TestSuite):
            add(test)
        elif test.id().rpartition(".")[2] not in excluded.split():
            tests.addTest(test)
add(unittest.defaultTestLoader.loadTestsFromNames(["test." + suite for suite in suites]))
result = unittest.TextTestRunner().run(tests)
sys.exit(not result.wasSuccessful())
"""


def has_tests() -> bool:
    try:
        return importlib.util.find_spec("test.test_socketserver") is not None
    except ModuleNotFoundError:  # not even the package
        return False


@pytest.mark.skipif(not has_tests(), reason="this Python comes without its tests")
@pytest.mark.parametrize("patched", [False, True], ids=["plain", "patched"])
def test_cpythons_own_tests_pass(patched: bool, tmp_path: Path) -> None:
    excluded = DIFFERENT | NOT_PATCHED if patched else DIFFERENT
    program = "from gevent import monkey\nmonkey.patch_all()\n" * patched + RUN
    command = [sys.executable, "-c", program, " ".join(excluded), *SUITES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path)
    ran = re.search(r"^Ran (\d+) tests? in", done.stderr, re.MULTILINE)
    assert ran and int(ran[1]) >= 150, done.stderr[-3000:]
    assert done.returncode == 0, done.stderr[-3000:]
