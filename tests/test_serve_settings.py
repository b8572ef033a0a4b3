"""What the runner can be told."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import framing
from greensock.options import Options
from greensock.serve.kinds import NONE
from greensock.serve.settings import SETTINGS, framing_of, is_path

#: Has settings of its own.
COMPOSED = {"tls"}


@pytest.mark.parametrize("field", dataclasses.fields(Options), ids=lambda field: field.name)
def test_every_option_of_listen_is_a_setting_with_its_default(field: Any) -> None:
    if field.name in COMPOSED:
        assert field.name not in SETTINGS
    else:
        assert SETTINGS[field.name].default == field.default


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_setting_says_what_it_is_in_a_sentence(setting: Any) -> None:
    assert setting.help[0].isupper()
    assert setting.help.endswith(".")
    assert setting.flag == (f"--{setting.name.replace('_', '-')}" if setting.name != "target" else "TARGET")


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=lambda setting: setting.name)
def test_every_default_is_a_value_that_could_be_given(setting: Any) -> None:
    if setting.default is not None:
        assert setting.kind.value(setting.default) == setting.default
        setting.check(setting.name, setting.default)
    elif setting.name != "target":
        assert setting.kind.value(NONE) is None
        setting.check(setting.name, None)


# -- targets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["a.py", "a.py:b", "./a", "a/b:c", "/a/b.py:c.d", "a-b.py:x"])
def test_a_target_that_is_a_file(target: str) -> None:
    assert is_path(target)


@pytest.mark.parametrize("target", ["a", "a:b", "a.b:c", "a.b:c.d", "py:a", "apy"])
def test_a_target_that_is_a_module(target: str) -> None:
    assert not is_path(target)


# -- framings as text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("lines", framing.Lines()),
        ("lines:max_size=1024", framing.Lines(max_size=1024)),
        (r"lines:delimiter=\r\n,max_size=5", framing.Lines(b"\r\n", 5)),
        (r"lines:delimiter=\0", framing.Lines(b"\0")),
        (r"lines:delimiter=\x2c", framing.Lines(b",")),
        ("lines:delimiter=ÿ", framing.Lines(b"\xff")),
        ("lines:delimiter==", framing.Lines(b"=")),
        ("length-prefixed", framing.LengthPrefixed()),
        (
            "length-prefixed:size=3,byteorder=little,adjust=1,strip=no",
            framing.LengthPrefixed(3, "little", adjust=1, strip=False),
        ),
        ("length-prefixed:offset=1,adjust=-4", framing.LengthPrefixed(offset=1, adjust=-4)),
        ("netstring:max_size=7", framing.Netstring(7)),
        ("fixed:size=16", framing.Fixed(16)),
        ("varint", framing.Varint()),
    ],
)
def test_framings_are_written_as_text(text: str, meant: object) -> None:
    assert framing_of(text) == meant


@pytest.mark.parametrize("text", ["shop.wire:Frames", "shop/wire.py:frames", "linez:x"])
def test_any_other_name_in_a_module_is_left_to_be_looked_up(text: str) -> None:
    assert framing_of(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linez", "must be one of lines, length-prefixed, netstring, fixed, varint, or MODULE:NAME, not 'linez'"),
        ("lines:max=1", "framing 'lines' has no 'max'; it has delimiter, max_size"),
        ("lines:max_size=ten", "framing 'lines': max_size cannot be 'ten'"),
        ("lines:max_size", "framing 'lines': max_size cannot be ''"),
        ("lines:max_size=-1", "framing 'lines': max_size must be at least 0, not -1"),
        ("lines:delimiter=", "framing 'lines': delimiter must have a byte at least"),
        ("lines:delimiter=\\x", "framing 'lines': delimiter cannot be"),
        ("lines:delimiter=€", "framing 'lines': delimiter cannot be"),
        ("length-prefixed:strip=perhaps", "strip cannot be 'perhaps'"),
        ("length-prefixed:byteorder=middle", "byteorder must be 'big' or 'little'"),
        ("length-prefixed:_pack=1", "has no '_pack'"),
        ("fixed", "framing 'fixed' needs size, as in fixed:size=16"),
        ("", "must be one of"),
    ],
)
def test_a_bad_framing_is_a_value_error_that_says_what_there_is(text: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        framing_of(text)
    assert message in str(refused.value)


@given(st.text())
def test_no_text_is_any_other_error(text: str) -> None:
    try:
        framing_of(text)
    except ValueError:
        pass
    for setting in SETTINGS.values():
        try:
            setting.check(setting.name, setting.kind.value(text))
        except ValueError:
            pass
