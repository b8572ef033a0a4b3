"""``docs/coming-from-bun.md`` has every snippet of Bun's page, each followed by ours, which ``test_readme`` runs."""

import re
from pathlib import Path

import pytest

import greensock

PAGE = (Path(__file__).parent.parent / "docs" / "coming-from-bun.md").read_text(encoding="utf-8")
BLOCKS = [(match[1], match[2]) for match in re.finditer(r"^```(\w+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)]

#: A line of each of its snippets that no other one has, in their order.
SNIPPETS = [
    "data(socket, data) {}, // message received from client",
    "open(socket) {},\n    data(socket, data) {},\n    drain(socket) {},",
    "socket.write(`${socket.data.sessionId}: ack`);",
    "// can be string, BunFile, TypedArray, Buffer, or array thereof",
    'key: [Bun.file("./key1.pem"), Bun.file("./key2.pem")],',
    "server.stop(true);",
    "connectError(socket, error) {}, // connection failed",
    "tls: true,",
    "server.reload({",
    "socket.reload({",
    'socket.write("h");',
    'socket.write("hello");',
    "const sink = new ArrayBufferSink({",
]


def test_it_has_all_of_them_in_order() -> None:
    theirs = [text for kind, text in BLOCKS if kind == "ts"]
    assert len(theirs) == len(SNIPPETS)
    for text, line in zip(theirs, SNIPPETS, strict=True):
        assert line in text


@pytest.mark.parametrize("line", SNIPPETS)
def test_each_is_followed_by_ours_or_by_why_not(line: str) -> None:
    after = PAGE[PAGE.index(line) :]
    after = after[after.index("\n```\n") :]
    ours = after.find("```python")
    section = after.find("\n#")
    assert 0 < ours < section or "this version" in after[:section].lower()


def test_names_that_it_gives_exist() -> None:
    table = PAGE[PAGE.index("## Names") : PAGE.index("## Where the meaning differs")]
    names = set(re.findall(r"`socket\.(\w+)", table.replace("| `socket", "|")))
    for row in table.splitlines():
        if row.count("|") == 3:
            for name in re.findall(r"`socket\.(\w+)", row.split("|")[2]):
                names.add(name)
                assert hasattr(greensock.Socket, name), name
    assert names
