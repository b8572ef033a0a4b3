"""A service as users and operators see it, from outside: edited, ended and supervised while it is under load."""

import json
import random
import resource
import shutil
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest

import authority
from greensock.testing import wait_until
from program import Serve, Serving

ECHO = """
def data(socket, data):
    socket.write(data)

handlers = {"data": data}
"""


def ask(address: tuple[str, int] | str, question: bytes = b"?") -> bytes:
    """What a connection of its own answers."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with gevent.socket.socket(family) as peer:
        peer.settimeout(10)
        peer.connect(address)
        peer.sendall(question)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while part := peer.recv(1000):
            answer += part
    return answer


def end(service: Serving, number: signal.Signals = signal.SIGTERM) -> str:
    """Its errors, of which there are none that it would not tell calmly."""
    status, _, errors = service.finish(number)
    assert "Traceback" not in errors
    assert status == 0, errors
    return errors


# -- what is served --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "answer"),
    [
        (ECHO, "service:handlers", b"?"),
        ("class Echo:\n    def data(self, socket, data):\n        socket.write(data)", "service.py:Echo", b"?"),
        ("def shout(socket):\n    for chunk in socket:\n        socket.write(chunk + b'!')", "service.py:shout", b"?!"),
        (
            "import socketserver\nclass Old(socketserver.StreamRequestHandler):\n"
            "    def handle(self):\n        self.wfile.write(self.rfile.read() + b'.')",
            "service.py:Old",
            b"?.",
        ),
    ],
)
def test_handlers_of_every_kind(serving: Serve, source: str, target: str, answer: bytes) -> None:
    service = serving(source, target=target)
    assert ask(service.address()) == answer
    end(service)


def test_the_target_may_stand_in_the_file(serving: Serve, tmp_path: Path) -> None:
    (tmp_path / "greensock.toml").write_text('target = "service.py"\nframing = "lines"\n')
    service = serving(ECHO, target="--no-hot")
    assert ask(service.address(), b"a\nb\n") == b"ab"
    end(service)


def test_several_addresses_share_one_object_and_data(serving: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    service = serving(
        """
        class Count:
            def data(self, socket, data):
                seen = socket.server.data.setdefault("seen", [])
                seen.append(id(self))
                socket.write(f"{len(seen)} {len(set(seen))}")
        """,
        *("--bind", "127.0.0.1:0", "--bind", f"unix:{path}", "--bind", "[::1]:0"),
        target="service:Count",
    )
    assert ask(service.address()) == b"1 1"
    assert service.line() == f"listening on unix:{path}"
    assert service.line().startswith("listening on tcp://[::1]:")
    assert ask(str(path)) == b"2 1"
    end(service)
    assert not path.exists()


def test_a_framing_of_the_programs_own(serving: Serve) -> None:
    service = serving(
        """
        class Sentences:
            def decoder(self):
                return Decoder()

            def encode(self, message):
                return message + b"."

        class Decoder:
            rest = b""

            def feed(self, data):
                *messages, self.rest = (self.rest + data).split(b".")
                return messages

            def close(self):
                pass

        handlers = {"data": lambda socket, message: socket.write(b"<" + message + b">")}
        """,
        *("--framing", "service:Sentences"),
    )
    assert ask(service.address(), b"one.two.") == b"<one><two>"
    end(service)


def test_a_patched_program_blocks_nobody(serving: Serve) -> None:
    service = serving(
        """
        import threading, time
        gate = threading.Event()

        def data(socket, data):
            if data == b"wait":
                gate.wait()
            gate.set()
            socket.write(data)

        handlers = {"data": data}
        """,
        "--patch",
    )
    address = service.address()
    waiting = gevent.spawn(ask, address, b"wait")
    gevent.sleep(0.05)
    assert ask(address, b"go") == b"go"
    assert waiting.get(timeout=10) == b"wait"
    assert "Warning" not in end(service)


def test_the_limit_of_open_files_is_the_hard_one(serving: Serve) -> None:
    """Started with a low soft one, as shells and services are."""
    service = serving(
        "import resource\nprint(*resource.getrlimit(resource.RLIMIT_NOFILE))\n" + ECHO,
        wrapper=("sh", "-c", 'ulimit -S -n 100; exec "$0" "$@"'),
    )
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert service.line() == f"{hard} {hard}"
    service.address()
    end(service)


def test_a_port_that_is_taken_is_told(serving: Serve) -> None:
    first = serving(ECHO)
    host, port = first.address()
    second = serving(ECHO, "--bind", f"{host}:{port}")
    status, output, errors = second.finish()
    assert (status, output) == (1, "")
    assert errors == f"Error: Address already in use: cannot listen on tcp://{host}:{port}\n"
    end(first)


def test_a_service_whose_listeners_are_gone_ends_with_an_error(serving: Serve) -> None:
    service = serving("handlers = {'data': lambda socket, data: socket.server.close()}")
    assert ask(service.address()) == b""
    status, _, errors = service.finish()
    assert status == 1
    assert "ERROR greensock: nothing listens any more" in errors


# -- logging ---------------------------------------------------------------------------------------------


def test_it_logs_to_standard_error_and_connections_if_it_is_asked_to(serving: Serve) -> None:
    quiet = serving(ECHO)
    ask(quiet.address())
    assert "greensock.access" not in end(quiet)
    telling = serving(ECHO, "--access-log")
    ask(telling.address())
    line = telling.wait_for_error("INFO greensock.access: 127.0.0.1:")
    assert "read=1 written=1 eof" in line
    end(telling)


def test_a_program_that_sets_up_logging_has_it_its_way(serving: Serve) -> None:
    service = serving("import logging; logging.basicConfig(format='MINE %(message)s', level='INFO')\n" + ECHO)
    service.address()
    errors = end(service)
    assert errors == "MINE draining 0 connections, for 8 s at most\n"


def test_the_level_of_its_log(serving: Serve) -> None:
    service = serving(ECHO, "--log-level", "warning")
    service.address()
    assert end(service) == ""


# -- TLS -------------------------------------------------------------------------------------------------


def write_certificate(directory: Path, *names: str) -> None:
    issued = authority.issued(*names)
    (directory / "key.pem").write_bytes(issued.key)
    (directory / "cert.pem").write_bytes(issued.cert)


def names_of(address: tuple[str, int], hostname: str) -> set[str]:
    """Those in the certificate that is shown to who asks for *hostname*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.trust().decode())
    with socket.create_connection(address, 10) as plain, context.wrap_socket(plain, server_hostname=hostname) as peer:
        shown = peer.getpeercert()
        peer.unwrap()
    assert shown
    names: Any = shown["subjectAltName"]
    return {name for _, name in names}


