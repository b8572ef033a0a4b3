"""Load tests of TCP services with locust."""

from __future__ import annotations

from typing import Any

import locust
from .loadchecks import Checks, add_options
from .loadgenerator import Generator
from .loadstats import Endpoint
from .loadtab import add_tab
from .loadwatch import Watch
from locust.runners import WorkerRunner

def install(stats=None):
    Endpoint(stats) if stats else None
    @locust.events.init_command_line_parser.add_listener
    def options(parser: Any) -> None:
        group = parser.add_argument_group("greensock: the server's numbers")
        group.add_argument("--gs-stats", metavar="ADDRESS", default=stats, env_var="LOCUST_GS_STATS", help="x")
        add_options(parser)
    @locust.events.init.add_listener
    def init(environment, runner, web_ui, **_):
        if runner is None: return
        Generator(environment).start()
        if isinstance(runner, WorkerRunner): return
        watch = None
        address = environment.parsed_options.gs_stats
        if address:
            watch = Watch(environment, Endpoint(address))
            watch.start()
            if web_ui: add_tab(web_ui, watch)
        Checks(environment, watch).start()
