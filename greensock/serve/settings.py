"""The settings of the runner: what each is called, what it may be, and what it is if nobody says.

The options of ``listen`` are settings as they stand in :class:`greensock.options.Options`: their defaults, types and
checks are those.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Final, get_args, get_type_hints

from .. import framing, options
from .kinds import ADDRESS, PATH, SECONDS, SWITCH, TEXT, WHOLE, Kind, choice, optional, several


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One thing that the runner can be told.

    Args:
        check: raises ValueError or TypeError, with the name in it, for a value of the right kind that cannot be.
        secret: it has no place on a command line, which every user of the machine can read, nor in print.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    section: str
    check: Callable[[str, Any], object] = lambda name, value: None
    secret: bool = False

    @property
    def flag(self) -> str:
        """What it is called on the command line."""
        return "TARGET" if self.name == "target" else "--" + self.name.replace("_", "-")


def is_path(target: str) -> bool:
    """Whether *target* names a file, and not a module."""
    return "/" in target or target.endswith(".py") or target.rpartition(":")[0].endswith(".py")


def _at_least_0(name: str, value: float) -> None:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a number of seconds from 0 on, not {value!r}")


_LEVELS: Final = choice("debug", "info", "warning", "error")
_DRAIN_TIMEOUT: Final = "Seconds that connections have to end after TERM or INT."
_DRAIN_DELAY: Final = "Seconds after TERM in which /ready says 503 and accepting goes on."

_RUNNING: Final = "Running"
_RUNNER: Final = (
    Setting("target", TEXT, None, "MODULE:NAME or path/to/file.py:NAME of the handlers.", _RUNNING),
    Setting("bind", several(ADDRESS), ["127.0.0.1:8080"], "Address to listen on; may be repeated.", _RUNNING),
    Setting("hot", SWITCH, False, "Reload the handlers when a file of the program changes.", _RUNNING),
    Setting("patch", SWITCH, False, "Monkey-patch the standard library before the program is imported.", _RUNNING),
    Setting("stats", optional(ADDRESS), None, "Serve /stats, /metrics and /ready by HTTP on this address.", _RUNNING),
    Setting("drain_timeout", SECONDS, 8.0, _DRAIN_TIMEOUT, _RUNNING, options.seconds),
    Setting("drain_delay", SECONDS, 0.0, _DRAIN_DELAY, _RUNNING, _at_least_0),
    Setting("access_log", SWITCH, False, "Log one line for each connection that has ended.", _RUNNING),
    Setting("log_level", _LEVELS, "info", "Log what is at least so serious.", _RUNNING),
)

_TLS: Final = "TLS"
_SECURITY: Final = (
    Setting("tls_cert", several(PATH), [], "Certificate with its chain, PEM; several go with their keys.", _TLS),
    Setting("tls_key", several(PATH), [], "Private key of the certificate, PEM.", _TLS),
    Setting("tls_ca", several(PATH), [], "Authorities to trust for the certificates of clients, PEM.", _TLS),
    Setting("tls_passphrase", optional(TEXT), None, "Of an encrypted key.", _TLS, secret=True),
    Setting("tls_request_cert", SWITCH, False, "Ask clients for a certificate, and verify it.", _TLS),
    Setting("tls_reject_unauthorized", SWITCH, True, "Refuse clients that show none.", _TLS),
    Setting("tls_alpn", several(TEXT), [], "Protocols to agree on, the preferred one first.", _TLS),
    Setting("tls_min_version", choice("TLSv1.2", "TLSv1.3"), "TLSv1.2", "Oldest version to speak.", _TLS),
    Setting("tls_ciphers", optional(TEXT), None, "Ciphers of TLS 1.2, as in ciphers(1).", _TLS),
)

#: What is said of each option of ``listen``; their defaults, types and checks are those of :class:`Options`.
_HELP: Final = {
    "backlog": "Connections that the kernel holds until they are accepted.",
    "reuse_port": "Share the port with other processes that ask for it too.",
    "ipv6_only": "Do not serve IPv4 on an IPv6 address.",
    "max_connections": "Connections at once; the rest wait in the backlog.",
    "idle_timeout": "Close a connection that is silent for so long.",
    "handshake_timeout": "Time for a TLS handshake.",
    "write_timeout": "Give up a peer that takes no byte of what is queued for so long.",
    "close_timeout": "Give up a peer that makes no progress with its end for so long.",
    "high_water_mark": "Queued bytes from which on a writer is told to wait.",
    "low_water_mark": "Queued bytes at which it is told to go on.",
    "max_buffered": "Queued bytes from which on a peer is a slow consumer.",
    "slow_consumer": "What then happens: end the connection, or refuse the write.",
    "allow_half_open": "Go on writing after the peer has ended its side.",
    "no_delay": "Send small segments at once (TCP_NODELAY).",
    "keepalive": "Silence until TCP asks whether the peer is there.",
    "framing": "Messages: lines, length-prefixed, netstring, fixed, varint (lines:max_size=1024), or MODULE:NAME.",
}


def _listening() -> Iterator[Setting]:
    """The options of ``listen`` as settings."""
    hints = get_type_hints(options.Options)
    for field in dataclasses.fields(options.Options):
        if field.name != "tls":  # which has settings of its own
            kind = TEXT if field.name == "framing" else _kind_of(hints[field.name])
            if field.default is None:
                kind = optional(kind)
            check = _is_spec if field.name == "framing" else _is_option
            yield Setting(field.name, kind, field.default, _HELP[field.name], "Connections", check)


def _kind_of(hint: Any) -> Kind:
    parts = get_args(hint)
    if type(None) in parts:
        return optional(_kind_of(parts[0]))
    if parts:
        return choice(*parts)
    return {int: WHOLE, float: SECONDS, bool: SWITCH}[hint]


def _is_option(name: str, value: object) -> None:
    options.Options.of({name: value})


def _is_spec(name: str, value: str | None) -> None:
    if value is not None:
        framing_of(value)


# -- framings as text ------------------------------------------------------------------------------------


def framing_of(text: str) -> Any:
    """The framing that *text* means: ``"lines"``, ``"lines:max_size=1024,delimiter=\\r\\n"``, ``"fixed:size=16"``.

    Returns:
        The framing; None if the text is ``MODULE:NAME``, which the caller has to look up.

    Raises:
        ValueError: there is no such framing, or it has no such argument; the message says what there is.
    """
    known: dict[str, Any] = {
        "lines": framing.Lines,
        "length-prefixed": framing.LengthPrefixed,
        "netstring": framing.Netstring,
        "fixed": framing.Fixed,
        "varint": framing.Varint,
    }
    name, _, rest = text.partition(":")
    if name not in known:
        if rest:
            return None
        raise ValueError(f"framing must be one of {', '.join(known)}, or MODULE:NAME, not {text!r}")
    fields = {field.name: field for field in dataclasses.fields(known[name]) if field.init}
    arguments = {}
    for part in rest.split(",") if rest else ():
        key, _, value = part.partition("=")
        if key not in fields:
            raise ValueError(f"framing {name!r} has no {key!r}; it has {', '.join(fields)}")
        try:
            arguments[key] = _argument(fields[key].type, value)
        except ValueError:
            raise ValueError(f"framing {name!r}: {key} cannot be {value!r}") from None
    for key, field in fields.items():
        if field.default is dataclasses.MISSING and key not in arguments:
            raise ValueError(f"framing {name!r} needs {key}, as in {name}:{key}=16")
    try:
        return known[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"framing {name!r}: {error}") from None


def _argument(kind: object, text: str) -> Any:
    if kind is int:
        return WHOLE.read(text)
    if kind is bool:
        return SWITCH.read(text)
    if kind is bytes:  # with the escapes of Python: \\r\\n, \\0, \\x2c
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
    return text


SETTINGS: Final[dict[str, Setting]] = {setting.name: setting for setting in (*_RUNNER, *_listening(), *_SECURITY)}
