"""The program ``greensock``, from the shell to its commands."""

import os
import sys
from collections.abc import Sequence

from .serve.config import Config, ConfigError


def main() -> None:
    """Run the command that the arguments name, and end the process."""
    if wants_patch(sys.argv[1:]):
        import gevent.monkey

        gevent.monkey.patch_all()
    try:
        from .commands import greensock
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("greensock: the commands need the extra 'cli': pip install 'greensock[cli]'")
    greensock(prog_name="greensock")


def wants_patch(arguments: Sequence[str]) -> bool:
    """Whether what is served is to be monkey-patched: known before anything is imported that would be too early.

    What is wrong with the arguments is told later, by those who read all of them.
    """
    if not arguments or arguments[0] not in ("serve", "doctor"):
        return False
    said = [argument for argument in arguments if argument in ("--patch", "--no-patch")]
    if said:
        return said[-1] == "--patch"
    file = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument == "--config":
            file = following
        elif argument.startswith("--config="):
            file = argument.removeprefix("--config=")
    try:
        return bool(Config.read({}, os.environ, file)["patch"])
    except ConfigError:
        return False
