"""Which libraries block: real ones where they can be had, and the names of the others."""

import ctypes.util
import importlib.util
import json
import textwrap
from typing import Any

import pytest

from greensock import drivers
from program import Launch

SHOW = """
import dataclasses, json
from greensock import drivers
print(json.dumps([dataclasses.asdict(driver) for driver in drivers.blocking()]))
"""
PATCH = "from gevent import monkey; monkey.patch_all()\n"


def seen_by(launch: Launch, text: str) -> dict[str, dict[str, Any]]:
    status, output, errors = launch(textwrap.dedent(text) + SHOW).finish()
    assert (status, errors) == (0, "")
    return {driver["name"]: driver for driver in json.loads(output)}


needs_psycopg2 = pytest.mark.skipif(not importlib.util.find_spec("psycopg2"), reason="psycopg2 is not installed")
needs_psycopg = pytest.mark.skipif(not importlib.util.find_spec("psycopg"), reason="psycopg is not installed")
needs_pymysql = pytest.mark.skipif(not importlib.util.find_spec("pymysql"), reason="PyMySQL is not installed")


def test_a_program_without_drivers_has_none(launch: Launch) -> None:
    assert seen_by(launch, "") == seen_by(launch, PATCH) == {}


@needs_psycopg2
def test_psycopg2_blocks_until_it_has_a_wait_callback(launch: Launch) -> None:
    seen = seen_by(launch, PATCH + "import psycopg2")
    assert "libpq" in seen["psycopg2"]["why"] and "psycogreen" in seen["psycopg2"]["instead"]
    assert seen["psycopg2"]["certain"]
    seen = seen_by(launch, PATCH + "import psycopg2.extensions; psycopg2.extensions.set_wait_callback(print)")
    assert seen == {}


@needs_psycopg
def test_psycopg_waits_by_python_only_if_select_was_patched_before(launch: Launch) -> None:
    assert seen_by(launch, PATCH + "import psycopg") == {}
    late = "import warnings; warnings.simplefilter('ignore')\nimport psycopg\n" + PATCH
    assert "before the select module was patched" in seen_by(launch, late)["psycopg"]["why"]
    assert "psycopg" in seen_by(launch, "import psycopg")


@needs_psycopg
@pytest.mark.skipif(not ctypes.util.find_library("pq"), reason="psycopg without its binaries needs libpq")
def test_psycopg_in_python_alone_needs_patching(launch: Launch) -> None:
    python = "import os; os.environ['PSYCOPG_IMPL'] = 'python'; os.environ['PSYCOPG_WAIT_FUNC'] = 'wait_poll'\n"
    assert "not patched" in seen_by(launch, python + "import psycopg")["psycopg"]["why"]
    assert seen_by(launch, python + PATCH + "import psycopg") == {}


@needs_pymysql
def test_drivers_in_python_need_patching(launch: Launch) -> None:
    assert "monkey.patch_all()" in seen_by(launch, "import pymysql")["pymysql"]["instead"]
    assert seen_by(launch, PATCH + "import pymysql") == {}


@pytest.mark.parametrize("name", [*drivers._IN_C, "grpc"])
def test_drivers_in_c_are_known_by_name(launch: Launch, name: str) -> None:
    """Names alone: these need libraries of their own, and most of them a server, to be imported."""
    seen = seen_by(launch, PATCH + f"import sys, types; sys.modules[{name!r}] = types.ModuleType({name!r})")
    assert list(seen) == [name]
    assert seen[name]["certain"] is (name != "grpc")


def test_the_driver_of_mysql_may_have_been_told_to_use_python(launch: Launch) -> None:
    seen = seen_by(launch, PATCH + "import sys, types; sys.modules['_mysql_connector'] = types.ModuleType('_')")
    assert not seen["mysql.connector"]["certain"]


def test_zmq_is_fine_in_green(launch: Launch) -> None:
    pytest.importorskip("zmq")
    assert "zmq.green" in seen_by(launch, "import zmq")["zmq"]["instead"]
    assert seen_by(launch, "import zmq.green") == {}
