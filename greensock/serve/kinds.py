"""Kinds of settings: what a value may be, how it is read from TOML or a text, and in which words it is refused."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Final

from ..address import parse

#: How None is written, where a setting may be None.
NONE: Final = "none"


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """What a setting may be.

    Args:
        metavar: its value in a usage line.
        allowed: the same in words.
        read: makes the value of what TOML or a text gives; ValueError without words for anything else.
        several: a list of such values. In a text they are separated by commas, save on the command line.
        optional: it may be None, written "none".
    """

    metavar: str
    allowed: str
    read: Callable[[Any], Any]
    several: bool = False
    optional: bool = False

    def value(self, given: object) -> Any:
        """The value that *given* means.

        Raises:
            ValueError: it means none; the message says what is allowed.
        """
        if self.optional and given == NONE:
            return None
        if not self.several:
            return self._one(given)
        parts = given.split(",") if isinstance(given, str) else given
        if not isinstance(parts, (list, tuple)):
            raise ValueError(f"must be a list, each of it {self.allowed}, not {given!r}")
        return [self._one(part.strip() if isinstance(part, str) else part) for part in parts]

    def _one(self, given: object) -> Any:
        try:
            return self.read(given)
        except ValueError as error:
            or_none = f", or {NONE!r}" if self.optional else ""
            why = f": {error}" if error.args else ""
            raise ValueError(f"must be {self.allowed}{or_none}, not {given!r}{why}") from None


def _whole(given: object) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if isinstance(given, str) and re.fullmatch(r"-?[0-9]{1,18}", given):
        return int(given)
    raise ValueError


def _seconds(given: object) -> float:
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return float(given)
    if isinstance(given, str) and re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]*)?|\.[0-9]+", given):
        return float(given)
    raise ValueError


_SWITCHES: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def _switch(given: object) -> bool:
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given.lower() in _SWITCHES:
        return _SWITCHES[given.lower()]
    raise ValueError


def _text(given: object) -> str:
    if isinstance(given, str) and given:
        return given
    raise ValueError


def _address(given: object) -> str:
    text = _text(given)
    parse(text)
    return text


def choice(*words: str) -> Kind:
    """One of these words."""

    def read(given: object) -> str:
        if given in words and isinstance(given, str):
            return given
        raise ValueError

    return Kind("|".join(words), " or ".join(map(repr, words)), read)


WHOLE: Final = Kind("NUMBER", "a whole number", _whole)
SECONDS: Final = Kind("SECONDS", "a number of seconds", _seconds)
SWITCH: Final = Kind("", "true or false", _switch)
TEXT: Final = Kind("TEXT", "text", _text)
PATH: Final = Kind("FILE", "the path of a file", _text)
ADDRESS: Final = Kind("ADDRESS", "an address", _address)


def several(kind: Kind) -> Kind:
    """A list of what *kind* is."""
    return dataclasses.replace(kind, several=True)


def optional(kind: Kind) -> Kind:
    """What *kind* is, or None."""
    return dataclasses.replace(kind, optional=True)
