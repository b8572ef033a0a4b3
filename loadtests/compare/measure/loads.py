"""The load client at work against one server, with what one case asks of both."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases.case import Case
from cases.peers import Peer
from measure.certificate import Certificate
from measure.client import Broken, check_connections, holding, parse_answer
from measure.cores import Cores
from measure.servers import MEMORY_SETTLES, Server, command

PATIENCE = 45.0  # the client opens for at most 30 s and drains for at most 5 s; beyond that it hangs


@dataclass(frozen=True)
class Loads:
    load_client: Path
    cores: Cores
    seconds: float
    warmup: float
    amount: int  # bytes, where a case measures how long they take
    certificate: Certificate

    def server_command(self, case: Case, peer: Peer) -> list[str]:
        return [*command(peer, case.server), *(self.certificate.server if case.tls else ())]

    def load_command(self, server: Server, case: Case, load: Sequence[str]) -> list[str]:
        mode, *options = load
        tls = self.certificate.load if case.tls else ()
        return [str(self.load_client), mode, "127.0.0.1", str(server.port), *options, *tls]

    def full_command(self, server: Server, case: Case, load: Sequence[str]) -> list[str]:
        """The same with what holds for all runs that are not told when to end."""
        settings = {
            "--seconds": self.seconds,
            "--warmup": self.warmup,
            "--bytes": self.amount,
            "--server-pid": server.pid,
        }
        return self.load_command(server, case, (*load, *(str(word) for pair in settings.items() for word in pair)))

    def run_load(self, server: Server, case: Case, load: Sequence[str]) -> dict[str, Any]:
        limit = self.seconds + self.warmup + PATIENCE
        try:
            done = subprocess.run(
                self.full_command(server, case, load), capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"the load client was not done after {limit:.0f} s") from None
        return parse_answer(done.stdout, done.stderr)

    def come_and_go(self, server: Server, case: Case, connections: int) -> None:
        with self.idle(server, case, ("idle", "--connections", str(connections))):
            pass

    @contextlib.contextmanager
    def idle(self, server: Server, case: Case, load: Sequence[str]) -> Iterator[None]:
        """Holds connections that have each echoed one message, and checks at the end that none was lost."""
        with holding(self.load_command(server, case, load), 60 + MEMORY_SETTLES) as process:
            assert process.stdout is not None
            ready = process.stdout.readline()
            if ready.strip() == "ready":
                yield
                ready = ""
            out, err = process.communicate(timeout=30)  # closes its standard input: let go
            check_connections(parse_answer(ready + out, err))
