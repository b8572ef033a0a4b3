"""Load tests of TCP services with locust: ``pip install greensock[locust]``.

::

    from locust import task
    from greensock.framing import LengthPrefixed
    from greensock.locust import SocketUser, fine_buckets, install

    install()          # the server's numbers in locust's web UI, and --gs-check-... for thresholds
    fine_buckets()     # response times below a millisecond

    class Shopper(SocketUser):
        host = "tcp://127.0.0.1:8080"
        framing = LengthPrefixed()

        @task
        def buy(self):
            self.client.exchange(b"apples", name="buy")

A connection is made on first use, and made again when it was lost. Connections, handshakes, exchanges and pushes have
rows of their own. To import this is to import locust, which monkey-patches unless LOCUST_SKIP_MONKEY_PATCH is set;
greensock needs no patching, and patches nothing.
"""

import logging
import sys
from argparse import ArgumentTypeError
from collections.abc import Hashable, Mapping
from typing import Any, Final

try:
    import locust
except ModuleNotFoundError as error:
    if error.name != "locust":
        raise
    raise ImportError("greensock.locust needs locust: install it as greensock[locust]") from None

import locust.stats
from gevent.pool import Group
from locust.env import Environment
from locust.exception import StopTest
from locust.runners import WorkerRunner
from locust.user.task import LOCUST_STATE_WAITING

from . import endpoints
from .address import Address, parse
from .framing import Framing, Lines
from .load.answer import Answer
from .load.checks import Checks, add_options
from .load.client import SocketClient
from .load.connection import Backoff
from .load.ending import tell_at_the_end
from .load.generator import Generator
from .load.rows import RequestFailed, fine_bucket, response_times
from .load.stats import Endpoint
from .load.tab import add_tab
from .load.watch import Watch
from .log import access
from .options import Options
from .tls import TLS

__all__ = ["Answer", "Backoff", "RequestFailed", "SocketClient", "SocketUser", "fine_buckets", "install"]

SCHEMES: Final = ("tcp", "tls", "unix")


class SocketUser(locust.User):
    """A user that speaks through one socket, :attr:`client`. Subclass it, and say at least :attr:`framing`.

    ``host`` (or ``-H``) is ``tcp://host:port``, ``tls://host:port`` or ``unix:/path``.
    """

    abstract = True

    #: how messages stand in the stream: one of :mod:`greensock.framing`, or of your own in the same shape
    framing: Framing = Lines()
    #: seconds for a connection, the name look-up included, and as many for a TLS handshake
    connect_timeout: float = 10.0
    #: seconds for a reply
    response_timeout: float = 30.0
    #: for ``tls://``: True, by the system's authorities; or a :class:`greensock.TLS`, a mapping of its options, or an
    #: SSLContext. All users of a class share one context.
    tls: Any = True
    #: whom the server has to be by its certificate, if that is not the host
    server_hostname: str | None = None
    #: how long to wait before connecting again; None: a user who cannot connect, or is to connect again, stops
    reconnect: Backoff | None = Backoff()

    #: what to speak through
    client: SocketClient

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            self.address = self._target()
        except (TypeError, ValueError) as error:
            environment.process_exit_code = 1  # a test that could not begin has not gone well
            raise StopTest(f"{type(self).__name__}: {error}") from None
        overridden = type(self).correlate is not SocketUser.correlate
        #: for the client: the keys of messages; None: replies come in order
        self.key_of = self.correlate if overridden else None
        self.client = SocketClient(self)

    # -- to be overridden ----------------------------------------------------------------------------

    def on_connect(self) -> None:
        """A connection was made, now or again: log in, subscribe. The client is for this method alone until it returns.

        When a request of it fails the connection is given up, and made again after a while.
        """

    def correlate(self, message: Any) -> Hashable:
        """The key by which a reply finds its request: called with requests and with all that comes.

        Not overridden, replies come in the order of their requests.

        Returns:
            The key; None for a message that is no reply.
        """
        raise NotImplementedError

    def on_push(self, message: Any) -> str | tuple[str, float | None] | None:
        """A message came that is no reply, and that nobody has waited for with ``expect``.

        Runs before the next message is looked at. So the reader is slow if this is, and it must not wait for replies.

        Returns:
            The name of its row, or that and when it was sent, in seconds since the epoch. Then its response time is how
            long it was on its way, which is exact if sender and test share a clock; otherwise it has none.
        """
        return None

    # -- called by locust ----------------------------------------------------------------------------

    def on_stop(self) -> None:
        """End the connection."""
        self.client.close()

    def start(self, group: Group) -> Any:
        """Run; whatever becomes of it, no connection is left."""
        greenlet = super().start(group)
        greenlet.link(lambda _: self.client.abandon())
        return greenlet

    def stop(self, force: bool = False) -> Any:
        """Stop. A user between two tasks is killed, and may have begun the next one before that happens."""
        if self._state == LOCUST_STATE_WAITING:
            self.client.retire()
        return super().stop(force)

    @classmethod
    def json(cls) -> dict[str, Any]:
        """What can be changed of the class in locust's UI."""
        timeouts = {"connect_timeout": cls.connect_timeout, "response_timeout": cls.response_timeout}
        told: dict[str, Any] = super().json()  # type: ignore[no-untyped-call]
        return {**told, **timeouts}

    def _target(self) -> Address:
        """The host, after a look at all that is said of how to connect."""
        cls = type(self)
        if not self.host:
            raise ValueError("there is no host: say tcp://host:port, tls://host:port or unix:/path, here or with -H")
        address = parse(self.host)
        if address.scheme not in SCHEMES:
            raise ValueError(f"the host {self.host!r} is none of tcp://host:port, tls://host:port, unix:/path")
        if address.scheme != "unix" and address.port == 0:
            raise ValueError(f"the host {self.host!r} has port 0, at which nothing can be reached")
        if self.framing is None:
            raise ValueError("there is no framing: without one nobody knows where a message ends")
        Options.of({"framing": self.framing, "handshake_timeout": self.connect_timeout}, connecting=True)
        if address.scheme == "tls":
            if isinstance(self.tls, Mapping):  # read once, and not for each connection
                cls.tls = TLS.of(self.tls)
            endpoints.client_side(self.tls, self.server_hostname or address.host)
        return address


