"""A list of questions as it comes through a pipe: a line each, whatever wrote it."""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterator
from typing import BinaryIO

from ngcg_cli.errors import DataError

logger = logging.getLogger(__name__)

# Queries embedded together when that many are waiting: enough for full batches of like length,
# few enough that hits keep coming.
BLOCK = 256
READ_BYTES = 1 << 16
#: A line longer than this is no question, and would fill memory while its end is looked for.
LINE_BYTES = 1 << 20
_WHERE = "standard input"
#: Marks at the start of a stream; the longer ones first, as one begins with another.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_END = re.compile(rb"\r\n|\r|\n")


class LineReader:
    """Queries from a stream, one a line, in blocks of what is there already.

    A line typed at a terminal is answered at once; lines that wait in a pipe are answered together.
    LF, CR LF and CR end a line. UTF-16 and UTF-32 are known by their mark; byte order marks are
    dropped wherever they stand, as joined files have them. Blank lines are passed over; lines that
    are not UTF-8 are named and counted in `unreadable`.

    Raises:
        DataError: while it is drawn from: the stream cannot be read or is no text.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._number = 0
        self.unreadable = 0

    def __iter__(self) -> Iterator[list[str]]:
        rest = b""
        ended_by_cr = False
        for piece in self._pieces():
            if b"\0" in piece:
                raise _no_text()
            # A line end may come in two pieces.
            fresh = piece[1:] if ended_by_cr and piece.startswith(b"\n") else piece
            ended_by_cr = fresh.endswith(b"\r") if fresh else ended_by_cr and not piece
            *lines, rest = _LINE_END.split(rest + fresh)
            if len(rest) > LINE_BYTES:
                raise DataError(
                    f"line {self._number + len(lines) + 1} is longer than {LINE_BYTES:,} bytes",
                    where=_WHERE,
                    hint="Give one question a line.",
                )
            yield from self._blocks(lines)
        yield from self._blocks([rest])

    def _blocks(self, lines: list[bytes]) -> Iterator[list[str]]:
        texts = [text for text in map(self._decoded, lines) if text]
        for start in range(0, len(texts), BLOCK):
            yield texts[start : start + BLOCK]

    def _decoded(self, line: bytes) -> str:
        self._number += 1
        try:
            return line.decode("utf-8").replace("\ufeff", "").strip()
        except UnicodeDecodeError as error:
            self.unreadable += 1
            logger.error("%s, line %d: not UTF-8 (%s)", _WHERE, self._number, error.reason)
            return ""

    def _pieces(self) -> Iterator[bytes]:
        """The stream as UTF-8, as it comes in."""
        head = self._read()
        # Only what may become a mark waits for more: a typed line does not.
        while 0 < len(head) < 4 and any(mark.startswith(head) for mark, _ in _MARKS):
            more = self._read()
            if not more:
                break
            head += more
        name = next((name for mark, name in _MARKS if head.startswith(mark)), None)
        decoder = codecs.getincrementaldecoder(name)() if name else None
        piece = head
        while piece:
            yield self._utf8(decoder, piece) if decoder else piece
            piece = self._read()
        if decoder:
            yield self._utf8(decoder, b"", final=True)

    def _utf8(self, decoder: codecs.IncrementalDecoder, piece: bytes, final: bool = False) -> bytes:
        try:
            return decoder.decode(piece, final).encode()
        except UnicodeError as error:
            raise DataError(
                f"damaged after line {self._number} ({error})", where=_WHERE, hint="Send UTF-8."
            ) from error

    def _read(self) -> bytes:
        try:
            # At most one read of the system: it waits for the first byte, not for a full buffer.
            piece: bytes = self._stream.read1(READ_BYTES)  # type: ignore[attr-defined]
        except (OSError, ValueError) as error:  # a folder, or closed
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"cannot be read ({reason})", where=_WHERE) from error
        return piece


def _no_text() -> DataError:
    return DataError(
        "holds NUL characters: it is UTF-16 without its mark, or separated by NUL",
        where=_WHERE,
        hint="Convert it: iconv -f UTF-16LE -t UTF-8, or tr '\\0' '\\n'.",
    )
