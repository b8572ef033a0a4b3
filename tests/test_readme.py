"""Every Python block of README.md and docs/ runs as it stands, and every link to a file finds it.

A block is a whole program. One that serves (``serve_forever`` or ``run``) must come to listen, accept a connection, and
end when it is told to; any other must end by itself with status 0. Port 8080 is read as port 0.
"""

import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
TIMEOUT = 20

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SERVES = re.compile(r"\bserve_forever\(|\bgreensock\.run\(")


LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks() -> dict[str, str]:
    """The blocks, by file and line."""
    found = {}
    for path in pages():
        text = path.read_text(encoding="utf-8")
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 1
            found[f"{path.relative_to(ROOT)}:{line}"] = block[1]
    return found


BLOCKS = blocks()

#: How the README has its readers make ``key.pem`` and ``cert.pem``.
CERTIFICATE = re.compile(r"^\$ (openssl req .*)$", re.MULTILINE)


def make_what_it_needs(block: str, folder: Path) -> None:
    if "key.pem" in block:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        command = CERTIFICATE.search((ROOT / "README.md").read_text(encoding="utf-8"))
        assert command is not None
        subprocess.run(shlex.split(command[1]), cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("where", BLOCKS)
def test_block_runs(where: str, tmp_path: Path) -> None:
    block = BLOCKS[where]
    program = tmp_path / "block.py"
    program.write_text(block.replace("8080", "0"), encoding="utf-8")
    make_what_it_needs(block, tmp_path)
    with subprocess.Popen(
        [sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            if SERVES.search(block):
                with socket.create_connection(listening_address(process), TIMEOUT):
                    pass  # closed before the server is: it would wait for this side to end
                process.terminate()
                _, errors = process.communicate(timeout=TIMEOUT)
                assert process.returncode in (0, -signal.SIGTERM), errors
            else:
                _, errors = process.communicate(timeout=TIMEOUT)
                assert process.returncode == 0, errors
        finally:
            process.kill()
    assert errors == ""


def test_the_tests_of_the_page_on_testing_pass(tmp_path: Path) -> None:
    conftest, tests = BLOCK.findall((ROOT / "docs" / "testing.md").read_text(encoding="utf-8"))
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "test_shout.py").write_text(tests, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{tests.count('def test_')} passed" in done.stdout


def listening_address(process: subprocess.Popen[str]) -> tuple[str, int]:
    """Wait until *process* listens, and say where."""
    inside = psutil.Process(process.pid)
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        for connection in inside.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                return connection.laddr.ip, connection.laddr.port
        time.sleep(0.01)
    _, errors = process.communicate(timeout=TIMEOUT)
    pytest.fail(f"the block ended before it listened:\n{errors}")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing
