"""What can be written: anything that is bytes, or becomes bytes in one obvious way."""

from typing import Protocol


class Buffer(Protocol):
    """Anything with the buffer protocol: bytes, bytearray, memoryview, array, ..."""

    def __buffer__(self, flags: int, /) -> memoryview: ...


Writable = Buffer | str


def as_bytes(data: Writable) -> bytes:
    """*data* as bytes that nobody can change: ``str`` as UTF-8, other buffers copied.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(data, str):
        return data.encode()
    try:
        view = memoryview(data)
    except TypeError:
        raise TypeError(f"bytes-like or str expected, not {type(data).__name__}") from None
    return view.tobytes()
