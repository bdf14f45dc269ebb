"""A range coder: symbols of any probabilities to bytes and back, within a byte or two of what entropy allows.

G. N. N. Martin, "Range encoding: an algorithm for removing redundancy from a digitised message", Video and Data
Recording Conference 1979. A message is a number in [0, 1), written in digits of base 256: every symbol narrows an
interval to its share, and a number inside, cut after the digit that settles it, is what is sent. Integers only: both
sides agree to the bit.
"""

from __future__ import annotations

DIGITS = 7
"""Bytes of the interval that are in work."""

WHOLE = 1 << (8 * DIGITS)
"""Width of the interval at first."""

NARROW = WHOLE >> 8
"""Below this width a leading byte is settled and goes out; frequencies may sum to no more than 2^24, far below it."""

PIECE = 16
"""Bits of a plain number that are written at a time."""


class Encoder:
    """Writes symbols."""

    def __init__(self) -> None:
        self._sent = bytearray()
        self._low, self._width = 0, WHOLE

    def put(self, start: int, size: int, total: int) -> None:
        """Write the symbol that has `size` of `total` shares, after the `start` shares of the symbols before it."""
        share = self._width // total
        self._low += share * start
        self._width = share * size
        while self._width < NARROW:
            self._low = self._shift(self._low)
            self._width <<= 8

    def number(self, value: int, bits: int) -> None:
        """Write a plain number of so many bits, all equally likely."""
        for first in range(0, bits, PIECE):
            values = 1 << min(PIECE, bits - first)
            self.put((value >> first) % values, 1, values)

    def finish(self) -> bytes:
        """The message: one more byte singles out the interval, as it is no narrower; zeros may follow."""
        self._shift(-(-self._low // NARROW) * NARROW)
        return bytes(self._sent)

    def _shift(self, value: int) -> int:
        """Send the leading digit of a number, carrying into those sent before; what is left, moved up."""
        if value >= WHOLE:
            place = len(self._sent) - 1
            while self._sent[place] == 255:
                self._sent[place] = 0
                place -= 1
            self._sent[place] += 1
            value -= WHOLE
        self._sent.append(value // NARROW)
        return value % NARROW << 8


class Decoder:
    """Reads what an `Encoder` wrote, by the same shares."""

    def __init__(self, message: bytes) -> None:
        self._message, self._next = message, DIGITS
        self._above = int.from_bytes(message[:DIGITS].ljust(DIGITS, b"\0"), "big")
        self._width, self._share = WHOLE, 0

    def share(self, total: int) -> int:
        """Which of `total` shares the message lies in; `take` must follow."""
        self._share = self._width // total
        return self._above // self._share

    def take(self, start: int, size: int) -> None:
        """Go on behind the symbol that was found."""
        self._above -= self._share * start
        self._width = self._share * size
        while self._width < NARROW:
            digit = self._message[self._next] if self._next < len(self._message) else 0
            self._above, self._width, self._next = (self._above << 8) + digit, self._width << 8, self._next + 1

    def number(self, bits: int) -> int:
        """Read what `Encoder.number` wrote."""
        value = 0
        for first in range(0, bits, PIECE):
            piece = self.share(1 << min(PIECE, bits - first))
            self.take(piece, 1)
            value += piece << first
        return value


class Frequencies:
    """How often each symbol came up so far: what a coder needs of them in logarithmic time, in a Fenwick tree."""

    def __init__(self, symbols: int) -> None:
        self._tree = [0] * (symbols + 1)
        self.total = 0

    def add(self, symbol: int) -> None:
        """Count a symbol once more."""
        self.total += 1
        node = symbol + 1
        while node < len(self._tree):
            self._tree[node] += 1
            node += node & -node

    def before(self, symbol: int) -> int:
        """Counts of all symbols before this one."""
        count = 0
        while symbol:
            count += self._tree[symbol]
            symbol &= symbol - 1
        return count

    def at(self, share: int) -> int:
        """The symbol that has a share, of 0 to total - 1."""
        node, step = 0, 1 << (len(self._tree) - 1).bit_length()
        while step:
            if node + step < len(self._tree) and self._tree[node + step] <= share:
                node += step
                share -= self._tree[node]
            step >>= 1
        return node
