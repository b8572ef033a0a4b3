"""``greensock.doctor()``: data that a program can use, and text that people can."""

import importlib.util
import json
import sys
import textwrap
from typing import Any

import gevent
import pytest

import greensock
from greensock.doctor import Finding, Report, Severity
from program import Launch

SHOW = """
import json, greensock
print(json.dumps(greensock.doctor().as_dict()))
"""
IGNORE = "import warnings; warnings.simplefilter('ignore')\n"
PATCH = "from gevent import monkey; monkey.patch_all()\n"


def report(launch: Launch, text: str) -> dict[str, Any]:
    status, output, errors = launch(textwrap.dedent(text) + SHOW).finish()
    assert (status, errors) == (0, "")
    found: dict[str, Any] = json.loads(output)
    return found


def about(topic: str, report: dict[str, Any]) -> list[tuple[str, str]]:
    return [(found["severity"], found["subject"]) for found in report["findings"] if found["about"] == topic]


def test_it_knows_what_this_process_stands_on() -> None:
    seen = greensock.doctor()
    assert seen.versions["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert seen.versions["gevent"] == gevent.__version__
    assert seen.versions["loop"] is not None and "libev" in seen.versions["loop"]
    openssl = seen.versions["OpenSSL"]
    assert openssl is not None and openssl.startswith(("1.1.", "3.", "4."))
    assert seen.patched == ()


def test_an_unpatched_program_is_fine_and_is_told_what_that_means(launch: Launch) -> None:
    seen = report(launch, "")
    assert seen["patched"] == []
    assert about("patching", seen) == [("note", "gevent.monkey")]
    assert about("driver", seen) == about("platform", seen) == []


def test_a_program_that_patches_first_is_fine(launch: Launch) -> None:
    seen = report(launch, PATCH + "import logging, ssl, threading; lock = threading.RLock(); logging.basicConfig()")
    assert {"socket", "ssl", "threading", "time"} <= set(seen["patched"])
    assert about("patching", seen) == []


@pytest.mark.skipif(not importlib.util.find_spec("locust"), reason="locust is not installed")
def test_a_program_that_somebody_else_has_patched_is_fine(launch: Launch) -> None:
    """Locust does it on import, gunicorn before it loads a program."""
    seen = report(launch, IGNORE + "import locust")
    assert "socket" in seen["patched"]
    assert [found for found in about("patching", seen) if not found[1].startswith(("requests", "urllib3"))] == []


def test_what_was_made_before_the_patch_is_an_error_with_its_name(launch: Launch) -> None:
    seen = report(
        launch, IGNORE + "import ssl, threading\nlock = threading.RLock()\nctx = ssl.SSLContext(17)\n" + PATCH
    )
    assert about("patching", seen) == [("error", "__main__.ctx"), ("error", "__main__.lock")]
    assert not seen["ok"]
    lock = next(found for found in seen["findings"] if found["subject"] == "__main__.lock")
    assert "for ever" in lock["why"] and "first line" in lock["advice"]


def test_half_a_patch_is_told(launch: Launch) -> None:
    seen = report(launch, "from gevent import monkey; monkey.patch_all(ssl=False, time=False)")
    assert about("patching", seen) == [("warning", "gevent.monkey")]
    assert seen["findings"][0]["what"] == "ssl, time are not monkey-patched, though others are"


def test_log_handlers_with_old_locks(launch: Launch) -> None:
    text = "import logging; logging.basicConfig()\nfrom gevent import monkey; monkey.patch_thread(logging=False)"
    assert ("error", "logging") in about("patching", report(launch, text))


def test_drivers_that_block(launch: Launch) -> None:
    pytest.importorskip("psycopg2")
    assert about("driver", report(launch, PATCH + "import psycopg2")) == [("error", "psycopg2")]
    maybe = report(launch, PATCH + "import sys, types; sys.modules['grpc'] = types.ModuleType('grpc')")
    assert about("driver", maybe) == [("warning", "grpc")]


def test_a_loop_that_cannot_serve(launch: Launch) -> None:
    pytest.importorskip("cffi")
    seen = report(launch, "import os; os.environ['GEVENT_LOOP'] = 'libuv'")
    assert about("platform", seen) == [("error", "libuv")]


def test_free_threaded_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    (found,) = [found for found in greensock.doctor().findings if found.about == "platform"]
    assert found.severity is Severity.ERROR and "GIL" in found.what


@pytest.mark.parametrize(
    ("of", "version", "severity", "name"),
    [
        ("Python", (3, 11, 4), Severity.WARNING, "CVE-2023-40217"),
        ("Python", (3, 13, 6), Severity.WARNING, "gh-137583"),
        ("OpenSSL", "3.0.2", Severity.WARNING, "CVE-2022-1473"),
        ("OpenSSL", "3.0.13", Severity.NOTE, "CVE-2024-2511"),
        ("OpenSSL", "3.0.23", Severity.NOTE, "OpenSSL 3.0"),
        ("gevent", "26.3.1", Severity.WARNING, "gevent #2159"),
        ("greenlet", "3.3.1", Severity.WARNING, "the changes of greenlet 3.3.2"),
    ],
)
def test_versions_with_holes(
    monkeypatch: pytest.MonkeyPatch, of: str, version: Any, severity: Severity, name: str
) -> None:
    if of == "Python":
        monkeypatch.setattr(sys, "version_info", version)
    elif of == "OpenSSL":
        major, minor, patch = map(int, version.split("."))
        monkeypatch.setattr("_ssl.OPENSSL_VERSION_INFO", (major, minor, 0, patch, 0))
    else:
        monkeypatch.setattr(f"{of}.__version__", version)
    (found,) = [found for found in greensock.doctor().findings if found.subject == name]
    assert found.severity is severity and found.about == "version"
    text = ".".join(map(str, version)) if of == "Python" else version
    assert found.what.startswith(f"{of} {text} ")
    if name != "OpenSSL 3.0":
        assert found.advice.startswith(f"use {of} ")


def test_it_imports_neither_ssl_nor_what_it_looks_for(launch: Launch) -> None:
    done = launch("""
        import sys
        import greensock, gevent._hub_local
        before = set(sys.modules)
        greensock.doctor()
        print(sorted({"ssl", "logging.handlers", "psycopg2", "psycopg", "subprocess"} & (set(sys.modules) - before)))
        print(gevent._hub_local.get_hub_if_exists())
        """)
    assert done.finish() == (0, "[]\nNone\n", "")


def test_a_python_without_ssl_is_borne(launch: Launch) -> None:
    done = launch(
        "import sys; sys.modules['_ssl'] = None\nimport greensock\nprint(greensock.doctor().versions['OpenSSL'])"
    )
    assert done.finish() == (0, "None\n", "")


# -- text ------------------------------------------------------------------------------------------------


def finding(severity: Severity, what: str, advice: str = "mend it") -> Finding:
    return Finding(severity, "patching", what, what, "it hurts", advice)


def test_the_text_says_all_of_it_and_groups_what_is_alike() -> None:
    error, warning = Severity.ERROR, Severity.WARNING
    found = (finding(error, "a.lock"), finding(error, "b.lock"), finding(warning, "c", "look at it"))
    text = str(Report({"Python": "3.11.7", "OpenSSL": None}, ("socket", "time"), found))
    assert text == textwrap.dedent("""\
        greensock doctor: 2 errors, 1 warning
        Python 3.11.7, OpenSSL missing
        monkey-patched: socket, time

        ERROR    a.lock
                 b.lock
                   it hurts
                   -> mend it

        WARNING  c
                   it hurts
                   -> look at it""")
    assert str(found[0]) == "error: a.lock: it hurts; mend it"


def test_the_text_of_a_clean_program() -> None:
    assert str(Report({"Python": "3.16.0"}, (), ())).startswith("greensock doctor: nothing to say\n")


def test_only_notes_are_ok() -> None:
    assert Report({}, (), (finding(Severity.NOTE, "a"),)).ok
    assert not Report({}, (), (finding(Severity.NOTE, "a"), finding(Severity.WARNING, "b"))).ok


def test_the_worst_comes_first(launch: Launch) -> None:
    seen = report(launch, IGNORE + "import threading; lock = threading.RLock()\n" + PATCH)
    severities = [found["severity"] for found in seen["findings"]]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert severities[0] == "error"
