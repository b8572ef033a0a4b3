"""The words and bits for where a connection stands."""

from greensock import CloseReason, SocketState, state


def test_reasons_are_strings_as_documented() -> None:
    assert [str(reason) for reason in CloseReason] == [
        "eof",
        "local",
        "reset",
        "timeout",
        "truncated",
        "slow-consumer",
        "protocol",
        "handler-error",
        "stopped",
    ]


def test_states_are_those_of_a_life_in_order() -> None:
    assert [each.name for each in SocketState] == ["CONNECTING", "OPEN", "ENDED", "CLOSING", "CLOSED"]
    assert repr(SocketState.OPEN) == "<SocketState.OPEN>"


def test_no_two_flags_share_a_bit() -> None:
    flags = {name: value for name, value in vars(state).items() if name.isupper() and isinstance(value, int)}
    single = [value for value in flags.values() if value.bit_count() == 1]
    assert len(single) == len(set(single)) >= 19


def test_what_stops_a_plain_read_includes_every_event_and_every_gate() -> None:
    assert state.CAREFUL & state.PENDING == state.PENDING
    assert state.CAREFUL & state.UNREADABLE == state.UNREADABLE
    assert not state.CAREFUL & (state.CONTEXT | state.CLOCKED | state.LATE | state.UNREFERENCED | state.TOLD_TO_STOP)
