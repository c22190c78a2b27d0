"""A `tokenizer.json` from a stranger: only steps that cannot run for ever or blow a text up.

The library behind it has regular expressions that backtrack without end, replacements that
multiply, and panics where Python has exceptions.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ngcg_cli.encoder.received import parse_object, read_bounded
from ngcg_cli.errors import ModelError

_TOKENIZER_BYTES = 48 << 20
#: What may change a text before it is cut into tokens, with how much longer it can get.
_NORMALIZERS = ("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "Strip", "StripAccents")
_PRE_TOKENIZERS = (
    *("ByteLevel", "Digits", "Whitespace", "WhitespaceSplit", "Punctuation", "Metaspace"),
    *("BertPreTokenizer", "UnicodeScripts", "CharDelimiterSplit"),
)
_MODELS = ("BPE", "Unigram", "WordLevel")
_MAX_GROWTH = 16
#: Regular expressions of published tokenizers (GPT-2, cl100k, Qwen, Llama 3, CLIP), which cannot
#: blow up; others must be as simple as `_SIMPLE` says.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_KNOWN_PATTERNS = frozenset(
    {_GPT2, _CL100K % r"\p{N}", _CL100K % r"\p{N}{1,3}", r"\s+", r"\p{N}{1,3}"}
    | {
        r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|"
        r"[^\s\p{L}\p{N}]+",
    }
)
#: One class of letters, such as SigLIP's of punctuation marks.
_CLASS = re.compile(r"\[\^?(?:\\.|[^\]\\\[])+\]\+?", re.DOTALL)
#: Bytes that SentencePiece's table puts in place of a letter at most, and of those for which it
#: counts as making texts longer by one: the published tables have 33, for a letter of 3 bytes.
_PUT, _LETTER = 64, 8
_QUANTIFIER = re.compile(r"[*+{]")

_panics = threading.Lock()


def tokenizer_bytes(path: Path, rows: int | None) -> bytes:
    """A `tokenizer.json` whose steps are known ones that cannot blow a text up.

    Args:
        path: the file.
        rows: embeddings of the model, which bound the vocabulary; None where they are not known.

    Raises:
        ModelError: too large, or a step that could run for ever or fill memory.
    """
    limit = _TOKENIZER_BYTES if rows is None else min(_TOKENIZER_BYTES, (1 << 20) + 512 * rows)
    data = read_bounded(path, limit)
    parsed = parse_object(data, path)
    model = parsed.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") not in _MODELS:
        raise _strange(f"model {_kind(model)}", path)
    growth = 1
    for step in _steps(parsed.get("normalizer"), "normalizers", path):
        growth *= _growth(step, path)
    if growth > _MAX_GROWTH:
        raise _strange(f"normalizer, which makes texts {growth:,} times longer,", path)
    for step in _steps(parsed.get("pre_tokenizer"), "pretokenizers", path):
        if step.get("type") == "Split":
            _check_pattern(step.get("pattern"), path)
        elif step.get("type") not in _PRE_TOKENIZERS:
            raise _strange(f"pre-tokenizer {_kind(step)}", path)
    added = parsed.get("added_tokens") or []
    if not isinstance(added, list) or len(added) > 1 << 16:
        raise _strange("list of added tokens", path)
    return data


def _steps(step: Any, many: str, where: Path, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The single steps of a normalizer or pre-tokenizer, in order."""
    if step is None:
        return
    if not isinstance(step, dict) or depth > 4:
        raise _strange(f"list of {many}", where)
    if step.get("type") != "Sequence":
        yield step
        return
    inner = step.get(many)
    if not isinstance(inner, list) or len(inner) > 32:
        raise _strange(f"list of {many}", where)
    for item in inner:
        yield from _steps(item, many, where, depth + 1)


def _growth(step: dict[str, Any], where: Path) -> int:
    """How many times longer one normalizer can make a text."""
    kind = step.get("type")
    if kind in _NORMALIZERS:
        return 1  # at most by a constant that does not multiply: they come to rest
    if kind == "Prepend" and len(str(step.get("prepend", ""))) <= 16:
        return 1
    if kind == "Replace":
        content = str(step.get("content", ""))
        pattern = _check_pattern(step.get("pattern"), where)
        # An expression may match nothing, between every two letters.
        return max(1, -(-len(content) // len(pattern)) if pattern else 1 + len(content))
    if kind == "Precompiled":
        return _growth_of_table(step.get("precompiled_charsmap"), where)
    raise _strange(f"normalizer {_kind(step)}", where)


def _growth_of_table(table: Any, where: Path) -> int:
    """The same of SentencePiece's table of letters: a trie, then what is put in their place."""
    try:
        data = base64.b64decode(table, validate=True)
        size = int.from_bytes(data[:4], "little")
        if size % 4 or not 0 < size <= len(data) - 4:
            raise ValueError
        longest = max(map(len, data[4 + size :].split(b"\0")))
        data[4 + size :].decode("utf-8")
    except (TypeError, ValueError, binascii.Error) as error:
        raise _strange("normalizer 'Precompiled', a table of letters,", where) from error
    if longest > _PUT:
        raise _strange(f"table of letters, with {longest} bytes in place of one,", where)
    return max(1, -(-longest // _LETTER))


def _check_pattern(pattern: Any, where: Path) -> str:
    """The text that a `String` pattern looks for; "" for a `Regex` that is known or simple."""
    if isinstance(pattern, dict) and len(pattern) == 1:
        text = pattern.get("String")
        if isinstance(text, str) and text:
            return text
        expression = pattern.get("Regex")
        if isinstance(expression, str) and _is_simple(expression):
            return ""
    raise _strange(f"pattern {str(pattern)[:60]!r}", where)


def _is_simple(expression: str) -> bool:
    """A known expression, or one that repeats one thing at most, without groups."""
    if len(expression) > 256:
        return expression in _KNOWN_PATTERNS
    if expression in _KNOWN_PATTERNS or _CLASS.fullmatch(expression):
        return True
    return "(" not in expression and all(
        len(_QUANTIFIER.findall(part)) <= 1 for part in expression.split("|")
    )


def _kind(step: Any) -> str:
    return repr(str(step.get("type") if isinstance(step, dict) else step)[:40])


def _strange(what: str, where: Path) -> ModelError:
    return ModelError(f"the tokenizer's {what} is not one that is supported", where=where)


@contextlib.contextmanager
def panics_told(where: Path) -> Iterator[None]:
    """Turns a panic of a Rust library, which is no `Exception`, into a `ModelError`.

    The library also prints a report of its own, past Python; it is dropped.
    """
    with _panics, _silent_descriptor():
        try:
            yield
        except BaseException as error:
            if not is_panic(error):
                raise
            raise ModelError(f"the tokenizer cannot be used ({error})", where=where) from error


def is_panic(error: BaseException) -> bool:
    """Whether this is how a Rust library says that it failed inside."""
    return type(error).__name__ == "PanicException"


@contextlib.contextmanager
def _silent_descriptor() -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed: nothing can be printed
        yield
        return
    void = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(void, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(void)
