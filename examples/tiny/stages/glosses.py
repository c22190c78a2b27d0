"""English words and what they mean: WordNet 3.0's synsets (Debian `wordnet-base`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Lexicographer files (wninput(5WN)) of what can be seen, stood on or pointed at: all their words.
SEEN = {6: "artifact", 15: "location", 17: "object", 25: "shape"}
# Of these, and of adjectives and verbs of place and motion, the words in common use: person,
# animal, feeling and thought are left out.
COMMON = {0: "adjective", 11: "event", 14: "group", 19: "phenomenon", 20: "plant", 23: "quantity",
          27: "substance", 30: "change", 35: "contact", 38: "motion", 42: "stative",
          44: "participial adjective"}  # fmt: skip
HYPONYM, PART, INSTANCE = "~", "%p", "@i"


class Synset(NamedTuple):
    """One meaning: its words, definition and example sentences, and synsets it points to."""

    key: str  # `n02686568`: part of speech and offset
    lex: int
    words: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    pointers: tuple[tuple[str, str], ...]  # (symbol, key)


def synsets(wordnet: Path) -> dict[str, Synset]:
    """Every synset of the folder that holds `data.noun`, by key."""
    out = {}
    for part in ("noun", "verb", "adj", "adv"):
        with (wordnet / f"data.{part}").open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.startswith("  "):  # the licence stands at the head of each file
                    synset = _parse(line)
                    out[synset.key] = synset
    return out


def _parse(line: str) -> Synset:
    facts, _, gloss = line.partition(" | ")
    fields = facts.split()
    count = int(fields[3], 16)
    # `a)`, `p)` mark where an adjective stands; underscores join words.
    words = [re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in fields[4 : 4 + 2 * count : 2]]
    at = 4 + 2 * count
    links = fields[at + 1 : at + 1 + 4 * int(fields[at])]
    pointers = tuple(
        (links[i], _letter(links[i + 2]) + links[i + 1]) for i in range(0, len(links), 4)
    )
    examples = re.findall(r'"([^"]+)"', gloss)
    definition = re.sub(r';?\s*"[^"]*"?.*$', "", gloss.strip()).strip(" ;")
    return Synset(_letter(fields[2]) + fields[0], int(fields[1]), tuple(words), definition,
                  tuple(examples), pointers)  # fmt: skip


def _letter(part: str) -> str:
    return "a" if part == "s" else part


def is_name(synset: Synset) -> bool:
    """Whether it is one thing's name (Paris), or a genus in Latin."""
    proper = all(word[:1].isupper() for word in synset.words)
    return proper or any(symbol == INSTANCE for symbol, _ in synset.pointers)


def phrases(synset: Synset) -> Iterator[str]:
    """The words alone, the first with the definition, and up to two examples."""
    yield from synset.words[:4]
    yield f"{synset.words[0]}, {synset.definition}"
    yield from synset.examples[:2]


def common_words(wordnet: Path) -> frozenset[str]:
    """Words that occur in WordNet's tagged texts (`cntlist.rev`), lower case."""
    lines = (wordnet / "cntlist.rev").read_text().splitlines()
    return frozenset(line.partition("%")[0].replace("_", " ") for line in lines)


def useful(known: dict[str, Synset], common: frozenset[str]) -> Iterator[Synset]:
    """Synsets whose words a person may need to describe a place, in file order."""
    for synset in known.values():
        usual = synset.words[0].lower() in common
        wanted = synset.lex in SEEN or (synset.lex in COMMON and usual)
        if wanted and not is_name(synset) and len(synset.definition.split()) <= 24:
            yield synset


def below(known: dict[str, Synset], key: str, depth: int = 2) -> Iterator[Synset]:
    """A synset, and its kinds down to `depth` levels, names left out."""
    here = known[key]
    yield here
    if depth:
        for symbol, child in here.pointers:
            if symbol == HYPONYM and child in known and not is_name(known[child]):
                yield from below(known, child, depth - 1)
