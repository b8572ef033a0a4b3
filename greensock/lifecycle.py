"""How long a process lives: until no referenced server or socket is left, or a signal drains them."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import gevent

from . import interrupts
from .draining import Draining
from .engine import Engine
from .options import seconds
from .server import Server
from .sock import Socket

R = TypeVar("R")


def run(*servers: Server, drain_timeout: float = 8.0, signals: bool = True) -> None:
    """Block until no referenced server or socket is left.

    Args:
        servers: wait for these and their sockets; without any: for all of this hub, also those that come later.
        drain_timeout: seconds that the connections have to close after a signal; then they are terminated. The
            default is below the 10 s after which Docker kills. Handlers that refuse to die do not hold this up.
        signals: have TERM and INT drain the servers. The old signal handlers come back at the end. Only the main
            thread can take signals; elsewhere this has no effect. While a handler blocks the loop (it computes, or
            sleeps outside of gevent) nothing can drain; a second INT, a quarter of a second later, ends it even then.

    Raises:
        KeyboardInterrupt: at the second INT, at once.
        TypeError: *servers* has something else.
        ValueError: *drain_timeout* is not a number of seconds above 0.
        RuntimeError: one of *servers* was made in another thread, whose event loop serves it.
    """
    timeout = seconds("drain_timeout", drain_timeout)
    for server in servers:
        if not isinstance(server, Server):
            raise TypeError(f"run() waits for servers that listen() gives, not for {type(server).__qualname__!r}")
        server._check_thread()
    engine = Engine.of_this_hub()
    interrupts = 0
    drained = False

    def targets() -> list[Draining]:
        return list(servers or engine.owners)

    def drain() -> None:
        nonlocal drained
        gevent.joinall([gevent.spawn(owner.stop, timeout, close_active=True) for owner in targets()])
        drained = True
        engine.released.set()

    def interrupt() -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts == 1:
            drain()
        else:
            engine.released.set()

    with _handling({signal.SIGTERM: drain, signal.SIGINT: interrupt} if signals else {}):
        while not drained and any(owner._holds_run() for owner in targets()):
            engine.released.clear()
            engine.released.wait()
            if interrupts > 1:
                raise KeyboardInterrupt


@contextmanager
def _handling(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Take signals by the event loop, so that none interrupts the engine's own code, and give them back."""
    if not gevent.get_hub().main_hub:
        handlers = {}
    before = {number: interrupts.handler_before(number) for number in handlers}
    taken = [gevent.signal_handler(number, handler) for number, handler in handlers.items()]
    try:
        with interrupts.heard() if signal.SIGINT in handlers else nullcontext():
            yield
    finally:
        for watching in taken:
            watching.cancel()
        for number, handler in before.items():
            # libev has left the system's default, unless others take this signal by the event loop as well.
            if handler is not None and not _is_caught(number):
                signal.signal(number, handler)


def _is_caught(number: signal.Signals) -> bool:
    """Whether a signal handler is installed, be it Python's or libev's; False where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            masks = [line.split()[1] for line in status if line.startswith("SigCgt:")]
    except OSError:
        return False
    return bool(masks) and bool(int(masks[0], 16) >> number - 1 & 1)


def call_from_thread(target: Server | Socket[Any], function: Callable[..., R], /, *args: Any) -> "Future[R]":
    """Run ``function(*args)`` in a greenlet of *target*'s hub, from any thread.

    The one thing that another thread may do with a server or socket.

    Returns:
        A future of the function's result or exception. A future cancelled before the function runs cancels it.

    Raises:
        TypeError: *target* is something else.
        RuntimeError: the hub is gone.
    """
    if not isinstance(target, (Server, Socket)):
        raise TypeError(f"call_from_thread() needs a server or a socket first, not {type(target).__name__!r}")
    future: Future[R] = Future()

    def call() -> None:
        if future.set_running_or_notify_cancel():
            try:
                result = function(*args)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

    try:
        target._engine.call_from_thread(call)
    except ValueError as error:  # by gevent: operation on destroyed loop
        raise RuntimeError("the hub of this server or socket is gone") from error
    return future
