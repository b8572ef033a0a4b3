"""``python -m greensock``."""

from program import run


def test_it_is_the_command() -> None:
    status, output, errors = run("--help")
    assert (status, errors) == (0, "")
    assert output.startswith("Usage: greensock [OPTIONS] COMMAND")
