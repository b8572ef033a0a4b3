"""``greensock.doctor()``: what in this process will block all its connections, or is known to be unsafe."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

import gevent
import greenlet

from . import drivers, patching, versions


class Severity(StrEnum):
    """How bad a finding is."""

    #: connections will hang, mix up or be insecure
    ERROR = "error"
    #: they may, under conditions that cannot be seen from here
    WARNING = "warning"
    #: good to know
    NOTE = "note"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: how bad it is.
        about: what it concerns: ``"patching"``, ``"driver"``, ``"version"`` or ``"platform"``.
        subject: what it was found at: a module and name, a library, or a CVE.
        what: what was found.
        why: why that matters.
        advice: what to do.
    """

    severity: Severity
    about: str
    subject: str
    what: str
    why: str
    advice: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.what}: {self.why}; {self.advice}"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What :func:`doctor` has seen. ``str()`` of it is for people.

    Attributes:
        versions: of Python, gevent, greenlet and OpenSSL (None without), and the name of the event loop.
        patched: the modules of the standard library that gevent has monkey-patched.
        findings: what there is to say, the worst first.
    """

    versions: dict[str, str | None]
    patched: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is nothing worse than notes."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """All of it in plain dicts, lists and strings, as for JSON."""
        findings = [{**dataclasses.asdict(finding), "severity": str(finding.severity)} for finding in self.findings]
        return {"ok": self.ok, "versions": dict(self.versions), "patched": list(self.patched), "findings": findings}

    def __str__(self) -> str:
        counts = [(sum(finding.severity is severity for finding in self.findings), severity) for severity in Severity]
        summary = ", ".join(f"{count} {severity}{'s' * (count != 1)}" for count, severity in counts if count)
        parts = [
            f"greensock doctor: {summary or 'nothing to say'}",
            ", ".join(f"{name} {version or 'missing'}" for name, version in self.versions.items()),
            f"monkey-patched: {', '.join(self.patched) or 'nothing'}",
        ]
        return "\n".join([*parts, *map(_paragraph, _alike(self.findings))])


def _alike(findings: Iterable[Finding]) -> list[list[Finding]]:
    """*findings* in groups that have cause and advice in common, in the order of their first ones."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.why, finding.advice), []).append(finding)
    return list(groups.values())


def _paragraph(findings: list[Finding]) -> str:
    first = findings[0]
    lines = [f"{first.severity.upper():<8} {first.what}", *(finding.what for finding in findings[1:])]
    return "\n" + "\n         ".join([*lines, f"  {first.why}", f"  -> {first.advice}"])


def doctor() -> Report:
    """Examine this process: how it is patched, what blocks its hub, and versions with known holes.

    Call it when everything is imported, best where you would call ``listen``. Looks at the objects below the names of
    all modules, which takes some tenths of a second in a large program; imports and changes nothing.
    """
    findings = [*_patching(), *_drivers(), *_platform(), *_versions()]
    worst_first = list(Severity)
    findings.sort(key=lambda finding: worst_first.index(finding.severity))
    return Report(_components(), tuple(patching.patched()), tuple(findings))


# -- patching -------------------------------------------------------------------------------------------

_PATCH_FIRST: Final = (
    "let 'from gevent import monkey; monkey.patch_all()' be the first line of the program, before this is imported"
)


