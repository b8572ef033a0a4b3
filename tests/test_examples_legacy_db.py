"""``examples/legacy_db.py`` with a real PostgreSQL and a real MariaDB."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

import services
from greensock.testing import Peer, wait_until
from program import Launch, Program

pytest.importorskip("psycopg")
pytest.importorskip("pymysql")

CLIENTS = 200


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, str]]:
    """Both, and how a program is told of them."""
    with services.postgresql() as postgresql, services.mariadb() as mariadb:
        yield {"POSTGRESQL": postgresql, "MARIADB": mariadb}


@pytest.fixture
def serving(example: Launch, databases: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Program:
    for name, value in databases.items():
        monkeypatch.setenv(name, value)
    return example("legacy_db", "127.0.0.1:0")


def ask(address: Any, question: bytes) -> bytes:
    with Peer(address) as peer:
        peer.socket.settimeout(40)
        peer.send(question)
        peer.finish()
        return peer.read_to_end()


def test_both_databases_answer(serving: Program) -> None:
    answers = ask(serving.address(), b"postgresql 0\nmariadb 0\noracle 1\n\npostgresql -\n").decode().splitlines()
    assert re.fullmatch(r"postgresql \d+\.\d+", answers[0])
    assert re.fullmatch(r"mariadb \d+\.\d+\.\d+", answers[1])
    assert answers[2:] == [
        "KeyError: 'oracle'",
        "ValueError: not enough values to unpack (expected 2, got 0)",
        "ValueError: could not convert string to float: '-'",
    ]


@pytest.mark.parametrize("database", ["postgresql", "mariadb"])
def test_all_clients_share_the_time_of_one_slow_query(serving: Program, database: str) -> None:
    address = serving.address()
    ask(address, b"%s 0\n" % database.encode())
    began = time.monotonic()
    asking = [gevent.spawn(ask, address, b"%s 1\n" % database.encode()) for _ in range(CLIENTS)]
    gevent.joinall(asking, timeout=45, raise_error=True)
    took = time.monotonic() - began
    assert all((greenlet.value or b"").startswith(database.encode() + b" ") for greenlet in asking)
    assert took < 15, f"{CLIENTS} queries of a second each took {took:.1f} s"


def test_the_database_sees_them_all_at_once(serving: Program, databases: dict[str, str]) -> None:
    """Asked by psql, while they wait."""
    address = serving.address()
    count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(%' AND pid <> pg_backend_pid()"
    command = [services.need("psql", "postgresql-client"), databases["POSTGRESQL"], "--tuples-only", "--command", count]

    def sleeping() -> int:
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    asking = [gevent.spawn(ask, address, b"postgresql 2\n") for _ in range(20)]
    wait_until(lambda: sleeping() == 20, timeout=20, what="20 queries at once in PostgreSQL")
    gevent.joinall(asking, timeout=20, raise_error=True)


def test_it_waits_for_its_queries_when_it_is_told_to_end(serving: Program) -> None:
    address = serving.address()
    with Peer(address) as peer:
        peer.send(b"postgresql 0\n")
        peer.read()
        peer.send(b"mariadb 0.5\n")
        gevent.sleep(0.1)
        serving.send(signal.SIGTERM)
        assert peer.read_to_end().startswith(b"mariadb ")
    assert serving.finish() == (0, "", "")
    assert "POSTGRESQL" in os.environ
