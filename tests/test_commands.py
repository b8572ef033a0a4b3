"""The commands as a person types them: help, usage, mistakes, and what they print into a pipe and on a terminal."""

import json
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import pytest

import greensock
from greensock.serve.settings import SETTINGS
from program import ROOT, TIMEOUT, Serve, run

COMMANDS = ["serve", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help_with_an_example(command: str, flag: str) -> None:
    status, output, errors = run(command, flag)
    assert (status, errors) == (0, "")
    assert output.startswith(f"Usage: greensock {command} [OPTIONS] [TARGET]\n")
    assert f"\n    greensock {command} shop.chat:Chat" in output


def test_the_program_has_help_with_an_example_and_names_the_commands() -> None:
    status, output, errors = run("--help")
    assert (status, errors) == (0, "")
    assert "Example: greensock serve service.py" in output
    assert all(f"\n  {command} " in output for command in COMMANDS)


def test_every_setting_is_an_option_save_what_is_secret() -> None:
    _, output, _ = run("serve", "--help")
    for setting in SETTINGS.values():
        if setting.name != "target":
            assert (f" {setting.flag} " in output) is not setting.secret
    assert "--no-no-" not in output


def test_help_is_quick() -> None:
    """In CPU time, which does not depend on what else this machine does."""
    program = "import os, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); t = os.times()"
    measured = [
        subprocess.run(
            [sys.executable, "-c", f"{program}; print(t[2] + t[3])", sys.executable, "-m", "greensock", "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(3)
    ]
    assert min(map(float, measured)) < 0.3


def test_the_version() -> None:
    assert run("--version") == (0, f"greensock, version {greensock.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "Error: Missing argument 'TARGET'. There is none in greensock.toml or GREENSOCK_TARGET either."),
        (["serve", "a", "b"], "Error: Got unexpected extra argument (b)"),
        (["serve", "a", "--bind"], "'--bind' requires an argument."),
        (["serve", "a", "--bnd", "x:1"], "--bnd"),
        (
            ["serve", "a", "--bind", "x"],
            "--bind: bind must be an address, not 'x': bad address 'x': the port is missing",
        ),
        (["serve", "a", "--idle-timeout", "soon"], "idle_timeout must be a number of seconds, or 'none', not 'soon'"),
        (["serve", "a", "--config", "nowhere.toml"], "Error: there is no file 'nowhere.toml'"),
        (["doctor", "a", "b"], "Error: Got unexpected extra argument (b)"),
        (["sevre"], "Error: No such command 'sevre'"),
    ],
)
def test_a_mistake_is_a_usage_line_and_status_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    status, output, errors = run(*arguments, cwd=tmp_path)
    assert (status, output) == (2, "")
    assert errors.startswith("Usage: greensock ")
    assert message in errors
    assert "Traceback" not in errors


def test_without_a_command_there_is_a_usage_line() -> None:
    status, output, errors = run()
    assert status == 2
    assert "Usage: greensock [OPTIONS] COMMAND" in output + errors


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("x = (", [], "SyntaxError: '(' was never closed"),
        ("handler = {}", [], "service.py has no 'handlers'; it has handler"),
        (
            "handlers = {'data': print}",
            ["--bind", "unix:/nowhere/x"],
            "No such file or directory: cannot listen on unix:",
        ),
        ("handlers = {'data': print}", ["--framing", "service:nothing"], "has no 'nothing'"),
        ("handlers = {'data': print}\nno = 1", ["--framing", "service:no"], "framing must be a framing such as"),
        (
            "handlers = {'data': print}",
            ["--tls-cert", "c.pem", "--tls-key", "k.pem"],
            "key cannot be read from 'k.pem': No such file or directory",
        ),
    ],
)
def test_what_cannot_be_served_is_told_and_status_1(
    text: str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "service.py").write_text(text)
    status, output, errors = run("serve", "service.py", *arguments, cwd=tmp_path)
    assert (status, output) == (1, "")
    assert message in errors
    assert "Traceback" not in errors


def test_print_config_prints_a_file_and_where_each_value_is_from(tmp_path: Path) -> None:
    (tmp_path / "greensock.toml").write_text("backlog = 5\n")
    environ = {"GREENSOCK_IDLE_TIMEOUT": "60"}
    status, output, errors = run("serve", "a:b", "--hot", "--print-config", cwd=tmp_path, env=environ)
    assert (status, errors) == (0, "")
    assert tomllib.loads(output)["bind"] == ["127.0.0.1:8080"]
    lines = {line.split(" = ")[0]: line.partition(" = ")[2] for line in output.splitlines()}
    assert lines["target"].split(" # ") == ['"a:b"                          ', "the command line, TARGET"]
    assert lines["hot"].endswith("# the command line, --hot")
    assert lines["backlog"].endswith("# greensock.toml")
    assert lines["idle_timeout"].endswith("# the environment, GREENSOCK_IDLE_TIMEOUT")
    assert lines["keepalive"].endswith("# default")


