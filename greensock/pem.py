"""PEM (RFC 7468) and DER (X.690): what is in the contents of a file, and what a certificate says of itself.

Just enough of both to tell keys from certificates and to know when one is valid; to understand them is OpenSSL's part.
Here they become the same: every block has a label and its text.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
#: The spaces are as OpenSSL takes them, in PEM_get_EVP_CIPHER_INFO().
_ENCRYPTED: Final = re.compile(rb"^Proc-Type:[ \t]*4,[ \t]*ENCRYPTED", re.MULTILINE)
_CERTIFICATES: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"})

# The tags of DER (X.690) that are asked for by name.
_UTC_TIME: Final = 0x17
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0


class Secret(bytes):
    """Bytes that do not show in a repr, a log line, or a traceback that prints variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<secret of {len(self)} bytes>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Block:
    """One thing in the contents: what its label says that it is, and its PEM text."""

    label: str
    pem: Secret

    @property
    def is_key(self) -> bool:
        """Whether this is a private key."""
        return self.label.endswith("PRIVATE KEY")

    @property
    def is_certificate(self) -> bool:
        """Whether this is a certificate."""
        return self.label in _CERTIFICATES

    @property
    def encrypted(self) -> bool:
        """Whether this key needs a passphrase: PKCS#8 says so in the label, the older form in a header."""
        return self.label.startswith("ENCRYPTED") or _ENCRYPTED.search(self.pem) is not None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What has to be known of a certificate before it is used: when it is valid, and the kind of its key."""

    der: bytes
    not_before: datetime
    not_after: datetime
    #: The object identifier of the key's algorithm, as DER has it. OpenSSL holds one certificate of each.
    algorithm: bytes

    @property
    def pem(self) -> bytes:
        """The certificate as PEM text."""
        return _pem("CERTIFICATE", self.der)


def split(data: bytes) -> list[Block]:
    """The blocks of PEM text, or of DER structures one after the other; none if *data* is neither, or damaged."""
    if is_pem(data):
        return [Block(match[1].decode(), Secret(match[0] + b"\n")) for match in _BLOCK.finditer(data)]
    return _der_blocks(data)


def is_pem(data: bytes) -> bool:
    """Whether *data* means to be PEM."""
    return b"-----BEGIN " in data


def certificate(block: Block) -> Certificate | None:
    """What *block* says of itself (RFC 5280, 4.1), or None if it is damaged."""
    try:
        data = base64.b64decode(block.pem.partition(b"CERTIFICATE-----")[2].partition(b"-----END")[0])
        # What follows the certificate is OpenSSL's, in the "trusted" form: for whom it is trusted.
        _, start, value, end = next(_elements(data, 0, len(data)))
        _, _, value, signed = next(_elements(data, value, end))
        parts = [part for part in _elements(data, value, signed) if part[0] != _VERSION]
        _, _, _, validity, _, key, *_ = parts
        not_before, not_after = (_time(data, part) for part in _elements(data, validity[2], validity[3]))
        algorithm = next(_elements(data, key[2], key[3]))
        identifier = next(_elements(data, algorithm[2], algorithm[3]))
        return Certificate(data[start:end], not_before, not_after, data[identifier[2] : identifier[3]])
    except (ValueError, IndexError, StopIteration):
        return None


def _pem(label: str, der: bytes) -> bytes:
    text = base64.b64encode(der)
    body = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), body, label.encode())


# -- DER -------------------------------------------------------------------------------------------------


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each element from *at* to *end*: its tag, where it starts, where its value starts, and where it ends."""
    while at < end:
        tag, length, value = data[at], data[at + 1], at + 2
        if length & 0x80:
            value += length & 0x7F
            length = int.from_bytes(data[at + 2 : value], "big")
        if value + length > end:
            raise IndexError("an element that is longer than what it is in")
        yield tag, at, value, value + length
        at = value + length


def _der_blocks(data: bytes) -> list[Block]:
    found: list[Block] = []
    try:
        for tag, start, value, end in _elements(data, 0, len(data)):
            label = _label([part[0] for part in _elements(data, value, end)]) if tag == _SEQUENCE else ""
            if not label:
                return []
            found.append(Block(label, Secret(_pem(label, data[start:end]))))
    except IndexError:
        return []
    return found


def _label(tags: list[int]) -> str:
    """What a structure of elements with these *tags* is called in PEM."""
    match tags:
        case [0x30, 0x30, 0x03]:  # RFC 5280; a certificate request looks the same, and is refused by OpenSSL
            return "CERTIFICATE"
        case [0x02, 0x30, 0x04, *_]:  # RFC 5208
            return "PRIVATE KEY"
        case [0x30, 0x04]:
            return "ENCRYPTED PRIVATE KEY"
        case [0x02, 0x04, *_]:  # RFC 5915
            return "EC PRIVATE KEY"
        case [0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, 0x02, *_]:  # RFC 8017
            return "RSA PRIVATE KEY"
        case [0x30, 0x03]:
            return "PUBLIC KEY"
    return ""


def _time(data: bytes, part: tuple[int, int, int, int]) -> datetime:
    tag, _, value, end = part
    text = data[value:end].decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text >= "50" else "20") + text
    if text[14:] != "Z":
        raise ValueError("not the form that RFC 5280, 4.1.2.5, allows")
    return datetime.fromisoformat(f"{text[:8]}T{text[8:]}")