def _patching() -> Iterator[Finding]:
    patched = patching.patched()
    if not patched:
        yield Finding(
            Severity.NOTE,
            "patching",
            "gevent.monkey",
            "nothing is monkey-patched",
            "greensock needs no patching, but calls of the standard library that wait hold up every connection",
            "use gevent.sleep, gevent.socket and so on in handlers, or patch first of all",
        )
        return
    missing = [name for name in patching.PATCHABLE if name not in patched]
    if missing:
        yield Finding(
            Severity.WARNING,
            "patching",
            "gevent.monkey",
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not monkey-patched, though others are",
            "what waits in them holds up every connection",
            "call gevent.monkey.patch_all() without exceptions, unless this is meant",
        )
    for leftover in patching.leftovers():
        yield Finding(
            Severity.ERROR,
            "patching",
            f"{leftover.module}.{leftover.name}",
            str(leftover),
            _WHY.get(leftover.what, _WHY_IT_BLOCKS),
            _PATCH_FIRST,
        )
    for handler in patching.unpatched_log_handlers():
        yield Finding(
            Severity.ERROR,
            "patching",
            "logging",
            f"the log handler {handler} has an unpatched lock",
            _WHY["lock"],
            "patch with logging=True, which is the default, or make the handler afterwards",
        )


_WHY_IT_BLOCKS: Final = "while it waits, the hub waits, and so does every connection"

_WHY: Final = {
    **dict.fromkeys(
        ("lock", "RLock", "_thread.allocate_lock", "threading.Lock"),
        "a greenlet that waits for such a lock stops the hub, and with it the greenlet that would release it: for ever",
    ),
    "threading.local": "all greenlets share it: what one connection keeps there, the others see",
    "_thread.start_new_thread": "its threads are real ones, which must not touch sockets of this hub",
    "ssl.SSLContext": "its connections hold up the hub, and changing its options may be a RecursionError",
}


# -- drivers, platform and versions ----------------------------------------------------------------------


def _drivers() -> Iterator[Finding]:
    for driver in drivers.blocking():
        yield Finding(
            Severity.ERROR if driver.certain else Severity.WARNING,
            "driver",
            driver.name,
            f"{driver.name} is imported" + (", which blocks" if driver.certain else ", which may block"),
            f"{driver.why}: during each call every connection waits",
            driver.instead,
        )


def _platform() -> Iterator[Finding]:
    if "libuv" in _loop():
        yield Finding(
            Severity.ERROR,
            "platform",
            "libuv",
            "gevent is set to the libuv loop",
            "it has no prepare watchers, on which greensock's turns are built: listen() and connect() refuse it",
            "unset GEVENT_LOOP, or set it to libev",
        )
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        yield Finding(
            Severity.ERROR,
            "platform",
            "free-threaded Python",
            "this Python runs without the GIL",
            "greenlets crash in it (greenlet #513, #515): listen() and connect() refuse it",
            "run with PYTHON_GIL=1, or use an ordinary build of Python",
        )


def _versions() -> Iterator[Finding]:
    for of, text in _components().items():
        version = versions.parse(text or "")
        for hole in versions.holes(of, version) if version else ():
            yield Finding(
                Severity.WARNING if hole.serious else Severity.NOTE,
                "version",
                hole.name,
                f"{of} {text} has {hole.name}",
                hole.effect,
                f"use {of} {hole.first_good(version)} or newer, unless your distribution has mended this one",
            )
        if of == "OpenSSL" and version and version < (3, 1):
            yield Finding(
                Severity.NOTE,
                "version",
                "OpenSSL 3.0",
                f"OpenSSL {text} is of a branch that its makers no longer mend",
                "only a distribution mends what is found in it from now on",
                "keep the distribution's package up to date, or use a Python built with OpenSSL 3.5",
            )


def _components() -> dict[str, str | None]:
    return {
        "Python": ".".join(map(str, sys.version_info[:3])),
        "gevent": gevent.__version__,
        "greenlet": greenlet.__version__,
        "OpenSSL": _openssl(),
        "loop": _loop(),
    }


def _openssl() -> str | None:
    try:
        import _ssl  # and not ssl, which a program may be about to patch
    except ImportError:
        return None
    major, minor, fix, patch, _ = _ssl.OPENSSL_VERSION_INFO
    return f"{major}.{minor}.{patch}" if major >= 3 else f"{major}.{minor}.{fix}"


def _loop() -> str:
    """The event loop that gevent is set to. To ask for its hub would make one."""
    loop = gevent.config.loop
    return f"{loop.__module__}.{loop.__qualname__}"