# -- doctor ----------------------------------------------------------------------------------------------


def test_the_doctor_looks_at_a_program(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("from time import sleep\nhandlers = {'data': print}\n")
    status, output, errors = run("doctor", "service.py", "--json", cwd=tmp_path)
    assert (status in (0, 1), errors) == (True, "")
    assert json.loads(output)["patched"] == []
    status, output, errors = run("doctor", "service.py", "--patch", "--json", cwd=tmp_path)
    told = json.loads(output)
    assert "time" in told["patched"]
    assert not [finding for finding in told["findings"] if finding["about"] == "patching"], "it is patched in time"
    status, output, errors = run("doctor", "service.py", cwd=tmp_path)
    assert output.startswith("greensock doctor: ")
    assert "\x1b" not in output


def test_the_doctor_looks_at_what_there_is_without_one(tmp_path: Path) -> None:
    status, output, errors = run("doctor", cwd=tmp_path)
    assert (status in (0, 1), errors) == (True, "")
    assert f"gevent {__import__('gevent').__version__}" in output


def test_a_program_that_the_doctor_cannot_import(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("1 / 0")
    status, output, errors = run("doctor", "service.py", cwd=tmp_path)
    assert (status, output) == (1, "")
    assert "ZeroDivisionError" in errors


# -- pipes and terminals ---------------------------------------------------------------------------------


def test_into_a_pipe_it_says_a_line_at_once_and_in_plain_text(serving: Serve) -> None:
    service = serving("handlers = {'data': print}", "--bind", "127.0.0.1:0", "--bind", "127.0.0.1:0")
    lines = [service.line(), service.line()]
    assert all(line.startswith("listening on tcp://127.0.0.1:") for line in lines)
    status, output, errors = service.finish(signal.SIGTERM)
    assert (status, output) == (0, "")
    assert "\x1b" not in errors


def test_a_reader_that_has_gone_does_not_hurt(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m greensock serve --help | true", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr


class Terminal:
    """A terminal as a person has it in front of him, by tmux."""

    def __init__(self, directory: Path) -> None:
        self._tmux = ["tmux", "-S", str(directory / "tmux"), "-f", "/dev/null"]
        subprocess.run(
            [*self._tmux, "new-session", "-d", "-x", "120", "-y", "50", "-c", str(directory), "sh"],
            check=True,
            env={"PATH": "/usr/bin:/bin", "TERM": "xterm", "PYTHONPATH": str(ROOT), "PS1": "$ "},
        )

    def type(self, text: str) -> None:
        subprocess.run([*self._tmux, "send-keys", text, "Enter"], check=True)

    def press(self, key: str) -> None:
        subprocess.run([*self._tmux, "send-keys", key], check=True)

    def screen(self) -> str:
        done = subprocess.run([*self._tmux, "capture-pane", "-p"], check=True, capture_output=True, text=True)
        return done.stdout

    def wait_for(self, words: str) -> str:
        """The screen as soon as *words* are on it."""
        deadline = monotonic() + TIMEOUT
        while words not in (screen := self.screen()):
            assert monotonic() < deadline, f"{words!r} never came:\n{screen}"
            sleep(0.05)
        return screen

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False)


@pytest.fixture
def terminal(no_leaks: None, tmp_path: Path) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


def test_a_session_at_a_terminal(terminal: Terminal, tmp_path: Path) -> None:
    """Serve, edit, make a mistake, mend it, press Ctrl-C."""
    service = tmp_path / "service.py"
    service.write_text("def data(socket, data):\n    socket.write(b'one')\n\nhandlers = {'data': data}\n")
    terminal.type(f"{sys.executable} -m greensock serve service.py --hot --bind 127.0.0.1:0")
    terminal.wait_for("listening on tcp://127.0.0.1:")
    service.write_text("def data(socket, data):\n    socket.write(b'two'\n\nhandlers = {'data': data}\n")
    screen = terminal.wait_for("SyntaxError: '(' was never closed")
    assert "nothing is reloaded, the old handlers go on:" in screen
    assert "    socket.write(b'two'\n" in screen
    service.write_text("def data(socket, data):\n    socket.write(b'two')\n\nhandlers = {'data': data}\n")
    terminal.wait_for("reloaded service.py")
    terminal.press("C-c")
    screen = terminal.wait_for("draining 0 connections")
    terminal.type("echo status $?")
    screen = terminal.wait_for("status 0")
    assert "Traceback" not in screen
    assert screen.count("SyntaxError") == 1
