"""TLS as options: what a side shows and demands, checked when it is said.

Nothing here imports ``ssl`` before TLS is used: an application may patch first.
"""

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Never

from .certificates import Contents, Identity, authorities, identities
from .options import flag, suggestion
from .pem import Certificate, Secret

if TYPE_CHECKING:
    import ssl

_VERSIONS: Final = {"TLSv1.2": "TLSv1.2", "TLSv1.3": "TLSv1.3", "TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")

#: How many bytes OpenSSL takes as a passphrase (PEM_BUFSIZE in its pem.h).
MAX_PASSPHRASE: Final = 1024


@dataclasses.dataclass(frozen=True, slots=True, init=False, repr=False)
class TLS:
    """What one side shows and demands in TLS; the same options serve servers and clients.

    Contents are PEM text as ``str``, PEM or DER as anything bytes-like, a :class:`pathlib.Path`, or an open file, which
    is read at once. A string is never the name of a file. A private key given as contents never lies on disk.

    Args:
        key: the private key, or a list of several (RSA and ECDSA, say).
        cert: the certificate for it, with its chain behind it; a list goes with that of *key*, in pairs.
        ca: authorities to trust, contents or a list of them, in place of the system's.
        passphrase: of the encrypted ones among *key*: text, bytes, or a function that returns it.
        request_cert: servers: ask the client for a certificate, and verify it.
        reject_unauthorized: end the handshake with a peer that cannot be verified. When False, a client verifies
            nothing, and a server that has *request_cert* serves clients that give no certificate too; it still refuses
            a bad one.
        server_name: clients: the name to ask for and to verify, when it is not that of the address.
        alpn: protocols to agree on (RFC 7301), the preferred one first.
        min_version: ``"TLSv1.2"`` or ``"TLSv1.3"``; nothing older is spoken (RFC 8996).
        ciphers: those of TLS 1.2 in OpenSSL's notation, ciphers(1); only forward secret ones with authenticated
            encryption by default.
        sni: servers: other options for the names that clients ask for, ``{"host": ..., "*.host": ...}``. A wildcard
            stands for one label. Names that are not in it get *key* and *cert*. Each entry has an *alpn* and *ciphers*
            of its own, or none. In what is demanded of clients (*request_cert*, *reject_unauthorized*, *min_version*,
            and with *request_cert* in *ca*) all have to agree: OpenSSL settles that before it knows the name.

    Raises:
        TypeError: there is no such option.
        ValueError: a value that cannot be; the message names the option, and never shows the contents.

    Resource handling: files that are handed over open stay open, at their end. The keys are held in memory as long as
    this object lives.
    """

    #: One for each pair of key and cert.
    identities: tuple[Identity, ...]
    ca: tuple[Certificate, ...] | None
    passphrase: Secret | None
    request_cert: bool
    reject_unauthorized: bool
    server_name: str | None
    alpn: tuple[str, ...]
    min_version: str
    ciphers: str | None
    sni: "tuple[tuple[str, TLS | ssl.SSLContext], ...]"

    def __init__(
        self,
        *,
        key: Contents | Sequence[Contents] | None = None,
        cert: Contents | Sequence[Contents] | None = None,
        ca: Contents | Sequence[Contents] | None = None,
        passphrase: "str | bytes | bytearray | Callable[[], str | bytes] | None" = None,
        request_cert: bool = False,
        reject_unauthorized: bool = True,
        server_name: str | None = None,
        alpn: Iterable[str | bytes] = (),
        min_version: "str | ssl.TLSVersion" = "TLSv1.2",
        ciphers: str | None = None,
        sni: "Mapping[str, TLS | Mapping[str, Any] | ssl.SSLContext] | None" = None,
        **unknown: Never,
    ) -> None:
        for name in unknown:
            raise _unknown(name)
        made = identities(key, cert)
        values: dict[str, object] = {
            "identities": made,
            "ca": authorities(ca),
            "passphrase": _passphrase(passphrase, made),
            "request_cert": flag("request_cert", request_cert),
            "reject_unauthorized": flag("reject_unauthorized", reject_unauthorized),
            "server_name": None if server_name is None else host_name("server_name", server_name),
            "alpn": _alpn(alpn),
            "min_version": _min_version(min_version),
            "ciphers": _ciphers(ciphers),
            "sni": _sni({} if sni is None else sni),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        from . import contexts

        _ = contexts.for_server(self) if made else contexts.for_client(self)  # OpenSSL has the last word

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "TLS":
        """The options of a mapping with the same names."""
        for name in given:
            if not isinstance(name, str):
                raise _unknown(name)
        return cls(**given)

    def __repr__(self) -> str:
        shown = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "identities" and value:
                shown += ["key=<secret>", f"cert=<{len(value)}>"]
            elif field.name == "ca" and value:
                shown.append(f"ca=<{len(value)}>")
            elif field.name == "sni" and value:
                shown.append(f"sni={dict(value)!r}")
            elif field.name in _PLAIN and value != _PLAIN[field.name]:
                shown.append(f"{field.name}={value!r}")
        return f"TLS({', '.join(shown)})"


#: What a repr shows when it is not the default.
_PLAIN: Final[dict[str, Any]] = {
    "request_cert": False,
    "reject_unauthorized": True,
    "server_name": None,
    "alpn": (),
    "min_version": "TLSv1.2",
    "ciphers": None,
}

_NAMES: Final = ("key", "cert", "ca", "passphrase", *_PLAIN, "sni")


# -- checks ----------------------------------------------------------------------------------------------


def kind_of(given: object) -> str:
    """How to call a wrong value: not by its contents, which may be a key."""
    return repr(given) if given is None or isinstance(given, bool) else type(given).__name__


def host_name(option: str, value: object) -> str:
    """A name as TLS has it: in lower case, ASCII (RFC 5890), without brackets, zone and final dot.

    Raises:
        ValueError: it is no name of a host and no address; the message has *option* and value.
    """
    if isinstance(value, str):
        address = _address(value)
        if address:
            return address
        try:
            name = value.encode("idna").decode("ascii").lower().removesuffix(".")
        except UnicodeError:
            name = ""
        if len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split(".")):
            return name
    raise ValueError(f"{option} must be the name of a host or an address, not {value!r}")


