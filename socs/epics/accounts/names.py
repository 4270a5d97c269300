"""The names of all process variables, each with a number, found by whole batches.

A name can be spelled in many ways: with a field (``X.VAL``), with more NUL at its end. Spellings
are looked up as they came, by a hash of their words; each bears the number of its name. A hash that
agrees is not trusted: the bytes are compared, so two names are never taken for one. Only what was
never seen before is taken apart.

Nothing grows without limit: when there are as many names as allowed, new ones get no number (-1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from socs.epics.accounts.name_rule import NameRule
from socs.epics.accounts.texts import Seed, Texts, spread
from socs.epics.decode.words import WORD, Positions, Words
from socs.errors import ConfigError

WORDS_PER_NAME = 12  # room on average; of 96 bytes a usual name with a second spelling takes 70
FIRST_SLOTS = 1 << 12
MOST_NAMES = 1 << 24  # the bits of a number
MOST_WORDS = 255  # of a spelling; the decoders let through a quarter of that
SCATTERED = 100  # words from name to name; closer ones are read in one piece
ROUNDS = 8  # of taking names with the same hash one after the other

Numbers = NDArray[np.int32]


@dataclass(eq=False)
class _Slots:
    """Spellings by their hash: open addressing, the next slot when one is taken.

    Attributes:
        hashes: uint64, shape (s,), 0 where nothing is.
        entries: uint64, shape (s,): see `_entries`.
    """

    hashes: Words
    entries: Words
    used: int = 0

    @classmethod
    def empty(cls, slots: int) -> _Slots:
        return cls(np.zeros(slots, np.uint64), np.zeros(slots, np.uint64))

    def __len__(self) -> int:
        return len(self.hashes)

    def first(self, hashes: Words) -> Positions:
        """Where to look first; the highest bits of a hash are its best."""
        slots: Positions = (hashes >> np.uint64(65 - len(self).bit_length())).view(np.int64)
        return slots

    def put(self, hashes: Words, entries: Words) -> None:
        """Put in spellings that are not there; there is room. No two entries are equal."""
        self.used += len(hashes)
        slot = self.first(hashes)
        while len(slot):
            free = np.flatnonzero(self.hashes[slot] == 0)
            at = slot[free]
            self.entries[at] = entries[free]
            won = free[self.entries[at] == entries[free]]  # of several, the last one has it
            self.hashes[slot[won]] = hashes[won]
            left = np.ones(len(slot), np.bool_)
            left[won] = False
            slot = (slot[left] + 1) % len(self)
            hashes, entries = hashes[left], entries[left]


def _entries(starts: Positions, counts: Positions, numbers: NDArray[np.integer]) -> Words:
    """Where a spelling stands, how many words it is, and the number of its name, in one word."""
    joined: Words = (starts << 32 | counts << 24 | numbers.astype(np.int64)).view(np.uint64)
    return joined


def _parts(entries: Words) -> tuple[Positions, Positions, Positions]:
    """Starts, counts, numbers."""
    whole = entries.view(np.int64)
    return (entries >> np.uint64(32)).view(np.int64), whole >> 24 & 0xFF, whole & MOST_NAMES - 1


class StillNames(NamedTuple):
    """The names of a table as they were at a moment; the table may change meanwhile.

    Attributes:
        known: bool, shape (end,): does this number stand for a name.
        words, starts, lengths: where the names stand.
    """

    known: NDArray[np.bool_]
    words: Words
    starts: NDArray[np.uint32]
    lengths: NDArray[np.uint16]

    def names(self, numbers: NDArray[np.integer]) -> list[bytes]:
        """The names with these numbers."""
        octets = self.words.tobytes()
        starts = self.starts[numbers].astype(np.int64) * WORD
        ends = starts + self.lengths[numbers]
        return [octets[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


class NameTable:
    """Numbers for names, from 0 on.

    Args:
        most: how many names are kept at once; as many spellings more.
        rule: which names are valid, and where a name ends.
        secret: see `Seed`.
        words_per_name: room for the bytes of names and spellings, on average.

    Attributes:
        count: names that are there.
        end: all numbers are below.
        known: bool, shape (most,): does this number stand for a name.
        valid: bool, shape (most,): is the name valid.
    """

    def __init__(
        self,
        most: int,
        rule: NameRule | None = None,
        *,
        secret: int,
        words_per_name: int = WORDS_PER_NAME,
    ) -> None:
        if not 0 < most <= MOST_NAMES:
            raise ConfigError(f"{most} names are not from 1 to {MOST_NAMES}")
        self.rule = rule or NameRule()
        self._most, self._seed = most, Seed(secret)
        self._separator = ord(self.rule.separator)
        self._bad, self._bad_first = self.rule.bad_octets(), self.rule.bad_first_octets()
        # Pages that nobody wrote to take no memory.
        self._words: Words = np.zeros(most * words_per_name + MOST_WORDS, np.uint64)
        self._filled = 0
        self._slots = _Slots.empty(FIRST_SLOTS)
        self._starts = np.zeros(most, np.uint32)
        self._lengths = np.zeros(most, np.uint16)
        self._free: list[int] = []
        self.count = self.end = 0
        self.known = np.zeros(most, np.bool_)
        self.valid = np.zeros(most, np.bool_)

    @property
    def most(self) -> int:
        """How many names are kept at once."""
        return self._most

    @property
    def spellings(self) -> int:
        """How many spellings are kept, names among them."""
        return self._slots.used

    def name(self, number: int) -> bytes:
        """The name with this number."""
        start, length = int(self._starts[number]), int(self._lengths[number])
        return self._words[start : start + length // WORD + 1].tobytes()[:length]

    def names(self, numbers: NDArray[np.integer]) -> list[bytes]:
        """The names with these numbers."""
        if not len(numbers):
            return []
        lengths = self._lengths[numbers].astype(np.int64)
        starts = self._starts[numbers].astype(np.int64)
        low, high = int(starts.min()), int((starts + lengths // WORD).max()) + 1
        if high - low > SCATTERED * len(numbers):
            return [self.name(number) for number in numbers.tolist()]
        octets = self._words[low:high].tobytes()
        places = (starts - low) * WORD
        pairs = zip(places.tolist(), (places + lengths).tolist(), strict=True)
        return [octets[start:end] for start, end in pairs]

    def still(self) -> StillNames:
        """All names as they are now, copied: some 0.05 s for a million."""
        columns = (self.known, self._starts, self._lengths)
        known, starts, lengths = (column[: self.end].copy() for column in columns)
        return StillNames(known, self._words[: self._filled].copy(), starts, lengths)

    def number(self, name: bytes) -> int:
        """The number of ``name`` if it is known, -1 if not. It may be followed by a field."""
        text = _text_of(name)
        names, _ = text.names(self._separator)
        return int(self._find(names, names.hashes(self._seed))[0])

    def add(self, name: bytes) -> int:
        """The number of ``name``, which is new or known; -1 if there is no room."""
        text = _text_of(name)
        return int(self.take(text.words, text.at, text.counts)[0])

    def take(
        self, words: Words, at: Positions, counts: Positions, most_new: int = MOST_NAMES
    ) -> Numbers:
        """The number of each name, known or new; -1 if there is no room for it, or it is too long.

        Args:
            words: memory in which the spellings stand.
            at: shape (n,): where each begins.
            counts: shape (n,): how many words it is, at least 1.
            most_new: how many may be new; there is no room for more.
        """
        if int(counts.max(initial=0)) > MOST_WORDS:
            numbers = np.full(len(at), -1, np.int32)
            short = np.flatnonzero(counts <= MOST_WORDS)
            numbers[short] = self.take(words, at[short], counts[short], most_new)
            return numbers
        texts, order = Texts.sorted(words, at, counts)
        hashes = texts.hashes(self._seed)
        numbers = self._find(texts, hashes)
        new = np.flatnonzero(numbers < 0)
        if len(new):
            numbers[new] = self._learn(texts.only(new), hashes[new], self.count + most_new)
        in_order = np.empty(len(at), np.int32)
        in_order[order] = numbers
        return in_order

    def forget(self, numbers: NDArray[np.integer]) -> None:
        """Forget these names with all their spellings; their numbers will be given to new ones."""
        numbers = np.unique(numbers)
        numbers = numbers[self.known[numbers]]
        self.known[numbers] = False
        self.count -= len(numbers)
        self._free += numbers.tolist()
        self._rebuild(len(self._slots))

    # -- looking up -------------------------------------------------------------------------------

    def _find(self, texts: Texts, hashes: Words) -> Numbers:
        """The number of each spelling, -1 if it is not known. In the order of ``texts``."""
        slots = self._slots
        numbers = np.full(len(texts), -1, np.int32)
        which: Positions = np.arange(len(texts), dtype=np.int64)
        slot = slots.first(hashes)
        while len(which):
            there = slots.hashes[slot]
            alike = np.flatnonzero(there == hashes)
            candidates = which[alike]
            starts, counts, found = _parts(slots.entries[slot[alike]])
            same = counts == texts.counts[candidates]
            same &= texts.equal(candidates, self._words, starts)
            numbers[candidates[same]] = found[same]
            going = there != 0
            going[alike[same]] = False
            which, hashes = which[going], hashes[going]
            slot = (slot[going] + 1) % len(slots)
        return numbers

    # -- new ones ---------------------------------------------------------------------------------

    def _learn(self, spelled: Texts, hashes_spelled: Words, most: int) -> Numbers:
        """Numbers for spellings that are not known; of names that may be, until there are most."""
        names, lengths = spelled.names(self._separator)
        names, order = Texts.sorted(names.words, names.at, names.counts)
        lengths, hashes = lengths[order], names.hashes(self._seed)
        same = names.equal(np.arange(len(names)), spelled.words, spelled.at[order])
        same &= names.counts == spelled.counts[order]
        otherwise = np.flatnonzero(~same)  # those that are their names were looked up already
        numbers = np.full(len(names), -1, np.int32)
        numbers[otherwise] = self._find(names.only(otherwise), hashes[otherwise])
        for _ in range(ROUNDS):
            missing = np.flatnonzero(numbers < 0)
            chosen = missing[first_of_each(hashes[missing])][: max(most - self.count, 0)]
            chosen, new = self._put_names(names, hashes, lengths, chosen)
            if not len(new):
                break
            numbers[chosen] = new
            missing = missing[numbers[missing] < 0]
            numbers[missing] = self._find(names.only(missing), hashes[missing])
        in_order = np.empty(len(spelled), np.int32)
        in_order[order] = numbers
        other = np.zeros(len(spelled), np.bool_)
        other[order[otherwise]] = True
        self._put_spellings(spelled, hashes_spelled, in_order, other)
        return in_order

    def _put_names(
        self, names: Texts, hashes: Words, lengths: NDArray[np.uint16], which: Positions
    ) -> tuple[Positions, Numbers]:
        """Give numbers to the names of ``which``; to which of them there was room for, and what."""
        which = which[: self._most - self.count]
        self._make_room(len(which))
        starts, copied = self._store(names, which)
        which = which[:copied]
        if not copied:
            return which, np.zeros(0, np.int32)
        reused = self._free[-copied:]
        del self._free[-copied:]
        fresh = range(self.end, self.end + copied - len(reused))
        numbers = np.array([*reused, *fresh], np.int32)
        self.end += len(fresh)
        self.count += copied
        self._starts[numbers], self._lengths[numbers] = starts, lengths[which]
        self.known[numbers] = True
        self.valid[numbers] = self._are_valid(names.only(which), lengths[which])
        self._slots.put(hashes[which], _entries(starts, names.counts[which], numbers))
        return which, numbers

    def _put_spellings(
        self, spelled: Texts, hashes: Words, numbers: Numbers, wanted: NDArray[np.bool_]
    ) -> None:
        """Remember those ``wanted`` that have a number, while there is room."""
        which = np.flatnonzero(wanted & (numbers >= 0))
        which = which[first_of_each(hashes[which])]
        which = which[: max(2 * self._most - self._slots.used - (self._most - self.count), 0)]
        self._make_room(len(which))
        starts, copied = self._store(spelled, which)
        which = which[:copied]
        entries = _entries(starts, spelled.counts[which], numbers[which])
        self._slots.put(hashes[which], entries)

    def _store(self, texts: Texts, which: Positions) -> tuple[Positions, int]:
        """Copy the words of texts; where each begins, and how many there was room for."""
        ends = np.cumsum(texts.counts[which])
        room = len(self._words) - MOST_WORDS - self._filled  # one may compare beyond the last
        copied = int(np.searchsorted(ends, room, side="right"))
        words, starts = texts.copied(which[:copied])
        self._words[self._filled : self._filled + len(words)] = words
        starts = starts + self._filled
        self._filled += len(words)
        return starts, copied

    def _make_room(self, spellings: int) -> None:
        """At most a third of the slots are used."""
        needed = 3 * (self._slots.used + spellings)
        if needed > len(self._slots):
            self._rebuild(1 << needed.bit_length())

    def _are_valid(self, names: Texts, lengths: NDArray[np.uint16]) -> NDArray[np.bool_]:
        octets = names.words.view(np.uint8)
        bad_words = self._bad[octets].view(np.uint64) != 0
        wrong = self._bad_first[octets[names.at * WORD]]
        for j, top in enumerate(names.tops):
            wrong[:top] |= bad_words[names.at[:top] + j]
        wrong |= (lengths < self.rule.shortest) | (lengths > self.rule.longest)
        return ~wrong

    def _rebuild(self, slots: int) -> None:
        """Make all slots anew, without what was forgotten."""
        old = self._slots
        kept = np.flatnonzero(old.hashes)
        starts, counts, numbers = _parts(old.entries[kept])
        known = self.known[numbers]
        # As they stand in memory, so that all move downwards.
        order = np.flatnonzero(known)[np.argsort(starts[known])]
        kept, starts, counts, numbers = kept[order], starts[order], counts[order], numbers[order]
        packed = np.cumsum(counts) - counts
        self._filled = int(counts.sum())
        self._words[: self._filled] = self._words[spread(starts, counts)]
        names = self._starts[numbers] == starts
        self._starts[numbers[names]] = packed[names]
        self._slots = _Slots.empty(slots)
        self._slots.put(old.hashes[kept], _entries(packed, counts, numbers))


def first_of_each(hashes: Words) -> Positions:
    """Where each value stands for the first time, ascending."""
    _, first = np.unique(hashes, return_index=True)
    return np.sort(first)


def _text_of(name: bytes) -> Texts:
    count = len(name) // WORD + 1
    words: Words = np.frombuffer(name.ljust(count * WORD, b"\0"), "<u8")
    return Texts(words, np.zeros(1, np.int64), np.array([count]))