def test_hup_renews_certificates_and_a_bad_one_changes_nothing(serving: Serve, tmp_path: Path) -> None:
    write_certificate(tmp_path, "old.example")
    service = serving(
        ECHO,
        *("--bind", "127.0.0.1:0", "--bind", "tcp://127.0.0.1:0"),
        *("--tls-cert", "cert.pem", "--tls-key", "key.pem", "--drain-timeout", "1"),
    )
    host, _, port = service.wait_for("listening on tls://").removeprefix("listening on tls://").rpartition(":")
    address = host, int(port)
    assert ask(service.address()) == b"?", "an address that says tcp:// speaks in clear"
    assert names_of(address, "old.example") == {"old.example"}
    write_certificate(tmp_path, "new.example")
    service.send(signal.SIGHUP)
    service.wait_for_error("reloaded service.py")
    wait_until(lambda: names_of(address, "new.example") == {"new.example"})
    (tmp_path / "cert.pem").write_text("no certificate")
    service.send(signal.SIGHUP)
    assert "ERROR" in service.wait_for_error("the certificates are not reloaded, the old ones go on: ")
    assert names_of(address, "new.example") == {"new.example"}
    end(service)


# -- under load ------------------------------------------------------------------------------------------

#: Says which version it is, in two pieces with a pause in between, so that half an answer would be seen.
VERSION = """
import gevent
VERSION = {number}

def data(socket, line):
    socket.write(b"%d " % VERSION)
    gevent.sleep(0)
    socket.write(line + b"\\n")

handlers = {{"data": data}}
"""

BROKEN = {
    "syntax": "x = (",
    "import": "import nowhere",
    "name": "handler = {}",
    "hangs": "import time; time.sleep(1000)",
    "events": "handlers = {'dta': print}",
}


