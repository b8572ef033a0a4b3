"""Keys and certificates for tests, made on the spot, and handshakes without a socket."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import trustme
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from greensock.endpoints import Endpoint

NOW = datetime.now(UTC)
EXPIRED = {"not_before": NOW - timedelta(days=9), "not_after": NOW - timedelta(days=1)}
NOT_YET = {"not_before": NOW + timedelta(days=1), "not_after": NOW + timedelta(days=9)}
PASSPHRASE = b"correct horse"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Issued:
    """A key and its certificate, with the chain behind it."""

    leaf: trustme.LeafCert

    @property
    def key(self) -> bytes:
        return self.leaf.private_key_pem.bytes()

    @property
    def cert(self) -> bytes:
        return b"".join(part.bytes() for part in self.leaf.cert_chain_pems)

    @property
    def both(self) -> dict[str, Any]:
        return {"key": self.key, "cert": self.cert}

    @property
    def private_key(self) -> PrivateKey:
        key = load_pem_private_key(self.key, None)
        assert isinstance(key, PrivateKey)
        return key

    def encoded(self, encoding: Encoding, form: PrivateFormat, passphrase: bytes | None = None) -> bytes:
        """The private key in another form."""
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.private_key.private_bytes(encoding, form, encryption)


@cache
def authority(name: str = "ours") -> trustme.CA:
    return trustme.CA(organization_name=name)


def trust(name: str = "ours") -> bytes:
    """The certificate of an authority, for ``ca``."""
    return authority(name).cert_pem.bytes()


@cache
def issued(*names: str, by: str = "ours", when: str = "now", rsa_key: bool = False, below: bool = False) -> Issued:
    """A certificate for *names*, directly by an authority or by one *below* it."""
    times: dict[str, Any] = {"now": {}, "expired": EXPIRED, "not yet": NOT_YET}[when]
    kind = trustme.KeyType.RSA if rsa_key else trustme.KeyType.ECDSA
    issuer = authority(by).create_child_ca() if below else authority(by)
    return Issued(issuer.issue_cert(*names, key_type=kind, **times))


def context_for(leaf: Issued, *, server: bool, trusting: str | None = None) -> ssl.SSLContext:
    """A context made by hand, which may hold what TLS() would refuse."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    leaf.leaf.configure_cert(context)
    if trusting:
        authority(trusting).configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@dataclass
class Handshake:
    """Both sides of one handshake, and how each of them ended."""

    client: Any
    server: Any
    client_error: Exception | None = None
    server_error: Exception | None = None

    @property
    def ok(self) -> bool:
        return self.client_error is None and self.server_error is None


def shake(client: Endpoint, server: Endpoint) -> Handshake:
    """Let the two shake hands in memory, and exchange a byte, until both are done or one has failed."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = Handshake(client.wrap(to_client, to_server), server.wrap(to_server, to_client))
    waiting = {"client", "server"}
    for _ in range(10):
        for side in sorted(waiting):
            try:
                getattr(made, side).do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                setattr(made, f"{side}_error", error)
            waiting.discard(side)
    if made.ok:
        assert not waiting
        made.server.write(b"x")
        assert made.client.read(1) == b"x"
    return made