def _address(name: str) -> str:
    """The address that *name* is, or the empty string."""
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]").partition("%")[0]))
    except ValueError:
        return ""


def _sni(given: object) -> "tuple[tuple[str, TLS | ssl.SSLContext], ...]":
    if not isinstance(given, Mapping):
        raise ValueError(f"sni must be a mapping of names to TLS options, not {kind_of(given)}")
    entries: dict[str, Any] = {}
    for asked, value in given.items():
        name = _sni_name(asked)
        if name in entries:
            raise ValueError(f"sni has {name!r} twice")
        entries[name] = _sni_entry(f"sni[{name!r}]", value)
    return tuple(entries.items())


def _sni_name(asked: object) -> str:
    star = "*." if isinstance(asked, str) and asked.startswith("*.") else ""
    name = host_name("sni", asked.removeprefix(star) if isinstance(asked, str) else asked)
    if _address(name):
        raise ValueError(f"sni must have names of hosts: clients ask for no address such as {asked!r}")
    return star + name


def _sni_entry(option: str, value: object) -> object:
    from . import contexts

    if contexts.is_context(value):
        return value
    problem = ""
    if isinstance(value, Mapping):
        try:
            value = TLS.of(value)
        except ValueError as error:
            problem = str(error)
    if problem:
        raise ValueError(f"{option}: {problem}")
    if not isinstance(value, TLS):
        raise ValueError(f"{option} must be a TLS, a mapping or an SSLContext, not {kind_of(value)}")
    if not value.identities:
        raise ValueError(f"{option} needs key and cert")
    if value.sni:
        raise ValueError(f"{option} must not have an sni of its own")
    return value


def _alpn(given: object) -> tuple[str, ...]:
    if isinstance(given, str | bytes | bytearray | memoryview) or not isinstance(given, Iterable):
        raise ValueError(f"alpn must be a list of protocols, such as ['h2', 'http/1.1'], not {given!r}")
    return tuple(_protocol(protocol) for protocol in given)


def _protocol(given: object) -> str:
    name = given.decode("latin-1") if isinstance(given, bytes) else given
    if not isinstance(name, str) or not name.isascii() or not 1 <= len(name) <= 255:
        raise ValueError(f"alpn must have protocols of 1 to 255 ASCII characters, not {given!r}")
    return name


def _min_version(given: object) -> str:
    name = given if isinstance(given, str) else getattr(given, "name", None)
    if not isinstance(name, str) or name not in _VERSIONS:
        raise ValueError(f"min_version must be 'TLSv1.2' or 'TLSv1.3', not {given!r}")
    return _VERSIONS[name]


def _ciphers(given: object) -> str | None:
    if given is None or (isinstance(given, str) and given.strip(" :,") and given.isascii() and given.isprintable()):
        return given
    raise ValueError(f"ciphers must be a list of ciphers in OpenSSL's notation, not {given!r}")


def _passphrase(given: object, identities: tuple[Identity, ...]) -> Secret | None:
    """The passphrase if one is needed: a function is asked for it only then, and no other one is kept."""
    encrypted = [identity.names[0] for identity in identities if identity.key.encrypted]
    if callable(given):
        given = given() if encrypted else None
    if given is None and encrypted:
        raise ValueError(f"passphrase is missing: {encrypted[0]} is encrypted")
    if isinstance(given, str):
        given = given.encode("utf-8", "surrogatepass")
    if not isinstance(given, bytes | bytearray | memoryview | None):
        raise ValueError(f"passphrase must be str, bytes or a function that returns it, not {type(given).__name__}")
    if given is not None and len(given) > MAX_PASSPHRASE:
        raise ValueError(f"passphrase must have at most {MAX_PASSPHRASE} bytes, as OpenSSL takes them")
    return Secret(given) if given is not None and encrypted else None


def _unknown(name: object) -> TypeError:
    return TypeError(f"unknown option {name!r} of TLS{suggestion(name, _NAMES)} The options are {', '.join(_NAMES)}")
