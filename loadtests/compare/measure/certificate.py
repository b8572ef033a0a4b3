"""The certificate of one run: every server shows it, and the load client trusts nothing else."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificate:
    """An ECDSA key on P-256, which is what most servers of today have, and its certificate, as PEM files."""

    key: Path
    cert: Path

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator[Certificate]:
        issued = trustme.CA().issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA)
        with tempfile.TemporaryDirectory() as folder:
            certificate = cls(Path(folder) / "key.pem", Path(folder) / "cert.pem")
            issued.private_key_pem.write_to_path(certificate.key)
            issued.cert_chain_pems[0].write_to_path(certificate.cert)
            yield certificate

    @property
    def server(self) -> tuple[str, ...]:
        """What a server is told."""
        return ("--key", str(self.key), "--cert", str(self.cert))

    @property
    def load(self) -> tuple[str, ...]:
        """What the load client is told."""
        return ("--tls", str(self.cert))
