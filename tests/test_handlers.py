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
    ],
)
def test_what_would_return_before_it_ran_is_refused(handler: object) -> None:
    with pytest.raises(TypeError, match="'close' is .*plain functions"):
        HandlerTable({"close": handler})


def test_replacing_takes_all_and_forgets_the_others() -> None:
    table = HandlerTable({"data": nothing, "open": nothing})
    table.replace(HandlerTable({"data": print}))
    assert present(table) == {"data"}
    assert table.data is print
