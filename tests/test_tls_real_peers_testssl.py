"""What testssl.sh has to say about a server with the default options."""

import json
from pathlib import Path

import gevent
import pytest

import greensock
from authority import issued
from foreign import Start, find, needs
from greensock.testing import Serve

#: Debian installs it without the ``.sh``.
TESTSSL = "testssl" if find("testssl") else "testssl.sh"

#: Protocols, ciphers by their strength, vulnerabilities. All that it can check takes five times as long, and finds
#: beyond this only that these certificates have no list of revoked ones and are valid for too long.
CHECKS = ("--protocols", "--std", "--vulnerable")

SECONDS = 150.0

#: Some of what it must have looked at, and found to be so.
SEEN = {
    "SSLv2": "not offered",
    "SSLv3": "not offered",
    "TLS1": "not offered",
    "TLS1_1": "not offered",
    "TLS1_2": "offered",
    "TLS1_3": "offered with final",
    "cipherlist_NULL": "not offered",
    "cipherlist_3DES_IDEA": "not offered",
    "cipherlist_AVERAGE": "not offered",
    "cipherlist_STRONG": "offered",
    "heartbleed": "not vulnerable",
    "CCS": "not vulnerable",
    "ROBOT": "not vulnerable",
    "secure_renego": "supported",
    "secure_client_renego": "not vulnerable",
    "CRIME_TLS": "not vulnerable",
    "SWEET32": "not vulnerable",
    "LUCKY13": "not vulnerable",
    "RC4": "not vulnerable",
}


@needs(TESTSSL)
@pytest.mark.timeout(SECONDS + 10)
def test_no_finding_above_low(serve: Serve, foreign: Start, tmp_path: Path) -> None:
    leaves = [issued("localhost", rsa_key=rsa_key) for rsa_key in (True, False)]
    tls = greensock.TLS(key=[leaf.key for leaf in leaves], cert=[leaf.cert for leaf in leaves])
    server = serve({"data": lambda socket, data: socket.end()}, tls=tls)
    report = tmp_path / "report.json"
    options = ("--quiet", "--color", 0, "--warnings", "off", "--nodns", "none", "--jsonfile", report)
    scan = foreign(TESTSSL, *options, *CHECKS, f"localhost:{server.port}")
    with gevent.Timeout(SECONDS, AssertionError("it did not end")):
        scan.process.wait()

    findings = json.loads(report.read_text())
    found = {finding["id"]: finding["finding"] for finding in findings}
    assert {name: found.get(name, "")[: len(text)] for name, text in SEEN.items()} == SEEN
    harmless = ("OK", "INFO", "LOW", "DEBUG", "WARN")  # the last is for checks that could not be made
    assert [finding for finding in findings if finding["severity"] not in harmless] == []
    stats = server.stats()
    assert (stats.errors, stats.connections) == (0, 0)
    assert stats.handshakes > 0
    assert stats.handshake_failures > 10, "most of what it asks for is refused"
