"""Legacy code in programs that are monkey-patched, by themselves or by somebody else, and in others."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Final

import pytest

from program import Launch, Program

HERE: Final = Path(__file__).parent

#: How each program begins.
BEGINNINGS: Final = {
    "unpatched": "patched = False",
    "patched first": "from gevent import monkey; monkey.patch_all(); patched = True",
    "patched after greensock": "import greensock.legacy; from gevent import monkey; monkey.patch_all(); patched = True",
    "patched by somebody else": "import warnings; warnings.simplefilter('ignore'); import patcher; patched = True",
}

PRELUDE: Final = """
import http.server, logging, queue, socket, socketserver, ssl, sys, threading, time
import gevent, gevent.socket
import greensock
from greensock import legacy

class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            if patched:
                time.sleep(0.01)
            self.wfile.write(line.upper())

def ask(address, question=b"hello\\n"):
    with gevent.socket.create_connection(address, 10) as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(1000):
            answer += part
        return answer

def all_at_once(address, count=100, together=True):
    began = time.monotonic()
    asking = [gevent.spawn(ask, address, b"question %d\\n" % number) for number in range(count)]
    gevent.joinall(asking, timeout=20, raise_error=True)
    assert [greenlet.value for greenlet in asking] == [b"QUESTION %d\\n" % number for number in range(count)]
    assert time.monotonic() - began < 0.01 * count / 2 or not (patched and together)

"""


@pytest.fixture
def run(launch: Launch, tmp_path: Path) -> Launch:
    (tmp_path / "patcher.py").write_text("from gevent import monkey\nmonkey.patch_all()\n")

    def run(how: str, *text: str) -> Program:
        path = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        return launch(path + BEGINNINGS[how] + PRELUDE + textwrap.dedent("\n".join(text)))

    return run


every_way = pytest.mark.parametrize("how", BEGINNINGS)


@every_way
def test_sessions(run: Launch, how: str) -> None:
    done = run(
        how,
        """
        with greensock.listen(("127.0.0.1", 0), legacy.request_handler(Upper)) as server:
            all_at_once(server.address)
        def handle(sock, address):
            for line in sock.makefile("rb"):
                sock.sendall(line.upper())
        with greensock.listen(("127.0.0.1", 0), legacy.stream_handle(handle)) as server:
            all_at_once(server.address)
        """,
    )
    assert done.finish() == (0, "", "")


@every_way
def test_a_server_of_gevents_kind(run: Launch, how: str) -> None:
    done = run(
        how,
        """
        def handle(sock, address):
            for line in sock.makefile("rb"):
                sock.sendall(line.upper())
        with legacy.StreamServer(("127.0.0.1", 0), handle, spawn=10) as server:
            server.start()
            all_at_once(server.address)
        """,
    )
    assert done.finish() == (0, "", "")


@every_way
def test_a_server_in_a_thread_as_many_programs_have_it(run: Launch, how: str) -> None:
    done = run(
        how,
        """
        for kind in (legacy.ThreadingTCPServer, legacy.TCPServer):
            class Server(kind):
                request_queue_size = 100
            with Server(("127.0.0.1", 0), Upper) as server:
                thread = threading.Thread(target=server.serve_forever)
                thread.start()
                all_at_once(server.server_address, 20, together=kind is legacy.ThreadingTCPServer)
                server.shutdown()
                thread.join()
        """,
    )
    assert done.finish() == (0, "", "")


@every_way
def test_a_server_in_the_main_thread_and_its_shutdown_in_a_handler(run: Launch, how: str) -> None:
    done = run(
        how,
        """
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                self.wfile.write(self.rfile.readline())
                self.server.shutdown()
        for kind in (legacy.ThreadingTCPServer, legacy.TCPServer):
            with kind(("127.0.0.1", 0), Handler) as server:
                answer = gevent.spawn(ask, server.server_address)
                server.serve_forever()
                print(answer.get(timeout=10))
        """,
    )
    assert done.finish() == (0, "b'hello\\n'\n" * 2, "")


@every_way
@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_an_interrupt_ends_the_loop_as_it_always_did(run: Launch, how: str, kind: str) -> None:
    serving = run(
        how,
        f"""
        with legacy.{kind}(("127.0.0.1", 0), Upper) as server:
            gevent.spawn_later(0.01, print, "serves", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("interrupted")
        print(server.socket.fileno())
        """,
    )
    assert serving.line() == "serves"
    status, output, errors = serving.finish(signal.SIGINT)
    assert (status, output) == (0, "interrupted\n-1\n")
    assert "Traceback" not in errors  # gevent says in a line of its own that there was an interrupt


@pytest.mark.parametrize("how", [how for how in BEGINNINGS if how != "unpatched"])
def test_what_blocks_blocks_its_own_connection_only(run: Launch, how: str) -> None:
    done = run(
        how,
        """
        lock, event, jobs, results = threading.Lock(), threading.Event(), queue.Queue(), []
        local = threading.local()

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                assert not hasattr(local, "peer")
                local.peer = self.client_address
                word = self.rfile.readline().strip().decode()
                if word == "wait":
                    assert event.wait(10)
                elif word == "lock":
                    with lock:
                        time.sleep(0.01)
                elif word == "get":
                    word += jobs.get(timeout=10)
                elif word == "free":
                    event.set()
                    jobs.put(" a job")
                assert local.peer == self.client_address
                self.wfile.write(word.encode())

        server = legacy.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words = [b"wait\\n", b"get\\n", b"lock\\n", b"lock\\n", b"wait\\n", b"free\\n"]
        asking = [gevent.spawn(ask, server.server_address, word) for word in words]
        gevent.joinall(asking, timeout=20, raise_error=True)
        print([greenlet.value.decode() for greenlet in asking])
        server.shutdown()
        server.server_close()
        """,
    )
    assert done.finish() == (0, "['wait', 'get a job', 'lock', 'lock', 'wait', 'free']\n", "")


def test_the_tests_of_the_servers_pass_in_a_patched_program(tmp_path: Path) -> None:
    """All of them, of ours and of socketserver's, whose threads are greenlets there."""
    rooms = ("socketserver", "serving", "listening", "handlers")
    tests = [str(HERE / f"test_legacy_{room}.py") for room in rooms]
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={HERE.parent}", f"--basetemp={tmp_path / 'base'}"]
    command = [sys.executable, "-m", "gevent.monkey", "--module", "pytest", *options, *tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=55, cwd=HERE.parent)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
