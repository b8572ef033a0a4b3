"""Records of TLS 1.3 made by hand, after a handshake by OpenSSL: what Python has no call for."""

import hashlib
import hmac
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from authority import authority

ALERT, HANDSHAKE, DATA = 21, 22, 23


def logging_context(log: Path) -> ssl.SSLContext:
    """A client that trusts these tests' authority and writes its secrets to *log*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority("ours").configure_trust(context)
    context.keylog_filename = str(log)
    return context


class Records:
    """What a client that has shaken hands, and has sent nothing since, may send next: RFC 8446, sections 5 and 7.

    Args:
        secured: its side of the connection, not used any more to send.
        log: where its context has written the secrets.
    """

    def __init__(self, secured: Any, log: Path) -> None:
        name = secured.cipher()[0]
        self._hash: Any = hashlib.sha384 if "SHA384" in name else hashlib.sha256
        self._cipher: Any = ChaCha20Poly1305 if "CHACHA20" in name else AESGCM
        self._key_size = 16 if "AES_128" in name else 32
        lines = [line.split() for line in log.read_text().splitlines()]
        (secret,) = [words[2] for words in lines if words[0] == "CLIENT_TRAFFIC_SECRET_0"]
        self._use(bytes.fromhex(secret))

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._key = self._cipher(self._expand("key", self._key_size))
        self._iv = int.from_bytes(self._expand("iv", 12))
        self._number = 0

    def _expand(self, label: str, size: int) -> bytes:
        """HKDF-Expand-Label, of which one block is always enough."""
        name = b"tls13 " + label.encode()
        info = size.to_bytes(2) + bytes([len(name)]) + name + b"\0"
        return hmac.digest(self._secret, info + b"\1", self._hash)[:size]

    def record(self, kind: int, content: bytes) -> bytes:
        """One record."""
        inner = content + bytes([kind])
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        nonce = (self._iv ^ self._number).to_bytes(12)
        self._number += 1
        return header + bytes(self._key.encrypt(nonce, inner, header))

    def key_update(self, *, ask: bool = True) -> bytes:
        """A change to the next key, and the wish that the other side do so as well."""
        record = self.record(HANDSHAKE, bytes([24, 0, 0, 1, ask]))
        self._use(self._expand("traffic upd", self._hash().digest_size))
        return record

    def goodbye(self) -> bytes:
        """close_notify."""
        return self.record(ALERT, b"\1\0")
