"""What greensock says through :mod:`logging`: never more than a peer is worth.

``greensock``: handlers that raised, at ERROR, at most ten lines a second for each event and place;
failures of TLS, framing and I/O at DEBUG. ``greensock.access``: one INFO line per finished connection.
"""

import logging
import os
import traceback
from time import monotonic
from types import TracebackType
from typing import Final

logger: Final = logging.getLogger("greensock")
access: Final = logging.getLogger("greensock.access")

#: A failing handler under load would otherwise fill the disk at the speed of its peers.
LINES_PER_SECOND: Final = 10

#: So many characters of an exception stand in the line itself; the traceback below it has all.
LONGEST_SUMMARY: Final = 300

_Place = tuple[str, str, int]
_seen: dict[_Place, tuple[float, int]] = {}  # the second that began then, and the lines in it


def handler_failed(event: str, error: BaseException, peer: str) -> None:
    """Log that the handler of *event* raised, with file, line and peer, if this place may still speak."""
    place = _place_of(error)
    suppressed = _admit((event, *place))
    if suppressed is None:
        return
    more = f" ({suppressed} more like this were not logged)" if suppressed else ""
    logger.error(
        "%s handler of %s raised %s at %s:%d%s",
        event,
        peer,
        _summary(error),
        *place,
        more,
        exc_info=(type(error), error, error.__traceback__),
    )


def handshake_failed(peer: str, error: BaseException | None) -> None:
    """One line for a TLS handshake that came to nothing."""
    logger.debug("TLS handshake with %s failed: %s", peer, error)


def connection_finished(peer: str, seconds: float, read: int, written: int, reason: str) -> None:
    """One line for a connection that has closed."""
    access.info("%s %.3fs read=%d written=%d %s", peer, seconds, read, written, reason)


def _place_of(error: BaseException) -> tuple[str, int]:
    """File and line that raised *error*: the innermost that are not ours, for a refused write tells nothing by ours."""
    raised = inner = error.__traceback__
    if raised is None or inner is None:
        return "?", 0
    while inner.tb_next is not None:
        inner = inner.tb_next
        if not _is_ours(inner) or _is_ours(raised):
            raised = inner
    file = raised.tb_frame.f_code.co_filename
    try:
        file = os.path.relpath(file) if os.path.isabs(file) else file
    except OSError:
        pass  # the working directory is gone
    return file, raised.tb_lineno


def _is_ours(frame: TracebackType) -> bool:
    return str(frame.tb_frame.f_globals.get("__name__")).startswith("greensock.")


def _admit(place: _Place) -> int | None:
    """None when *place* has had its lines for this second, else how many it was denied before."""
    now = monotonic()
    began, count = _seen.get(place, (now, 0))
    if now - began >= 1.0:
        denied = max(0, count - LINES_PER_SECOND)
        _seen[place] = (now, 1)
        return denied
    _seen[place] = (began, count + 1)
    return 0 if count < LINES_PER_SECOND else None


def _summary(error: BaseException) -> str:
    """Type and message in one line, which the peer may have chosen the words of."""
    return " ".join("".join(traceback.format_exception_only(error)).split())[:LONGEST_SUMMARY]
