"""locust as its users run it: the load tests of ``loadtests/`` with the commands that they name, in one process and in
several, and locustfiles with ``SocketUser``. They run patched, as programs of their own."""

import ast
import csv
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from greensock.load.stats import Endpoint
from program import ROOT, TIMEOUT, Program

pytestmark = pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed")

SCENARIOS = ("echo", "pipeline", "push", "connect_storm", "tls", "slow_reader", "open_loop")


def commands_of(scenario: str) -> dict[str, list[str]]:
    """The commands in the docstring of a load test, by what they call."""
    docstring = ast.get_docstring(ast.parse((ROOT / "loadtests" / f"{scenario}.py").read_text(encoding="utf-8")))
    lines = [line.strip() for line in (docstring or "").splitlines() if line.startswith("    ")]
    return {words[0]: words for words in map(shlex.split, lines)}


def replaced(command: list[str], **options: str | None) -> list[str]:
    """*command* with other values for its options, or, for None, without them."""
    words = list(command)
    for name, value in options.items():
        option = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        if option in words:
            at = words.index(option)
            del words[at : at + 2]
        if value is not None:
            words += [option, value]
    return words


def start(command: list[str], folder: Path, **options: Any) -> "subprocess.Popen[str]":
    """Run *command* in *folder*, with the interpreter of the tests, as in a clean clone."""
    module = {"greensock": "greensock", "locust": "locust"}[command[0]]
    paths = [str(ROOT / word) if word.startswith("loadtests/") else word for word in command[1:]]
    paths = [
        ",".join(str(ROOT / part) for part in word.split(",")) if ",loadtests/" in word else word for word in paths
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-u", "-m", module, *paths]
    return subprocess.Popen(
        program, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL, start_new_session=True, **options
    )


def end(process: "subprocess.Popen[str]") -> None:
    with process:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended


@dataclass
class Service:
    """What a load test is made for, in a process of its own."""

    url: str
    stats: str

    def counted(self) -> dict[str, Any]:
        """What it has counted so far."""
        [server] = Endpoint(self.stats).fetch()
        return server


Serving = Callable[[list[str]], Service]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A function that runs a command ``greensock serve`` on free addresses. What it served ends with the test."""
    services: list[subprocess.Popen[str]] = []

    def serving(command: list[str]) -> Service:
        secure = "--tls-cert" in command
        stats = f"unix:{tmp_path}/stats{len(services)}"
        command = replaced(command, bind=f"{'tls' if secure else 'tcp'}://127.0.0.1:0", stats=stats)
        command[2] = str(ROOT / command[2])  # which an absolute path stays as it is
        services.append(start(command, tmp_path, stdout=subprocess.PIPE))
        assert services[-1].stdout
        url = services[-1].stdout.readline().removeprefix("listening on ").strip()
        return Service(url.replace("127.0.0.1", "localhost") if secure else url, stats)

    yield serving
    for process in services:
        end(process)


@dataclass
class Run:
    """One that is over."""

    status: int
    log: str
    rows: list[dict[str, Any]]

    def count(self, *types: str, answered: bool = False) -> int:
        """How many requests rows of these types have, or how many that were answered."""
        rows = [row for row in self.rows if row["method"] in types]
        return sum(row["num_requests"] - (row["num_failures"] if answered else 0) for row in rows)

    def agrees_with(self, server: dict[str, Any]) -> None:
        """Prove that both sides counted the same, to the message."""
        requests = ("TCP", "TLS", "UNIX")
        assert self.count("SEND", *requests) == server["messages_read"] > 0, self.log
        assert self.count("PUSH", *requests, answered=True) == server["messages_written"], self.log
        connects = [row for row in self.rows if row["name"].startswith("connect ")]
        assert sum(row["num_requests"] - row["num_failures"] for row in connects) == server["accepted"]
        assert (server["errors"], server["connections"]) == (0, 0)


def run(command: list[str], folder: Path, *, traceback: bool = False) -> Run:
    """Run a command ``locust`` to its end, which says a *traceback*, or does not."""
    output = folder / "rows"
    output.with_suffix(".json").unlink(missing_ok=True)
    process = start([*command, "--json-file", str(output)], folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        log, _ = process.communicate(timeout=TIMEOUT + 20)
    finally:
        end(process)
    path = output.with_suffix(".json")
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    assert ("Traceback" in log) is traceback, log
    return Run(process.returncode, log, rows)


def free_port() -> str:
    """One for a master of locust's: workers have to know it before it is bound."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def quick(command: list[str], service: Service, seconds: int = 1) -> list[str]:
    """The command of a load test against *service*, with few users and little time."""
    return replaced(command, u="8", r="100", t=str(seconds), H=service.url, gs_stats=service.stats)


# -- the load tests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_load_test_runs_by_its_command_and_both_sides_count_the_same(
    scenario: str, serving: Serving, tmp_path: Path
) -> None:
    commands = commands_of(scenario)
    assert commands.keys() - {"openssl"} == {"greensock", "locust"}
    if "openssl" in commands:
        subprocess.run(commands["openssl"], cwd=tmp_path, check=True, capture_output=True)
    service = serving(commands["greensock"])
    done = run(quick(commands["locust"], service), tmp_path)
    assert done.status == 0, done.log
    done.agrees_with(service.counted())
    assert not any(row["num_failures"] for row in done.rows)
    if scenario == "connect_storm":
        assert done.count("CONN") == done.count("TCP")
    if scenario == "tls":
        assert service.counted()["handshakes"] == sum(
            r["num_requests"] for r in done.rows if r["name"] == "handshake tls"
        )
    if scenario == "slow_reader":
        assert service.counted()["drains"] > 0, "nobody was slow"