class Load:
    """Connections that ask one question after the other and check every answer.

    Args:
        address: whom to ask.
        count: how many connections.
    """

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.answers = 0
        self.stopping = False
        #: the version in each connection's last answer
        self.versions = [0] * count
        self._greenlets = [gevent.spawn(self._ask, address, number) for number in range(count)]

    def _ask(self, address: tuple[str, int], number: int) -> None:
        with gevent.socket.create_connection(address, 10) as peer:
            peer.settimeout(20)
            answers = peer.makefile("rb")
            question = 0
            while not self.stopping:
                question += 1
                peer.sendall(b"%d.%d\n" % (number, question))
                version, _, echo = answers.readline().partition(b" ")
                assert echo == b"%d.%d\n" % (number, question), (version, echo)
                assert int(version) >= self.versions[number], "never again an old one"
                self.versions[number] = int(version)
                self.answers += 1
                gevent.sleep(0.02)

    def wait_for(self, version: int) -> None:
        """Until all have an answer of *version*."""
        wait_until(
            lambda: self.failed or set(self.versions) == {version}, timeout=20, what=f"version {version} for all"
        )
        assert not self.failed, self.failed

    def wait_for_more(self, count: int) -> None:
        """Until so many more answers have come."""
        goal = self.answers + count
        wait_until(lambda: self.failed or self.answers >= goal, timeout=20)

    @property
    def failed(self) -> list[BaseException]:
        """What went wrong in any of them."""
        return [greenlet.exception for greenlet in self._greenlets if greenlet.exception is not None]

    def stop(self) -> None:
        """End them, each after the answer that it waits for."""
        self.stopping = True
        gevent.joinall(self._greenlets, timeout=20, raise_error=True)


def test_edits_under_200_live_connections_lose_none_and_mix_nothing_up(serving: Serve) -> None:
    service = serving(VERSION.format(number=1), "--hot", "--framing", "lines")
    load = Load(service.address(), 200)
    load.wait_for(1)
    number = 1
    for kind, broken in BROKEN.items():
        service.edit(broken)
        if kind == "hangs":
            load.wait_for_more(1000)
        else:
            service.wait_for_error("ERROR greensock: nothing is reloaded, the old handlers go on:")
            load.wait_for_more(200)
        assert set(load.versions) == {number}, kind
        number += 1
        service.edit(VERSION.format(number=number))
        service.wait_for_error("INFO greensock: reloaded service.py")
        load.wait_for(number)
    load.stop()
    assert "ERROR" not in end(service), "each mistake is told once"


#: Notes which requests it has begun with, and says so at its end.
REQUESTS = """
import atexit, json, random
import gevent

begun = []
atexit.register(lambda: print(json.dumps(begun), flush=True))

def data(socket, line):
    begun.append(line.decode())
    gevent.sleep(random.random() * 0.02)
    socket.write(line * 500)
    gevent.sleep(random.random() * 0.01)
    socket.write(line * 500 + b"\\n")

handlers = {"data": data}
"""


