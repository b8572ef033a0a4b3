"""What :mod:`greensock.locust` is made of.

A user of locust's speaks through a ``client``, which gives it an ``answer`` or is ``oneway``, on a ``connection``,
where ``talk`` and ``replies`` know which reply is whose. ``rows`` says what is recorded, ``generator`` whether the load
generator was itself the limit, ``ending`` what is told last. The server's own numbers come by ``stats`` and ``watch``
to the ``tab`` of locust's web UI and to ``checks``, which decide the exit status.
"""
