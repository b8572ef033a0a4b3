"""Libraries that wait outside of gevent's sight, so that one query stops every connection; and when they do not."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gevent import monkey

#: They wait in C, and nothing can be done about it from outside: the import name, and what to do instead.
_IN_C: Final = {
    "MySQLdb": "use PyMySQL, which has the same interface",
    "asyncpg": "it needs asyncio; use psycopg",
    "confluent_kafka": "use kafka-python, or call it by gevent.get_hub().threadpool.apply()",
    "cx_Oracle": "use oracledb in its thin mode",
    "ibm_db": "call it by gevent.get_hub().threadpool.apply()",
    "ldap": "use ldap3",
    "pycurl": "use requests or urllib3",
    "pylibmc": "use pymemcache",
    "pymssql": "call it by gevent.get_hub().threadpool.apply()",
    "pyodbc": "call it by gevent.get_hub().threadpool.apply()",
}

#: They wait by the standard library, and so need it patched.
_IN_PYTHON: Final = (
    *("httpx", "kafka", "ldap3", "oracledb", "paramiko", "pg8000", "pika", "pymemcache", "pymongo", "pymysql"),
    *("redis", "requests", "urllib3"),
)


@dataclass(frozen=True, slots=True)
class Driver:
    """A library that was imported and blocks.

    Attributes:
        name: what is imported.
        why: what makes it block.
        instead: what to do about it.
        certain: False if it can be told otherwise in a way that cannot be seen from here.
    """

    name: str
    why: str
    instead: str
    certain: bool = True


def blocking() -> list[Driver]:
    """Those that this process has imported and that block its hub. Imports nothing."""
    return sorted(_blocking(), key=lambda driver: driver.name)


def _blocking() -> Iterator[Driver]:
    for name, instead in _IN_C.items():
        if name in sys.modules:
            yield Driver(name, "it waits in C code, where gevent cannot see it", instead)
    if not monkey.is_module_patched("socket"):
        for name in _IN_PYTHON:
            if name in sys.modules:
                yield Driver(name, "it waits by the standard library, which is not patched here", _PATCH)
    yield from _psycopg2()
    yield from _psycopg()
    if "grpc" in sys.modules:
        yield Driver(
            "grpc",
            "it waits in C code, unless it was told of gevent",
            "call grpc.experimental.gevent.init_gevent() before the first channel",
            certain=False,
        )
    if "_mysql_connector" in sys.modules:
        why = "it waits in C code, unless it was told not to"
        yield Driver("mysql.connector", why, "connect with use_pure=True, or use PyMySQL", certain=False)
    if "zmq" in sys.modules and "zmq.green" not in sys.modules:
        yield Driver("zmq", "it waits in C code, unless in threads of its own", "use zmq.green instead", certain=False)


_PATCH: Final = "begin the program with: from gevent import monkey; monkey.patch_all()"


def _psycopg2() -> Iterator[Driver]:
    extensions = sys.modules.get("psycopg2.extensions")
    if extensions is not None and extensions.get_wait_callback() is None:
        yield Driver(
            "psycopg2",
            "it waits in libpq, and no wait callback is set",
            "call psycogreen.gevent.patch_psycopg(), or use psycopg 3",
        )


def _psycopg() -> Iterator[Driver]:
    waiting = sys.modules.get("psycopg.waiting")
    if waiting is None:
        return
    if waiting.wait is getattr(waiting, "wait_c", None):
        why = "it waits in C code: it was imported before the select module was patched"
        yield Driver("psycopg", why, "patch first, then import psycopg (3.1.14 or newer)")
    elif not monkey.is_module_patched("select"):
        yield Driver("psycopg", "it waits by the standard library, which is not patched here", _PATCH)
