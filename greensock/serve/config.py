"""What the runner is told: on the command line, in the environment, and in greensock.toml, in that order.

Every setting has one name: ``idle_timeout`` in the file, ``GREENSOCK_IDLE_TIMEOUT`` in the environment,
``--idle-timeout`` on the command line. A misspelt one is refused, wherever it stands, and so is a value that cannot be.
"""

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from .. import options
from ..address import parse
from .kinds import NONE, PATH
from .settings import SETTINGS, is_path

#: Read when no other file is named, if it is there.
FILE: Final = "greensock.toml"
PREFIX: Final = "GREENSOCK_"

#: What Kubernetes puts into the environment of every container when a service is called "greensock".
_OF_KUBERNETES: Final = re.compile(r"GREENSOCK_(SERVICE_HOST|(SERVICE_)?PORT(_.*)?)")


_DEFAULT: Final = "default"


class ConfigError(ValueError):
    """A setting that is unknown or cannot be; the message names where it stands, its key, and what is allowed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Config:
    """All settings, and where each was said."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]

    @classmethod
    def read(cls, given: Mapping[str, object], environ: Mapping[str, str], file: str | None = None) -> Self:
        """Put together what was said.

        Args:
            given: what stands on the command line, by name.
            environ: the environment; its part is what begins with ``GREENSOCK_``.
            file: the file to read; None: the one that ``GREENSOCK_CONFIG`` names, else greensock.toml if there is one.

        Raises:
            ConfigError: a setting is unknown or cannot be, or the file cannot be read.
        """
        values = {setting.name: setting.default for setting in SETTINGS.values()}
        origins = dict.fromkeys(values, _DEFAULT)
        for origin, name, value in (
            *_of_file(file or environ.get(f"{PREFIX}CONFIG") or None),
            *_of_environment(environ),
            *((f"the command line, {SETTINGS[name].flag}", name, value) for name, value in given.items()),
        ):
            values[name] = _valid(origin, name, value)
            origins[name] = origin
        config = cls(values, origins)
        config._check_together()
        return config

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def is_given(self, name: str) -> bool:
        """Whether somebody has said so; else it is the default."""
        return self.origins[name] != _DEFAULT

    def listening(self) -> dict[str, Any]:
        """The options of ``listen`` that were given, save TLS and the framing."""
        names = (field.name for field in dataclasses.fields(options.Options))
        return {name: self[name] for name in names if name in SETTINGS and name != "framing" and self.is_given(name)}

    def tls(self) -> dict[str, Any] | None:
        """The options of :class:`greensock.TLS`, with paths for contents; None without a certificate."""
        if not self["tls_cert"]:
            return None
        given = {name.removeprefix("tls_"): self[name] for name in SETTINGS if name.startswith("tls_")}
        for name in ("cert", "key", "ca"):
            paths = [Path(path) for path in given[name]]
            given[name] = paths[0] if len(paths) == 1 else paths
        return {name: value for name, value in given.items() if value not in (None, [])}

    def as_toml(self) -> str:
        """All of it as a greensock.toml, with the origin of each value behind it."""
        lines = []
        for name, value in self.values.items():
            text = f"{name} = {_toml('***' if SETTINGS[name].secret and value else value)}"
            if name == "target" and value is None:
                text = "# target ="
            lines.append(f"{text:<40} # {self.origins[name]}")
        return "\n".join(lines)

    def _check_together(self) -> None:
        """What only several settings together can get wrong."""
        try:
            options.Options.of(self.listening())
        except ValueError as error:
            marks = ("low_water_mark", "high_water_mark", "max_buffered")
            origins = {self.origins[name]: None for name in marks if self.is_given(name)}
            raise ConfigError(f"{', '.join(origins)}: {error}") from None
        for first, second in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
            if self[first] and not self[second]:
                raise ConfigError(f"{self.origins[first]}: {first} needs {second}")
        if not self["tls_cert"]:
            for name in SETTINGS:
                if name.startswith("tls_") and self[name] != SETTINGS[name].default:
                    raise ConfigError(f"{self.origins[name]}: {name} needs tls_cert and tls_key")
            for address in self["bind"]:
                if parse(address).scheme == "tls":
                    raise ConfigError(f"{self.origins['bind']}: bind {address!r} needs tls_cert and tls_key")


def _valid(origin: str, name: str, given: object) -> Any:
    setting = SETTINGS[name]
    try:
        value = setting.kind.value(given)
    except ValueError as error:
        raise ConfigError(f"{origin}: {name} {error}") from None
    try:
        setting.check(name, value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{origin}: {str(error).replace('None', repr(NONE))}") from None
    return value


def _of_file(given: str | None) -> Iterator[tuple[str, str, object]]:
    path = Path(given or FILE)
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except FileNotFoundError:
        if given is None:
            return
        raise ConfigError(f"there is no file {given!r}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    for key, value in table.items():
        if key not in SETTINGS:
            raise _unknown(str(path), key, list(SETTINGS))
        yield str(path), key, _beside(path.parent, key, value)


def _beside(directory: Path, key: str, value: object) -> object:
    """Paths in a file are relative to that file, wherever the program is started."""
    if SETTINGS[key].kind.metavar == PATH.metavar and isinstance(value, (str, list)):
        paths = [value] if isinstance(value, str) else value
        return [str(directory / path) if isinstance(path, str) and path else path for path in paths]
    if key == "target" and isinstance(value, str) and is_path(value):
        return str(directory / value)
    if key in ("bind", "stats"):
        if isinstance(value, list):
            return [_socket_beside(directory, address) for address in value]
        return _socket_beside(directory, value)
    return value


def _socket_beside(directory: Path, address: object) -> object:
    """The same for the path of a unix socket, if *address* is one."""
    try:
        where = parse(address)
    except ValueError:
        return address  # which is told of where it is checked
    is_file = where.scheme == "unix" and isinstance(where.unix_name, str)
    if not is_file or os.path.isabs(where.path) or directory == Path():
        return address
    return str(dataclasses.replace(where, path=os.path.join(directory, where.path)))


def _of_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, object]]:
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable == f"{PREFIX}CONFIG" or _OF_KUBERNETES.fullmatch(variable):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in SETTINGS or variable != variable.upper():
            known = [PREFIX + known.upper() for known in SETTINGS]
            raise _unknown("the environment", variable, [*known, f"{PREFIX}CONFIG"])
        yield f"the environment, {variable}", name, value


def _unknown(origin: str, key: str, known: list[str]) -> ConfigError:
    return ConfigError(f"{origin}: unknown key {key!r}{options.suggestion(key, known)} The keys are {', '.join(known)}")


def _toml(value: object) -> str:
    if value is None:
        return f'"{NONE}"'
    # Of what settings are JSON is TOML too, save that it may have this character as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
