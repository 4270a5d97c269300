"""Numbers for names: a name has one number however it is spelled, and no two names share one."""

import numpy as np
import pytest

from socs.epics.accounts import names as table_module
from socs.epics.accounts.name_rule import NameRule
from socs.epics.accounts.names import MOST_NAMES, NameTable
from socs.epics.accounts.texts import Seed, Texts, packed
from socs.errors import ConfigError


def spelled(*spellings: bytes):
    """Words, and where each spelling stands; each is filled up to whole words."""
    padded = [text + bytes(-len(text) % 8) for text in spellings]
    counts = np.array([len(text) // 8 for text in padded])
    return np.frombuffer(b"".join(padded), "<u8"), np.cumsum(counts) - counts, counts


def take(table, *spellings):
    return table.take(*spelled(*spellings)).tolist()


def test_spellings_of_one_name():
    table = NameTable(100, secret=1)
    first, other = take(table, b"PV:A\0", b"PV:B\0")
    assert first != other
    spellings = [b"PV:A\0", b"PV:A.VAL\0", b"PV:A\0" + bytes(40), b"PV:A\0garbage", b"PV:A."]
    assert take(table, *spellings) == [first] * 5
    assert take(table, *spellings) == [first] * 5
    assert table.names(np.array([first, other])) == [b"PV:A", b"PV:B"]
    assert (table.count, table.end) == (2, 2)
    assert table.spellings == 2 + 4


def test_the_last_byte_is_taken_for_nul():
    table = NameTable(100, secret=1)
    take(table, b"12345678", b"1234567\0")
    assert table.count == 1
    assert table.name(0) == b"1234567"


def test_names_of_all_lengths_and_fields_at_all_places():
    texts = [bytes([65 + i % 26]) * i for i in range(1, 260)]
    table = NameTable(1000, secret=1)
    numbers = take(table, *(text + b"\0" for text in texts))
    assert sorted(numbers) == list(range(259))
    assert table.names(np.array(numbers)) == texts
    assert take(table, *(text + b".FIELD\0" for text in texts)) == numbers
    assert [table.number(text) for text in texts] == numbers
    assert [table.number(text + b".X") for text in texts] == numbers
    assert table.number(b"UNKNOWN") == -1


def test_many_names_in_batches():
    rng = np.random.default_rng(0)
    table = NameTable(50_000, secret=7)
    known: dict[bytes, int] = {}
    for _ in range(40):
        texts = [b"N%d" % n * 3 for n in rng.integers(0, 30_000, 2000)]
        for text, number in zip(texts, take(table, *(t + b"\0" for t in texts)), strict=True):
            assert known.setdefault(text, number) == number
    assert len(set(known.values())) == len(known) == table.count
    assert [table.name(number) for number in known.values()] == list(known)


def test_no_more_names_than_allowed():
    table = NameTable(10, secret=1)
    numbers = take(table, *(b"N%02d\0" % i for i in range(50)))
    assert sorted(set(numbers)) == list(range(-1, 10))
    assert table.count == 10
    assert take(table, *(b"N%02d\0" % i for i in range(50))) == numbers
    fields = take(table, *(b"N%02d.F%d\0" % (i % 50, i) for i in range(5000)))
    assert fields == numbers * 100  # known names are found also by spellings that are not kept
    assert table.spellings <= 20


def test_no_more_bytes_than_allowed():
    table = NameTable(100, secret=1, words_per_name=2)
    numbers = take(table, *(b"%03d" % i + b"x" * 60 + b"\0" for i in range(100)))
    assert sum(number >= 0 for number in numbers) == 25
    assert take(table, b"short\0") == [-1]


def test_forgotten_names_make_room():
    table = NameTable(10, secret=1)
    numbers = take(table, *(b"N%02d\0" % i for i in range(10)))
    take(table, b"N03.VAL\0", b"N04.VAL\0")
    table.forget(np.array([numbers[3], numbers[7], numbers[3]]))
    assert (table.count, table.end) == (8, 10)
    assert [table.number(b"N%02d" % i) for i in range(10)] == [
        -1 if i in (3, 7) else numbers[i] for i in range(10)
    ]
    again = take(table, b"NEW:1\0", b"N03\0", b"NEW:2\0", b"N04.VAL\0")
    assert sorted(again[:3]) == [-1, *sorted((numbers[3], numbers[7]))]
    assert again[3] == numbers[4]
    assert [table.name(numbers[i]) for i in (0, 4, 9)] == [b"N00", b"N04", b"N09"]
    table.forget(np.array([numbers[3]]))
    table.forget(np.array([numbers[3]]))
    assert table.count == 9


def test_forgetting_all_frees_all_memory():
    table = NameTable(1000, secret=1, words_per_name=3)
    for round_number in range(20):
        numbers = take(table, *(b"R%d:%d\0" % (round_number, i) for i in range(1000)))
        assert min(numbers) == 0
        table.forget(np.array(numbers))
    assert table.count == 0


@pytest.mark.parametrize("different", [1, 3])
def test_names_with_the_same_hash_are_told_apart(monkeypatch, different):
    def poor(self, seed):
        return self.words[self.at] % np.uint64(different) + np.uint64(1)

    monkeypatch.setattr(Texts, "hashes", poor)
    monkeypatch.setattr(table_module, "ROUNDS", 40)
    table = NameTable(100, secret=1)
    texts = [b"N%02d\0" % i for i in range(30)]
    numbers = take(table, *texts, *texts)
    assert numbers[:30] == numbers[30:]
    assert sorted(numbers[:30]) == list(range(30))
    assert table.names(np.array(numbers[:30])) == [text[:-1] for text in texts]
    assert take(table, *(text[:-1] + b".X\0" for text in texts)) == numbers[:30]
    assert table.count == 30


def test_texts_of_other_lengths_with_the_same_hash(monkeypatch):
    monkeypatch.setattr(Texts, "hashes", lambda self, seed: np.ones(len(self), np.uint64))
    table = NameTable(3, secret=1, words_per_name=1)
    assert take(table, b"A\0", b"B\0", b"C\0") == [0, 1, 2]
    assert take(table, b"LONG" * 500 + b"\0", b"C\0") == [-1, 2]


def test_names_beyond_all_measure_get_no_number():
    table = NameTable(100, secret=1)
    too_long, a, long = take(table, b"x" * 2040 + b"\0", b"A\0", b"x" * 2039 + b"\0")
    assert too_long == -1
    assert table.names(np.array([a, long])) == [b"A", b"x" * 2039]
    assert table.add(b"y" * 5000) == -1
    assert table.count == 2


def test_too_many_names_with_the_same_hash_get_no_number_at_first(monkeypatch):
    monkeypatch.setattr(Texts, "hashes", lambda self, seed: np.ones(len(self), np.uint64))
    table = NameTable(100, secret=1)
    numbers = take(table, *(b"N%02d\0" % i for i in range(30)))
    assert sum(number >= 0 for number in numbers) == table_module.ROUNDS
    assert len(set(numbers)) == table_module.ROUNDS + 1


def test_hashes_depend_on_each_byte_on_the_length_and_on_the_seed():
    texts = [b"", b"A", b"A\0\0\0\0\0\0\0", b"B"]
    texts += [bytes(i) + b"x" + bytes(30 - i) for i in range(31)]
    words = packed(
        np.frombuffer(b"".join(texts), np.uint8),
        np.cumsum([0, *map(len, texts[:-1])]),
        np.array([*map(len, texts)]),
    )
    ordered, _ = Texts.sorted(words.words, words.at, words.counts)
    one, other = ordered.hashes(Seed(1)), ordered.hashes(Seed(2))
    assert len(set(one.tolist()) | set(other.tolist())) == 2 * len(texts)
    # Differences in the highest bit only, which a product alone would not spread.
    high = np.uint64(1 << 63)
    pair = np.array([0, 0, high, high, 0, high, high, high ^ np.uint64(1 << 31)], np.uint64)
    counts = np.full(4, 2)
    hashes = Texts(pair, np.arange(0, 8, 2), counts).hashes(Seed(3))
    assert len(set(hashes.tolist())) == 4


@pytest.mark.parametrize(
    ("rule", "valid", "invalid"),
    [
        (
            NameRule(),
            [b"A", b"x:y-z_[1]{2}<3>+;", b"\xc3\xa4:PV"],
            [b"A B", b"A$(P)", b'"', b"'", b"\x01", b"A\x7f", b"\t"],
        ),
        (NameRule(beyond_ascii=True), [b"A"], [b"\xc3\xa4:PV"]),
        (NameRule(control=False, forbidden=""), [b"A B\x01"], []),
        (NameRule(forbidden_first="-+"), [b"A-", b"A+"], [b"-A", b"+A"]),
        (NameRule(shortest=4, longest=6), [b"ABCD", b"ABCDEF"], [b"ABC", b"ABCDEFG"]),
    ],
)
def test_valid_names(rule, valid, invalid):
    table = NameTable(100, rule, secret=1)
    numbers = take(table, *(name + b"\0" for name in [*valid, *invalid, b""]))
    assert table.valid[numbers].tolist() == [True] * len(valid) + [False] * (len(invalid) + 1)


def test_names_far_apart_and_in_any_order_are_read_as_those_beside_each_other():
    table = NameTable(1000, secret=1)
    texts = [b"N%0*d" % (n % 23, n) for n in range(1000)]
    numbers = np.array(take(table, *(text + b"\0" for text in texts)))
    for some in ([], [999, 0], [5, 4, 4, 6], [*range(1000)][::-1]):
        assert table.names(numbers[np.array(some, np.int64)]) == [texts[n] for n in some]


def test_another_separator():
    table = NameTable(100, NameRule(separator="@"), secret=1)
    take(table, b"A.B@C\0", b"A.B\0")
    assert table.names(np.arange(table.end)) == [b"A.B"]


def test_settings_that_do_not_fit():
    with pytest.raises(ConfigError, match="separator"):
        NameRule(separator="")
    with pytest.raises(ConfigError, match="shortest"):
        NameRule(shortest=9, longest=5)
    with pytest.raises(ConfigError, match="names"):
        NameTable(MOST_NAMES + 1, secret=1)
