"""A service of ``_services.py`` in a process of its own, for the programs here."""

import argparse
import math
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVICES = HERE / "_services.py"

#: Seconds in which a service has come or gone.
PATIENCE = 10

CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout key.pem -out cert.pem "
    "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
)


@contextmanager
def serving(service: str, stats: str, *, certificate: Path | None = None) -> Iterator[str]:
    """Serve *service* on a free port until the end of the block; gives its url.

    Args:
        stats: address at which its numbers are told.
        certificate: a directory, in which a certificate ``cert.pem`` for localhost is made; the service has TLS then.
    """
    secure: tuple[str, ...] = ()
    if certificate is not None:
        subprocess.run(shlex.split(CERTIFICATE), cwd=certificate, check=True, capture_output=True)
        secure = ("--tls-cert", f"{certificate}/cert.pem", "--tls-key", f"{certificate}/key.pem")
    command = [
        *(sys.executable, "-m", "greensock", "serve", f"{SERVICES}:{service}", "--log-level", "warning"),
        *("--framing", "lines", "--stats", stats, "--bind", f"{'tls' if secure else 'tcp'}://127.0.0.1:0", *secure),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line.startswith("listening on "):
                sys.exit(f"the service did not start; its exit status is {process.wait(PATIENCE)}")
            url = line.split()[-1]
            yield url.replace("127.0.0.1", "localhost") if secure else url  # whom the certificate is for
            process.terminate()
            if process.wait(PATIENCE) != 0:
                sys.exit(f"the service left with exit status {process.returncode}")
        finally:
            process.kill()  # nothing happens to one that has already left


def positive(number: type[float]) -> Callable[[str], float]:
    """An argument type: a *number* greater than 0."""

    def parse(text: str) -> float:
        try:
            value = number(text)
        except ValueError:
            value = 0
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number greater than 0")
        return value

    return parse
