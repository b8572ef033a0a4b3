"""``python -m greensock`` is the command ``greensock``."""

from .cli import main

main()
