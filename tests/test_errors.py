"""The tree of errors, as its docstring draws it."""

from greensock import SlowConsumer, SocketClosed, WriteQueueFull


def test_each_error_is_what_the_standard_library_would_call_it() -> None:
    assert issubclass(SlowConsumer, SocketClosed)
    assert issubclass(SocketClosed, ConnectionError)
    assert issubclass(WriteQueueFull, BlockingIOError)


def test_a_closed_socket_is_nobodys_failure_unless_it_says_so() -> None:
    assert SocketClosed("closed").socket is None
