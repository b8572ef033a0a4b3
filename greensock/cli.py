"""The program ``greensock``, from the shell to its commands."""

import sys


def main() -> None:
    """Run the command that the arguments name, and end the process."""
    try:
        from .commands import greensock
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("greensock: the commands need more than the library does; install it as greensock[cli]")
    greensock(prog_name="greensock")
