"""What may handle events, and what is refused with a sentence that names it."""

import functools
from typing import Any

import pytest

from greensock import Handlers
from greensock.handlers import EVENTS, HandlerTable


def nothing(*arguments: object) -> None:
    """A handler."""


async def asynchronous(*arguments: object) -> None:
    """No handler."""


def generator(*arguments: object) -> Any:
    """No handler."""
    yield


async def asynchronous_generator(*arguments: object) -> Any:
    """No handler."""
    yield


class AsynchronousCall:
    async def __call__(self, *arguments: object) -> None:
        """No handler."""


class GeneratingCall:
    def __call__(self, *arguments: object) -> Any:
        yield


class AsynchronousMethod:
    async def close(self, *arguments: object) -> None:
        """No handler."""


class Echo(Handlers[None]):
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def data(self, socket: Any, data: bytes) -> None:
        socket.write(data)


def present(table: HandlerTable) -> set[str]:
    return {event for event in EVENTS if getattr(table, event) is not None}


def test_an_inherited_method_counts_as_absent() -> None:
    assert present(HandlerTable(Echo())) == {"data"}


def test_a_class_is_made_once() -> None:
    before = Echo.made
    HandlerTable(Echo)
    assert Echo.made == before + 1


def test_any_object_with_event_methods_will_do() -> None:
    class Plain:
        close = staticmethod(nothing)
        drain = None

        def data(self, socket: Any, data: bytes) -> None: ...

        def helper(self) -> None: ...

    assert present(HandlerTable(Plain())) == {"data", "close"}


def test_a_mapping_names_its_events() -> None:
    table = HandlerTable({"data": nothing, "open": print})
    assert present(table) == {"data", "open"}
    assert table.open is print


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_can_be_handled_alone(event: str) -> None:
    assert present(HandlerTable({event: nothing})) == {event}


@pytest.mark.parametrize("handlers", [{}, Handlers(), Handlers, object(), None, 5, "data", [nothing]])
def test_no_event_at_all_is_refused_with_the_list_of_them(handlers: object) -> None:
    with pytest.raises(TypeError, match="the events are .*open, data, drain"):
        HandlerTable(handlers)


@pytest.mark.parametrize("event", ["dta", "Data", 5, None, "connection"])
def test_an_unknown_event_is_named(event: object) -> None:
    with pytest.raises(TypeError, match=f"unknown event {event!r}; the events are"):
        HandlerTable({"data": nothing, event: nothing})


@pytest.mark.parametrize("value", [5, None, "echo", b""])
def test_a_value_that_cannot_be_called_is_named(value: object) -> None:
    with pytest.raises(TypeError, match="'data' cannot be called"):
        HandlerTable({"data": value})


@pytest.mark.parametrize(
    "handler",
    [
        asynchronous,
        asynchronous_generator,
        generator,
        functools.partial(asynchronous, 1),
        functools.partial(generator, 1),
        AsynchronousCall(),
        AsynchronousCall().__call__,
        GeneratingCall(),
        functools.partial(AsynchronousCall(), 1),
        functools.partial(functools.partial(GeneratingCall(), 1), 2),
        AsynchronousMethod().close,
    ],
)
def test_what_would_return_before_it_ran_is_refused(handler: object) -> None:
    with pytest.raises(TypeError, match="'close' is .*plain functions"):
        HandlerTable({"close": handler})


@pytest.mark.parametrize("handlers", [AsynchronousMethod, AsynchronousMethod()])
def test_so_is_such_a_method(handlers: object) -> None:
    with pytest.raises(TypeError, match="'close' is 'async def'"):
        HandlerTable(handlers)


def test_what_can_be_called_and_returns_is_a_handler() -> None:
    handlers: list[object] = [nothing, print, lambda socket: None, functools.partial(nothing, 1), Called(), Called]
    for handler in handlers:
        assert present(HandlerTable({"open": handler})) == {"open"}


class Called:
    def __call__(self, *arguments: object) -> None: ...

    def method(self, socket: object) -> None: ...


@pytest.mark.parametrize(
    "handle", [nothing, print, lambda socket: None, functools.partial(nothing, 1), Called(), Called, Called().method]
)
def test_what_can_be_called_is_a_session(handle: Any) -> None:
    table = HandlerTable(handle)
    assert present(table) == set()
    assert type(table.handle) is Called if handle is Called else table.handle is handle or table.handle == handle


def test_a_session_beside_events() -> None:
    class Lines(Handlers[None]):
        def open(self, socket: Any) -> None: ...

        def handle(self, socket: Any) -> None: ...

    for handlers in (Lines, Lines(), {"open": nothing, "handle": nothing}):
        table = HandlerTable(handlers)
        assert present(table) == {"open"} and table.handle is not None
    assert HandlerTable({"handle": nothing}).handle is nothing


@pytest.mark.parametrize("event", ["data", "drain", "end"])
def test_a_session_has_no_use_for_some_events(event: str) -> None:
    with pytest.raises(TypeError, match=f"has 'handle', which reads by itself, and also '{event}'"):
        HandlerTable({"handle": nothing, event: nothing})


@pytest.mark.parametrize("handle", [asynchronous, generator, functools.partial(generator, 1), GeneratingCall()])
def test_a_session_that_would_return_before_it_ran_is_refused(handle: object) -> None:
    for handlers in (handle, {"handle": handle}):
        with pytest.raises(TypeError, match="'handle' is .*plain functions"):
            HandlerTable(handlers)


def test_events_are_not_replaced_by_a_session_nor_the_other_way_round() -> None:
    session, events = HandlerTable(nothing), HandlerTable({"open": nothing})
    with pytest.raises(TypeError, match="cannot go from a session to events"):
        session.replace(events)
    with pytest.raises(TypeError, match="cannot go from events to a session"):
        events.replace(session)
    assert session.handle is nothing and events.open is nothing
    session.replace(HandlerTable({"handle": print, "close": nothing}))
    assert session.handle is print and session.close is nothing


def test_inherited_unchanged_counts_as_absent_however_deep_the_tree() -> None:
    class Middle(Handlers[None]):
        def open(self, socket: Any) -> None: ...

    class Leaf(Middle):
        drain = None  # type: ignore[assignment]
        end = Handlers.end

        def close(self, socket: Any, error: Exception | None) -> None:
            super().close(socket, error)

    assert present(HandlerTable(Leaf())) == present(HandlerTable(Leaf)) == {"open", "close"}


def test_an_attribute_that_is_no_handler_is_named() -> None:
    class Legacy:
        timeout = 30  # as a socketserver handler has it

        def data(self, socket: Any, data: bytes) -> None: ...

    with pytest.raises(TypeError, match="'timeout' cannot be called: 30"):
        HandlerTable(Legacy())


def test_a_class_that_cannot_be_made_says_so_itself() -> None:
    class Needy(Handlers[None]):
        def __init__(self, needed: int) -> None: ...

    with pytest.raises(TypeError, match="needed"):
        HandlerTable(Needy)


def test_the_mapping_may_change_afterwards() -> None:
    handlers: dict[str, Any] = {"data": nothing}
    table = HandlerTable(handlers)
    handlers["open"] = nothing
    del handlers["data"]
    assert present(table) == {"data"}


def test_replacing_takes_all_and_forgets_the_others() -> None:
    table = HandlerTable({"data": nothing, "open": nothing})
    table.replace(HandlerTable({"data": print}))
    assert present(table) == {"data"}
    assert table.data is print
