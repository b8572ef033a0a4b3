"""A service from its start to its end: what ``greensock serve`` does once it knows what it was told.

The order is the point of it. Signals are taken before the program is imported, since that may take long; the program is
imported before a port is bound, since what cannot serve must not accept; and whoever waits for the service is told
when it accepts, and that it stops before it does.
"""

import logging
import os
import resource
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import Event

from ..lifecycle import run
from ..log import access, logger
from ..server import Server, listen
from ..tls import TLS
from . import native
from .app import App
from .config import Config
from .hot import Reloader, Watcher
from .report import report
from .settings import framing_of
from .signals import Signals
from .systemd import Notifier, take_sockets
from .watchdog import Watchdog

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

#: With a certificate all addresses speak TLS, save those that say how they begin.
IN_CLEAR: Final = ("tcp://", "unix:")

#: Exit status of a service that nobody told to end.
ENDED_BY_ITSELF: Final = 1
#: As shells have it for a program that an interrupt has ended.
INTERRUPTED: Final = 130


class Service:
    """What *config* says, running.

    Args:
        say: is called with one line for each address that it listens on.

    Resource handling: what a process has only once, its signals, limits and standard error; threads and servers. One
    for each process, in its main thread; the process ends after it.
    """

    def __init__(self, config: Config, say: Callable[[str], object]) -> None:
        self._config = config
        self._say = say
        self._servers: list[Server] = []
        self._thread = native.get_ident()
        self._status = ENDED_BY_ITSELF
        self._draining = False
        self._hurry = Event()
        self._over = Event()

    def run(self) -> int:
        """Serve until a signal ends it.

        Returns:
            The exit status: 0 after TERM or INT, 130 after a second INT, 1 if nothing listens any more.

        Raises:
            AppError: the program cannot be served.
            OSError: an address cannot be bound, or a file cannot be read.
            ValueError: an option or address cannot be.
        """
        config = self._config
        _raise_file_limit()
        signals = Signals(delay=config["drain_delay"], timeout=config["drain_timeout"])
        with ExitStack() as ending:
            self._notifier = Notifier(os.environ)
            passed = take_sockets(os.environ)
            before = monotonic()
            app = App(config["target"])
            handlers = app.load()
            took = monotonic() - before
            self._set_up_logging()
            self._listen(app, handlers, passed, ending)
            self._reloader = Reloader(app, self._servers, patch=config["patch"], took=took)
            if config["hot"]:
                ending.callback(Watcher(self._reloader.files, self._reloader.reload).close)
            self._watchdog = Watchdog()
            ending.callback(self._watchdog.close)
            if config["stats"] is not None:
                from .monitor import Monitor  # it needs a library that others do not

                monitor = Monitor(config["stats"], self._servers, more=self._more, ready=lambda: not self._draining)
                ending.callback(monitor.close)
            signals.serve(drain=self._drain, end=self._end, reload=self._reload, show=self._show)
            for server in self._servers:
                self._say(f"listening on {server.url}")
            self._notifier.ready()
            self._wait()
            signals.done()
        return self._status

    # -- beginning -----------------------------------------------------------------------------------

    def _set_up_logging(self) -> None:
        """A program that has set up logging for itself knows best; any other gets what an operator needs."""
        logging.basicConfig(format=LOG_FORMAT)  # which does nothing if there are handlers already
        logger.setLevel(self._config["log_level"].upper())
        access.setLevel(logging.INFO if self._config["access_log"] else logging.WARNING)

    def _listen(self, app: App, handlers: object, passed: list[int], ending: ExitStack) -> None:
        options = self._config.listening()
        if self._config["framing"] is not None:
            options["framing"] = framing_of(self._config["framing"]) or app.find(self._config["framing"])
        data: dict[str, Any] = {}  # one for all, and never replaced
        tls = self._tls()
        for address in [f"fd://{number}" for number in passed] or self._config["bind"]:
            secure = {"tls": tls} if tls is not None and not address.lower().startswith(IN_CLEAR) else {}
            server = listen(address, handlers, data=data, **options, **secure)
            ending.callback(server.close)
            self._servers.append(server)

    def _tls(self) -> TLS | None:
        """The certificates as they are now."""
        given = self._config.tls()
        return None if given is None else TLS(**given)

    # -- serving -------------------------------------------------------------------------------------

    def _wait(self) -> None:
        waiting = gevent.spawn(run, *self._servers, signals=False)
        waiting.link(lambda _: self._over.set())
        if self._notifier.watchdog is not None:
            gevent.spawn(self._live, self._notifier.watchdog / 2)
        while not self._over.wait(3600):  # without a timer gevent might find that nothing can ever happen
            pass
        if self._status == ENDED_BY_ITSELF:
            logger.error("nothing listens any more")

    def _live(self, period: float) -> None:
        while True:
            self._notifier.alive()
            gevent.sleep(period)

    def _drain(self, delay: float) -> None:
        """Stop: after *delay* seconds accept no more, and then let the connections end."""
        if self._draining:
            self._hurry.set()  # an interrupt after TERM: nobody waits for the delay any more
            return
        self._draining = True
        self._status = 0
        self._notifier.stopping()
        self._hurry.wait(delay)
        timeout = self._config["drain_timeout"]
        connections = sum(server.connections for server in self._servers)
        logger.info("draining %d connections, for %g s at most", connections, timeout)
        gevent.joinall([gevent.spawn(server.stop, timeout, close_active=True) for server in self._servers])
        self._over.set()

    def _end(self) -> None:
        """End at once."""
        self._status = INTERRUPTED
        self._over.set()

    def _reload(self) -> None:
        self._notifier.reloading()
        self._reloader.reload(asked=True)
        try:
            tls = self._tls()
            for server in self._servers:
                if server.tls is not None:
                    server.reload(tls=tls)
        except (OSError, ValueError) as error:
            logger.error("the certificates are not reloaded, the old ones go on: %s", error)
        self._notifier.ready()

    def _show(self) -> None:
        os.write(2, report(self._servers, self._thread).encode(errors="replace"))

    def _more(self) -> dict[str, tuple[float, str]]:
        return {
            "loop_blocks": (self._watchdog.blocks, "How often a handler blocked the loop."),
            "loop_blocked_seconds": (self._watchdog.seconds, "For how long in all."),
            "reloads": (self._reloader.reloads, "How often the handlers were reloaded."),
            "reload_failures": (self._reloader.failures, "How often that failed."),
        }


def _raise_file_limit() -> None:
    """Each connection is a descriptor, and the soft limit is for programs that use select(2): getrlimit(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass  # some systems name a limit that they do not grant
