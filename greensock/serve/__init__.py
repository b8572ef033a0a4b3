"""The command ``greensock serve``: a user's program run as a service, which ``service`` puts together.

``kinds``, ``settings`` and ``config`` are what it was told. ``app`` is the user's program, ``importing``, ``trial``
and ``hot`` are its reloads. ``signals``, ``watchdog``, ``systemd``, ``monitor`` and ``report`` are how operators reach
it and what they see of it, ``native`` and ``stacks`` what those know of threads and greenlets.
"""
