"""The house has floors, and imports go down only: from a floor to those below it.

Modules of one floor may import those that stand before them in its list, and so there is no cycle anywhere.
"""

import ast
import json
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import greensock

PACKAGE = Path(greensock.__file__).parent

FLOORS = {
    0: ["errors", "state"],  # words
    1: [  # pure: no I/O, tested without a socket
        *("address", "options", "writequeue", "handlers", "stats", "log", "versions"),
        *("buffers", "decoders", "framing", "frames", "inbox", "sink", "pem"),
    ],
    2: [  # the wire
        *("wire", "net", "listeners", "sockopts", "hubs", "dialing", "clocks", "served", "runners", "engine"),
        *("certificates", "keys", "contexts", "tls", "endpoints", "sealing", "secure", "patching", "drivers"),
    ],
    3: [  # one connection
        *("shared", "link", "teardown", "flushing", "sending", "closing", "events"),
        *("handshaking", "receiving", "waiting", "pulling", "reading", "messages", "session", "encryption"),
        *("raw", "stdlib_stream", "stdlib_socket", "sock"),
    ],
    4: ["draining", "accepting", "server", "client"],  # many
    5: [  # around
        *("exchange", "group", "interrupts", "lifecycle", "doctor"),
        *("legacy.threads", "legacy.listening", "legacy.serving"),
        *("legacy.socketserver", "legacy.gevent", "legacy.handlers", "legacy"),
        *("serve", "serve.native", "serve.stacks", "serve.kinds", "serve.settings", "serve.config"),
        *("serve.importing", "serve.app", "serve.trial"),
        *("serve.hot", "serve.systemd", "serve.signals", "serve.watchdog", "serve.monitor", "serve.report"),
        "serve.service",
        *("load", "load.stats", "load.talk", "load.replies", "load.rows", "load.answer", "load.ending"),
        *("load.generator", "load.connection", "load.oneway", "load.client", "load.watch", "load.tab", "load.checks"),
    ],
    6: [  # doors
        *("__init__", "commands", "cli", "__main__", "locust"),
        *("testing.waiting", "testing.recorder", "testing.peer", "testing.leaks", "testing"),
    ],
}

#: May be named in annotations above their floor: what a handler is given is a socket.
ONLY_FOR_TYPES = {
    *(("handlers", "sock"), ("shared", "sock"), ("draining", "sock"), ("contexts", "tls"), ("runners", "engine")),
    *(("load.connection", "locust"), ("load.oneway", "locust"), ("load.client", "locust")),
}

#: What does I/O, waits, or needs a loop.
IMPURE = {
    *("gevent", "greenlet", "asyncio", "threading", "subprocess", "signal"),
    *("socket", "_socket", "select", "selectors", "ssl", "_ssl"),
}

#: What only some users need, or only those who develop greensock.
NOT_NEEDED = {
    *(
        "asyncio",
        "click",
        "flask",
        "hypothesis",
        "locust",
        "prometheus_client",
        "psutil",
        "pytest",
        "rich",
        "ssl",
        "subprocess",
    ),
    *("uvloop", "watchfiles"),
}

PLACE = {name: (floor, index) for floor, names in FLOORS.items() for index, name in enumerate(names)}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
MODULES = sorted(FILES)


@dataclass(frozen=True)
class Import:
    name: str  # dotted, from the top
    line: int
    only_for_types: bool

    @property
    def inside(self) -> str | None:
        """The module of greensock that this is, if it is one."""
        top, *rest = self.name.split(".")
        if top != "greensock":
            return None
        paths = (".".join(rest[:length]) for length in range(len(rest), 0, -1))
        return next((path for path in paths if path in MODULES), "__init__")


def imports_of(module: str) -> list[Import]:
    file = FILES[module]
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return list(_imports(tree, ["greensock", *file.relative_to(PACKAGE).parts], only_for_types=False))


def _imports(node: ast.AST, place: list[str], only_for_types: bool) -> Iterator[Import]:
    match node:
        case ast.If(test=ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            for statement in node.body:
                yield from _imports(statement, place, True)
            for statement in node.orelse:
                yield from _imports(statement, place, only_for_types)
        case ast.Import():
            for alias in node.names:
                yield Import(alias.name, node.lineno, only_for_types)
        case ast.ImportFrom():
            above = place[: -node.level] if node.level else []
            origin = ".".join(filter(None, [*above, node.module]))
            for alias in node.names:
                yield Import(f"{origin}.{alias.name}", node.lineno, only_for_types)
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _imports(child, place, only_for_types)


def test_every_module_has_a_floor() -> None:
    homeless = set(MODULES) - set(PLACE)
    assert not homeless, f"say in FLOORS on which floor these modules live: {', '.join(sorted(homeless))}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_tests_of_its_name(module: str) -> None:
    name = module.strip("_").replace(".", "_")
    tests = Path(__file__).parent
    assert [*tests.glob(f"test_{name}.py"), *tests.glob(f"test_{name}_*.py")]


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    for found in imports_of(module):
        target = found.inside
        if target is None or (found.only_for_types and (module, target) in ONLY_FOR_TYPES):
            continue
        assert PLACE[target] < PLACE[module], (
            f"{FILES[module].name}:{found.line}: floor {PLACE[module][0]} imports {target} of floor {PLACE[target][0]}"
        )


@pytest.mark.parametrize("module", [name for name in MODULES if PLACE.get(name, (9, 0))[0] < 2])
def test_the_ground_floors_are_pure(module: str) -> None:
    for found in imports_of(module):
        assert found.name.partition(".")[0] not in IMPURE, f"{FILES[module].name}:{found.line} imports {found.name}"


@pytest.mark.parametrize("module", MODULES)
def test_only_hubs_import_the_insides_of_gevent(module: str) -> None:
    for found in imports_of(module):
        top, *rest = found.name.split(".")
        private = top == "gevent" and any(part.startswith("_") for part in rest)
        assert not private or module == "hubs", f"{FILES[module].name}:{found.line} imports {found.name}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_above_the_wire_says_ssl(module: str) -> None:
    for found in imports_of(module):
        says_ssl = "ssl" in found.name.split(".")
        assert not says_ssl or PLACE[module][0] <= 2, f"{FILES[module].name}:{found.line} imports {found.name}"


def test_importing_patches_nothing_starts_nothing_and_stays_small() -> None:
    program = """
import json, sys
import greensock
import gevent._hub_local, gevent.monkey
json.dump({
    "patched": sorted(gevent.monkey.saved),
    "hub": repr(gevent._hub_local.get_hub_if_exists()),
    "modules": sorted(sys.modules),
}, sys.stdout)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    seen = json.loads(answer)
    assert seen["patched"] == []
    assert seen["hub"] == "None"
    assert NOT_NEEDED.isdisjoint(seen["modules"])


def test_exports_are_exactly_what_all_says() -> None:
    exported = {
        name
        for name, value in vars(greensock).items()
        if not name.startswith("_") and (name in greensock.__all__ or not isinstance(value, types.ModuleType))
    }
    assert exported == set(greensock.__all__)
    assert len(greensock.__all__) == len(exported), "a name stands twice in __all__"


def test_the_package_itself_defines_nothing() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    definitions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert definitions == []
