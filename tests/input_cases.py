"""Damaged inputs and what may become of them: read, or refused by an error of ours; never more."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ngcg_cli.errors import NgcgError

#: Values that code tends to trip over.
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 10**18, 0.5, -0.0, 1e308, float("nan"), float("inf")),
    *(
        "",
        "a",
        "\x00",
        "\udce9",
        "(.*)*zz",
        "../../etc/passwd",
        "/dev/zero",
        "evil/repo",
        "os.system",
    ),
    *([], {}, [[]], [0] * 50, {"": {}}, [None, None], {"type": "Sequence"}, ["q_proj"] * 9),
)
#: Keys by which configs ask for more than numbers.
KEYS = (
    *("auto_map", "quantization_config", "model_type", "_attn_implementation", "architectures"),
    *("num_hidden_layers", "hidden_size", "dtype", "type", "target_modules", "r", "rank_pattern"),
    *("layer_replication", "megatron_config", "name", "revision", "settings", "pooling", "base"),
    *("normalizer", "pre_tokenizer", "pattern", "content", "Regex", "image", "captions", "lon"),
)


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut, doubled or put in: one to eight times."""
    held = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(held) + 1)
        kind = rng.randrange(5)
        if kind == 0 and held:
            held[at % len(held)] ^= 1 << rng.randrange(8)
        elif kind == 1 and held:
            held[at % len(held)] = rng.randrange(256)
        elif kind == 2:
            held[at:at] = rng.choice(
                [b"\x00", b'"', b"{", b"[" * 40, b"9" * 30, b"\xff\xfe", b"\r"]
            )
        elif kind == 3:
            del held[at : at + rng.randint(1, 16)]
        elif rng.random() < 0.1:
            del held[at:]
    return bytes(held)


def mutated(value: Any, rng: random.Random) -> Any:
    """A JSON value with one to three of its parts replaced, removed or added."""
    held = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        _collect(held, places)
        if not places:
            return rng.choice(NASTY)
        # What stands high up is rare among thousands of words of a vocabulary.
        where, key = rng.choice(places[:60] if rng.random() < 0.7 else places)
        kind = rng.randrange(4)
        if kind == 0:
            del where[key]
        elif kind == 1 and isinstance(where, dict):
            where[rng.choice(KEYS)] = copy.deepcopy(rng.choice(NASTY))
        elif kind == 2:
            other, name = rng.choice(places)
            where[key] = copy.deepcopy(other[name])
        else:
            where[key] = copy.deepcopy(rng.choice(NASTY))
    return held


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Every (container, key) of a JSON value, level by level."""
    level = [value]
    while level and len(places) < 5000:
        deeper = []
        for held in level:
            keys = held.keys() if isinstance(held, dict) else range(len(held))
            for key in keys:
                places.append((held, key))
                if isinstance(held[key], (dict, list)):
                    deeper.append(held[key])
        level = deeper


def damage_file(path: Path, rng: random.Random) -> None:
    """Damages a file where it stands: JSON by its structure as often as by its bytes."""
    data = path.read_bytes()
    if path.suffix == ".json" and rng.random() < 0.6:
        text = json.dumps(mutated(json.loads(data), rng))
        path.write_text(text, "utf-8", "surrogatepass")
    elif path.suffix == ".safetensors" and rng.random() < 0.5:
        length = int.from_bytes(data[:8], "little")
        header = json.dumps(mutated(json.loads(data[8 : 8 + length]), rng)).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    else:
        path.write_bytes(flipped(data, rng))


def outcome(visit: Callable[[], object]) -> str:
    """What becomes of an input; anything but these two escapes."""
    try:
        visit()
    except NgcgError as error:
        if "\n" in str(error):
            raise AssertionError("a message over several lines") from error
        return "refused"
    return "read"


def visit_model(folder: Path) -> None:
    """What a query does with a model."""
    from ngcg_cli.encoder.checkpoint import load_encoder

    load_encoder(folder, "cpu").encode_texts(["a pond beside 12 boats"])


def visit_lines(data: bytes, rng: random.Random) -> None:
    """What `query -` does with its input, which comes in pieces of any size."""
    from ngcg_cli.journeys.lines import LineReader

    class Pieces(io.BytesIO):
        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read1(rng.randint(1, 40))

    for block in LineReader(Pieces(data)):
        for text in block:
            assert text.strip() == text != ""
            assert not set(text) & set("\r\n\x00\ufeff")


def visit_rows(path: Path) -> None:
    """What `train` and `eval` do with JSON Lines."""
    from ngcg_cli.datasets import load_pairs

    load_pairs(path, "jsonl")
