"""Databases for tests: real ones, each in a directory of its own, reached by a unix socket, and gone afterwards."""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

#: Seconds in which a database has started or stopped.
TIMEOUT = 60.0

#: So many clients a database admits: its default is about 100.
CLIENTS = 400


def need(program: str, package: str) -> str:
    """Where *program* is. A test that needs it is skipped where it is not, save in CI."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/lib/postgresql/bin")
    if found is None:  # Debian has a directory for each version of PostgreSQL
        found = max(glob.glob(f"/usr/lib/postgresql/*/bin/{program}"), default=None)
    if found is None:
        if "CI" in os.environ:
            raise RuntimeError(f"{program} has to be installed (Debian: {package})")
        pytest.skip(f"{program} is not installed (Debian: {package})")
    return found


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL server; gives the string to connect with."""
    initdb, server = need("initdb", "postgresql"), need("postgres", "postgresql")
    with _directory("postgres") as (directory, user):
        options = ["--pgdata", "data", "--username", "test", "--auth", "trust", "--no-sync", "--no-instructions"]
        _run([initdb, *options], directory, user)
        settings = [
            *("listen_addresses=", f"unix_socket_directories={directory}", f"max_connections={CLIENTS}"),
            *("fsync=off", "shared_buffers=16MB", "logging_collector=off"),
        ]
        command = [server, "-D", "data", *(part for setting in settings for part in ("-c", setting))]
        with _running(command, directory, user, Path(directory, ".s.PGSQL.5432")):
            yield f"host={directory} port=5432 user=test dbname=postgres"


@contextmanager
def mariadb() -> Iterator[str]:
    """A MariaDB server; gives the path of its socket. User ``root`` has no password."""
    install, server = need("mariadb-install-db", "mariadb-server"), need("mariadbd", "mariadb-server")
    with _directory("mysql") as (directory, user):
        data = f"--datadir={directory}/data"
        _run(
            [install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"],
            directory,
            user,
        )
        path = Path(directory, "socket")
        settings = [
            *("--skip-networking", f"--socket={path}", f"--max-connections={CLIENTS}", "--pid-file=pid"),
            f"--back-log={CLIENTS}",
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--skip-log-bin"),
        ]
        with _running([server, "--no-defaults", data, *settings], directory, user, path):
            yield str(path)


@contextmanager
def redis() -> Iterator[str]:
    """A Redis server; gives the path of its socket."""
    server = need("redis-server", "redis-server")
    with _directory("redis") as (directory, user):
        path = Path(directory, "socket")
        settings = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", directory]
        with _running([server, *settings], directory, user, path):
            yield str(path)


@contextmanager
def _directory(user: str) -> Iterator[tuple[str, str | None]]:
    """A directory with a short name, as unix sockets need it, and whose it is: databases refuse to run as root."""
    directory = tempfile.mkdtemp(prefix="gs-", dir="/tmp")
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(user)
            os.chown(directory, owner.pw_uid, owner.pw_gid)
            yield directory, user
        else:
            yield directory, None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _as(user: str | None) -> dict[str, Any]:
    return {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _run(command: list[str], directory: str, user: str | None) -> None:
    done = subprocess.run(command, cwd=directory, **_as(user), capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def _running(command: list[str], directory: str, user: str | None, socket: Path) -> Iterator[None]:
    """Run the server until the end of the block, which begins when its *socket* is there."""
    log = Path(directory, "log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=directory, **_as(user), stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = monotonic() + TIMEOUT
        while not socket.exists():
            assert process.poll() is None and monotonic() < deadline, log.read_text(errors="replace")
            sleep(0.05)
        yield
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT if "postgres" in command[0] else signal.SIGTERM)
        try:
            process.wait(TIMEOUT)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