def test_several_processes_count_the_same_as_the_server(serving: Serving, tmp_path: Path) -> None:
    commands = commands_of("echo")
    service = serving(commands["greensock"])
    port = free_port()
    several = ["--processes", "2", "--master-bind-port", port, "--master-port", port]
    done = run([*quick(commands["locust"], service), *several], tmp_path)
    assert done.status == 0, done.log
    done.agrees_with(service.counted())
    assert done.count("CONN") == 8


def test_a_master_with_two_workers_counts_the_same_and_asks_once(serving: Serving, tmp_path: Path) -> None:
    commands = commands_of("push")
    service = serving(commands["greensock"])
    port = free_port()
    worker = ["locust", "-f", "loadtests/push.py", "--worker", "--master-port", port]
    workers = [start(worker, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    master = [*("--master", "--expect-workers", "2", "--master-bind-port", port), "--csv", str(tmp_path / "run")]
    try:
        done = run([*quick(commands["locust"], service, 2), *master], tmp_path)
        logs = [process.communicate(timeout=TIMEOUT)[0] for process in workers]
    finally:
        for process in workers:
            end(process)
    assert done.status == 0, done.log
    assert [process.returncode for process in workers] == [0, 0], logs
    done.agrees_with(service.counted())
    assert 4 * done.count("SEND") < done.count("PUSH") <= 8 * done.count("SEND"), "some join while others speak"
    assert f"Server {service.url}: 8 connections accepted, " in done.log
    assert not any("Server " in log for log in logs), "the master tells, and its workers do not"
    rows = list(csv.DictReader((tmp_path / "run_server_history.csv").read_text().splitlines()))
    seconds = [row["Timestamp"] for row in rows]
    assert len(seconds) <= 2 * len(set(seconds)), "one asks, and not one for each worker"
    assert max(float(row["client_messages_per_s"]) for row in rows) > 8, "what the workers reported"


def test_steps_tell_what_each_of_them_gave(serving: Serving, tmp_path: Path) -> None:
    commands = commands_of("_step")
    service = serving(commands["greensock"])
    done = run(replaced(quick(commands["locust"], service, 5), u="10"), tmp_path)
    assert done.status == 0, done.log
    done.agrees_with(service.counted())
    _, table = done.log.split("Users   messages/s   p50, ms   p99, ms\n")
    steps = [line.split() for line in table.splitlines()[:5]]
    assert [int(step[0]) for step in steps] == [2, 4, 6, 8, 10]
    assert all(float(step[1].replace(",", "")) > 0 and float(step[2]) <= float(step[3]) for step in steps)


# -- the server's numbers, and thresholds ----------------------------------------------------------------


@pytest.fixture
def service(serving: Serving) -> Service:
    """An echo."""
    return serving(commands_of("echo")["greensock"])


def test_what_is_told_at_the_end_and_in_files(service: Service, tmp_path: Path) -> None:
    command = [*quick(commands_of("echo")["locust"], service, 2), "--csv", str(tmp_path / "run")]
    done = run([*command, "--gs-check-p99", "1000", "--gs-check-failures", "0"], tmp_path)
    assert done.status == 0, done.log
    server = service.counted()
    line = f"Server {service.url}: 8 connections accepted, {server['messages_read']:,} messages in, "
    assert line in done.log
    assert re.search(r"^Generator: at most \d+% of a core used by a locust process$", done.log, re.MULTILINE)
    _, table = done.log.split("Response times, ms")
    p50, *_ = re.search(r"^TCP +echo +(\S+) +(\S+) +(\S+) +(\S+) +(\S+)$", table, re.MULTILINE).groups()  # type: ignore[union-attr]
    assert re.fullmatch(r"\d+\.\d\d", p50) and float(p50) > 0, "locust's own table says 0"
    names = {path.name for path in tmp_path.glob("run_*")}
    assert names >= {"run_stats.csv", "run_server.csv", "run_server_history.csv"}
    [row] = csv.DictReader((tmp_path / "run_server.csv").read_text().splitlines())
    assert int(row["messages_read"]) == server["messages_read"]
    assert "greensock.access" not in done.log, "connections of clients are no lines of the log"


def test_thresholds_that_are_crossed_make_the_exit_status(service: Service, tmp_path: Path) -> None:
    checks = ["--gs-check-p99", "echo=0.001", "--gs-check-server-buffered", "1000"]
    done = run([*quick(commands_of("echo")["locust"], service), *checks], tmp_path)
    assert done.status == 3, done.log
    crossed = [line.rpartition("threshold crossed: ")[2] for line in done.log.splitlines() if "crossed" in line]
    assert len(crossed) == 1
    assert crossed[0].startswith("99 % of TCP echo took up to") and crossed[0].endswith("more than 0.001")


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--gs-check-server-buffered", "1"], 1, "locust: --gs-check-server-buffered needs the server's numbers"),
        (["--gs-stats", "nowhere"], 2, "argument --gs-stats: bad address 'nowhere'"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(arguments: list[str], status: int, told: str, tmp_path: Path) -> None:
    command = ["locust", "-f", "loadtests/echo.py", "--headless", "-t", "1", *arguments]
    done = run(command, tmp_path)
    assert told in done.log
    assert done.status == status, done.log


def test_a_host_that_cannot_be_stops_the_test(tmp_path: Path) -> None:
    command = ["locust", "-f", "loadtests/echo.py", "--headless", "-t", "9", "-H", "http://127.0.0.1:1"]
    done = run(command, tmp_path, traceback=True)  # of gevent's and locust's
    assert "ERROR/locust.runners: EchoUser: bad address 'http://127.0.0.1:1': unknown scheme 'http'" in done.log
    assert done.status == 1, "locust alone would end with 0"


def test_a_service_that_is_not_there_is_in_the_statistics(tmp_path: Path) -> None:
    command = replaced(commands_of("echo")["locust"], u="2", t="1", H=f"tcp://127.0.0.1:{free_port()}", gs_stats=None)
    done = run([*command, "--gs-stats", f"127.0.0.1:{free_port()}"], tmp_path)
    assert done.status == 1
    assert {row["method"] for row in done.rows} == {"CONN"}
    assert done.count("CONN") > 2 and done.count("CONN", answered=True) == 0
    assert done.log.count("the server's numbers are missing") == 1
    assert "Server: [Errno 111] cannot connect to" in done.log


# -- locustfiles -----------------------------------------------------------------------------------------


def locustfile(folder: Path, text: str, name: str = "locustfile.py") -> list[str]:
    """A command that runs *text*."""
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return ["locust", "-f", str(path), "--headless", "-u", "5", "-r", "100", "-t", "1"]


@pytest.mark.parametrize("patched", [True, False])
def test_a_user_works_patched_and_unpatched_and_patches_nothing(
    patched: bool, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not patched:
        monkeypatch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    text = """
        import gevent.monkey
        from locust import task
        from greensock.locust import SocketUser
        print("patched:", gevent.monkey.is_module_patched("socket"), flush=True)

        class EchoUser(SocketUser):
            @task
            def echo(self):
                for number in range(10):
                    assert self.client.exchange(b"%d" % number) == b"%d" % number
    """
    done = run([*locustfile(tmp_path, text), "-s", "5", "-H", service.url], tmp_path)
    assert f"patched: {patched}" in done.log
    assert done.status == 0, done.log
    done.agrees_with(service.counted())


def test_requests_that_are_cut_off_at_the_end_are_told_apart(service: Service, tmp_path: Path) -> None:
    """Without --stop-timeout users are killed wherever they are: the server has counted what they had asked."""
    text = """
        from locust import task
        from greensock.locust import SocketUser, install
        install()

        class EchoUser(SocketUser):
            @task
            def echo(self):
                while True:
                    self.client.exchange(b"hello")
    """
    done = run([*locustfile(tmp_path, text), "-H", service.url, "--gs-stats", service.stats], tmp_path)
    assert done.status == 0, done.log
    told = re.search(r"^Generator: (\d+) requests unanswered when their users were killed", done.log, re.MULTILINE)
    aborted = int(told[1]) if told else 0
    assert service.counted()["messages_read"] == done.count("TCP") + aborted
    assert 1 <= aborted <= 5


def test_several_locustfiles_may_install_it(service: Service, tmp_path: Path) -> None:
    users = """
        from locust import task
        from greensock.locust import SocketUser, fine_buckets, install
        install({stats!r})
        fine_buckets()

        class {name}(SocketUser):
            @task
            def echo(self):
                self.client.exchange(b"hello", name="{name}")
    """
    first = locustfile(tmp_path, users.format(name="First", stats=service.stats), "first.py")
    locustfile(tmp_path, users.format(name="Second", stats=service.stats), "second.py")
    first[2] += f",{tmp_path / 'second.py'}"
    done = run([*first, "-s", "5", "-H", service.url], tmp_path)
    assert done.status == 0, done.log
    done.agrees_with(service.counted())
    assert {row["name"] for row in done.rows} == {"connect tcp", "First", "Second"}
    assert done.log.count(f"Server {service.url}") == done.log.count("Response times, ms") == 1


def test_without_locust_the_import_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['locust'] = None; import greensock.locust"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: greensock.locust needs locust: install it as greensock[locust]"
    )


@pytest.fixture
def faulty() -> Iterator[str]:
    """The url of an echo that gives a wrong reply, none, and half of one, on two connections, and then behaves."""

    def serve() -> None:
        for behave in (turn_a_bit_and_be_silent, break_off, echo_on):
            try:
                peer, _ = listener.accept()
            except OSError:
                return  # the test is over
            with peer:
                behave(peer)

    def turn_a_bit_and_be_silent(peer: socket.socket) -> None:
        message = peer.recv(64)
        peer.sendall(bytes([message[0] ^ 1]) + message[1:])
        peer.recv(64)

    def break_off(peer: socket.socket) -> None:
        peer.sendall(peer.recv(64)[:63])

    def echo_on(peer: socket.socket) -> None:
        while message := peer.recv(64):
            peer.sendall(message)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)  # wakes a blocked accept
        thread.join(TIMEOUT)


def test_each_kind_of_failure_is_counted_and_the_user_goes_on(faulty: str, tmp_path: Path) -> None:
    command = replaced(commands_of("echo")["locust"], u="1", t="1", H=faulty, gs_stats=None)
    done = run(command, tmp_path)
    assert done.status == 1
    [exchanges] = [row for row in done.rows if row["method"] == "TCP"]
    assert exchanges["num_failures"] == 3 < exchanges["num_requests"]
    assert done.count("CONN", answered=True) == 3


# -- the README ------------------------------------------------------------------------------------------


def test_the_section_for_load_testers_leads_to_numbers_of_ones_own_service(serving: Serving, tmp_path: Path) -> None:
    """Its files, under the names that it gives them, and its commands."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Load testing a service\n")[2].partition("\n## ")[0]
    service, test = re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    (tmp_path / "prices.py").write_text(service, encoding="utf-8")
    (tmp_path / "traders.py").write_text(test, encoding="utf-8")
    commands = [shlex.split(line) for line in re.findall(r"^\$ (.*)$", section, re.MULTILINE)]
    install, serve, locust = commands
    assert install[:2] == ["pip", "install"]
    serve[2] = f"{tmp_path}/{serve[2]}"
    running = serving(serve)
    done = run([*quick(locust, running), "--headless", "-s", "5"], tmp_path)
    assert done.status == 0, done.log
    done.agrees_with(running.counted())
    assert {row["name"] for row in done.rows} == {"connect tcp", "get"}


# -- the demo --------------------------------------------------------------------------------------------


def test_the_demo_prints_its_table_and_succeeds(no_leaks: None) -> None:
    demo = Program("loadtests/demo.py", "--seconds", "1", "--users", "3")
    try:
        status, output, errors = demo.finish()
    finally:
        demo.kill()
    assert (status, errors) == (0, ""), output
    for row in ("CONN connect tcp", "TCP echo", "messages to the server", "server: drains"):
        assert f"│ {row} " in output
    assert output.count("counted the same") == 3 and "IT COUNTED" not in output


def test_an_interrupted_demo_ends_without_a_traceback(no_leaks: None) -> None:
    demo = Program("loadtests/demo.py", "--seconds", "60", "--users", "3")
    try:
        while "messages/s" not in demo.line():
            pass
        status, _, errors = demo.finish(signal.SIGINT)
    finally:
        demo.kill()
    assert (status, errors) == (130, "interrupted\n")