class Requests:
    """Peers that send requests until the service is gone, on a connection each or on one for each request."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        #: requests whose answer came whole, and those whose answer was cut off
        self.answered: set[str] = set()
        self.cut_off: set[str] = set()
        self._address = address
        self.peers = [gevent.spawn(self._ask, number, number % 2 == 0) for number in range(count)]

    def _ask(self, peer: int, keeps: bool) -> None:
        request = 0
        while True:
            try:
                with gevent.socket.create_connection(self._address, 10) as connection:
                    connection.settimeout(20)
                    answers = connection.makefile("rb")
                    while True:
                        request += 1
                        name = f"{peer}.{request}."
                        connection.sendall(name.encode() + b"\n")
                        answer = answers.readline()
                        if answer == name.encode() * 1000 + b"\n":
                            self.answered.add(name)
                        elif answer:
                            self.cut_off.add(name)
                        else:
                            break  # a clean end without a word: it was not accepted
                        if not keeps:
                            break
            except ConnectionRefusedError:
                return
            except ConnectionError:
                pass  # a reset: it was not accepted either, or it will be missed


def drain_under_load(service: Serving, peers: int = 40) -> None:
    """Ask it, end it at any time, and see that every request that it has begun with was answered whole."""
    requests = Requests(service.address(), peers)
    wait_until(lambda: len(requests.answered) > peers)
    gevent.sleep(random.random() * 0.05)
    service.send(signal.SIGTERM)
    gevent.joinall(requests.peers, timeout=20, raise_error=True)
    status, output, errors = service.finish()
    assert status == 0, errors
    assert "ERROR" not in errors
    begun = set(json.loads(output))
    assert requests.cut_off == set()
    assert begun - requests.answered == set()
    assert len(begun) > peers


def test_every_request_that_was_accepted_is_answered_whole(serving: Serve) -> None:
    for _ in range(3):
        drain_under_load(serving(REQUESTS, "--framing", "lines"))


# -- supervised ------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[gevent.socket.socket]:
    """Where a service says how far it is."""
    with gevent.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(tmp_path / "notify"))
        receiving.settimeout(10)
        yield receiving


#: Runs a command with a descriptor as systemd passes it.
ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_sockets_of_systemd_are_served_instead_of_others(serving: Serve, manager: gevent.socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        number = passed.fileno()
        service = serving(
            f"import os\nprint([name for name in os.environ if name.startswith(('LISTEN_', 'NOTIFY_'))])\n{ECHO}",
            wrapper=(sys.executable, "-c", ACTIVATE, str(number)),
            pass_fds=(number,),
            env={"NOTIFY_SOCKET": manager.getsockname()},
        )
        address = passed.getsockname()
    assert service.line() == "[]"
    assert service.line() == f"listening on tcp://127.0.0.1:{address[1]}"
    assert manager.recv(100) == b"READY=1"
    assert ask(address) == b"?"
    service.send(signal.SIGHUP)
    assert manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert manager.recv(100) == b"READY=1"
    service.send(signal.SIGTERM)
    assert manager.recv(100) == b"STOPPING=1"
    end(service)


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd is not installed")
def test_systemds_own_activation(serving: Serve, tmp_path: Path) -> None:
    path = tmp_path / "activated"
    service = serving(ECHO, wrapper=("systemd-socket-activate", f"--listen={path}", "-E", "PYTHONPATH"))
    wait_until(path.exists)
    assert ask(str(path)) == b"?"
    service.wait_for(f"listening on unix:{path}")
    assert service.finish(signal.SIGTERM)[0] == 0


def test_systemds_watchdog_is_told_that_the_loop_turns(serving: Serve, manager: gevent.socket.socket) -> None:
    service = serving(ECHO, env={"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "100000"})
    assert manager.recv(100) == b"READY=1"
    assert [manager.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4
    end(service)


def status_of(path: Path, what: str) -> int:
    """The status of an answer by HTTP, on a unix socket; 0 if there is none."""
    try:
        answer = ask(str(path), f"GET {what} HTTP/1.0\r\n\r\n".encode())
    except OSError:
        return 0
    return int(answer.split()[1])


def test_ready_says_no_before_accepting_stops(serving: Serve, tmp_path: Path) -> None:
    stats = tmp_path / "stats"
    service = serving(ECHO, "--stats", f"unix:{stats}", "--drain-delay", "1.0")
    address = service.address()
    assert status_of(stats, "/ready") == 200
    service.send(signal.SIGTERM)
    wait_until(lambda: status_of(stats, "/ready") == 503)
    assert ask(address) == b"?"
    end(service)
    assert not stats.exists()


def test_stats_tell_of_the_loop_and_of_reloads(serving: Serve, tmp_path: Path) -> None:
    stats = tmp_path / "stats"
    service = serving(ECHO, "--stats", f"unix:{stats}")
    address = service.address()
    assert ask(address) == b"?"
    service.send(signal.SIGHUP)
    service.wait_for_error("reloaded")
    told = json.loads(ask(str(stats), b"GET /stats HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")[2])
    assert (told["ready"], told["pid"], told["reloads"], told["reload_failures"]) == (True, service.process.pid, 1, 0)
    assert told["loop_blocks"] == 0
    (server,) = told["servers"]
    assert (server["accepted"], server["bytes_read"]) == (1, 1)
    end(service)


# -- one after the other ---------------------------------------------------------------------------------


def test_two_share_a_port(serving: Serve) -> None:
    first = serving(ECHO, "--reuse-port")
    host, port = first.address()
    second = serving(ECHO, "--reuse-port", "--bind", f"{host}:{port}")
    assert second.address() == (host, port)
    end(first)
    assert ask((host, port)) == b"?"
    end(second)