def fine_buckets() -> None:
    """Count response times below 10 ms in hundredths, where locust has whole milliseconds, and tell them at the end.

    For all users of the process. To be called at the top of a locustfile, so that it holds in workers and master.
    """
    if locust.stats.bucket_response_time is fine_bucket:
        return
    locust.stats.bucket_response_time = fine_bucket  # type: ignore[assignment]

    @locust.events.init.add_listener  # type: ignore[untyped-decorator]
    def tell(environment: Environment, **_: Any) -> None:
        tell_at_the_end(environment, lambda: response_times(environment.stats))


_installed: list[str | None] = []


def install(stats: str | None = None) -> None:
    """Watch a service of greensock's under load, and judge the test: to be called at the top of a locustfile.

    Adds to locust the options ``--gs-stats`` and ``--gs-check-…``; a tab ``Server`` in its web UI, with a table and
    charts; with ``--csv`` the files ``…_server_history.csv`` and ``…_server.csv``; and a line at the end. In a
    distributed test the master alone asks, and it stops only when its workers have ended their users.

    Args:
        stats: where the service tells its numbers: what ``greensock serve --stats`` was given, or an http:// URL.
            ``--gs-stats`` goes before it. None, and no such option: nobody is asked.

    Calling it again, as the next of several locustfiles does, has no effect.

    Raises:
        ValueError: *stats* is no such address, or another one than before.
    """
    if stats is not None:
        Endpoint(stats)
    if _installed:
        if stats not in (None, _installed[0]):
            raise ValueError(f"install({stats!r}): the numbers are to come from {_installed[0]!r} already")
        return
    _installed.append(stats)
    access.setLevel(logging.WARNING)  # thousands of users are as many lines

    @locust.events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
    def options(parser: Any) -> None:
        parser.add_argument(
            "--gs-stats",
            metavar="ADDRESS",
            default=stats,
            type=_address_of_stats,
            env_var="LOCUST_GS_STATS",
            include_in_web_ui=False,
            help="Where a greensock service tells its numbers: host:port, unix:/path or http://host:port/path.",
        )
        add_options(parser)

    @locust.events.init.add_listener  # type: ignore[untyped-decorator]
    def init(environment: Environment, runner: Any, web_ui: Any, **_: Any) -> None:
        if runner is None:  # run_single_user
            return
        Generator(environment).start()
        if isinstance(runner, WorkerRunner):
            return
        address = getattr(environment.parsed_options, "gs_stats", stats)
        watch = None if address is None else Watch(environment, Endpoint(address))
        if watch is not None:
            watch.start()
            if web_ui is not None:
                add_tab(web_ui, watch)
        try:
            checks = Checks(environment, watch)
        except ValueError as error:
            sys.exit(f"locust: {error}")
        checks.start()


def _address_of_stats(text: str) -> str:
    try:
        Endpoint(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return text
