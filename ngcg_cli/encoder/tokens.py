"""Sentences to token ids with [EOS] at the end, straight from a `tokenizer.json`."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from ngcg_cli.encoder.backbones import Backbone
from ngcg_cli.encoder.received import read_object
from ngcg_cli.encoder.tokenizer_file import is_panic, panics_told, tokenizer_bytes
from ngcg_cli.errors import ModelError

if TYPE_CHECKING:
    import torch

#: Letters that a token stands for at most, on average over a text: words are a tenth of that.
_LETTERS = 64
_NEEDED = (
    "A model directory needs the tokenizer.json of a fast tokenizer: copy the whole folder, or "
    "fetch the model again (hf download)."
)


class TextTokenizer:
    """A model's own tokenizer, without templates: bare sentence tokens, then [EOS].

    [EOS] is `eos_token` of `tokenizer_config.json` (as transformers has it; for
    SmolVLM-Instruct that is `<end_of_utterance>`), else `eos_token_id` of the language model.
    The padding id never reaches a vector.

    Args:
        folder: with `tokenizer.json` and `tokenizer_config.json`.
        eos_token_id: of the language model.
        rows: embeddings of the model, which bound the vocabulary's size.
        backbone: says whether texts are brought to lower case, and padded to one length.
    """

    def __init__(
        self,
        folder: Path,
        *,
        eos_token_id: int | None = None,
        rows: int | None = None,
        backbone: Backbone | None = None,
    ) -> None:
        self.folder = folder
        self._lowercase = backbone is not None and backbone.lowercase
        self._pad = backbone is not None and backbone.pad_text
        path = folder / "tokenizer.json"
        if not path.exists():  # in a cache also a link whose file never came
            raise ModelError("is not there", where=path, hint=_NEEDED)
        try:
            data = tokenizer_bytes(path, rows)
            with panics_told(path):
                self._tokenizer = Tokenizer.from_buffer(data)
        except ModelError as error:
            raise ModelError(
                f"the tokenizer cannot be read ({error.what})", where=error.where, hint=error.hint
            ) from error
        except Exception as error:  # the library raises bare Exception
            raise ModelError(
                f"the tokenizer cannot be read ({error})",
                where=path,
                hint=_NEEDED,
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        config = folder / "tokenizer_config.json"
        names = read_object(config) if config.exists() else {}
        eos = self._token(names.get("eos_token"))
        eos = eos_token_id if eos is None else eos
        if eos is None:
            raise ModelError("no end-of-sequence token is named", where=config)
        self.eos_id = eos
        self._lead = backbone.text_lead if backbone is not None else ""
        self._before: list[int] = []
        self._after = [self.eos_id]
        if backbone is not None and backbone.text_suffix:
            self._before = self._prompt(backbone.text_prefix)
            self._after = self._prompt(backbone.text_suffix)
        pad = self._token(names.get("pad_token"))
        self.pad_id = self.eos_id if pad is None else pad

    def _token(self, token: Any) -> int | None:
        name = token.get("content") if isinstance(token, dict) else token
        return self._tokenizer.token_to_id(name) if isinstance(name, str) else None

    @property
    def size(self) -> int:
        """How many token ids there are, added ones included."""
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def ids(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        """Token ids of each text, [EOS] appended; too long ones are cut so that [EOS] stays."""
        # A lone surrogate (bytes that were no UTF-8) would stop the tokenizer, and what lies far
        # beyond the cut need not be looked at.
        far = max_tokens * _LETTERS
        clean = [
            self._lead + text[:far].encode("utf-8", "replace").decode("utf-8") for text in texts
        ]
        if self._lowercase:
            clean = [text.lower() for text in clean]
        try:
            encodings = self._tokenizer.encode_batch(clean, add_special_tokens=False)
        except BaseException as error:
            if not is_panic(error):
                raise
            raise ModelError(
                f"the tokenizer cannot be used ({error})", where=self.folder / "tokenizer.json"
            ) from error
        room = max_tokens - len(self._before) - len(self._after)
        return [[*self._before, *encoding.ids[:room], *self._after] for encoding in encodings]

    def longer(self, texts: Sequence[str], max_tokens: int) -> list[str]:
        """The texts that `ids` would cut."""
        # No token is shorter than a byte, and most texts are far from the limit.
        room = max_tokens + 1 - len(self._before) - len(self._after) - len(self._lead)
        long = [text for text in texts if len(text.encode("utf-8", "replace")) >= room]
        whole = self.ids(long, sys.maxsize)
        return [text for text, ids in zip(long, whole, strict=True) if len(ids) > max_tokens]

    def batch(self, texts: Sequence[str], max_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, L) int64 ids and (B, L) int64 attention mask, padded on the right."""
        import torch

        ids, mask = self.arrays(texts, max_tokens)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    def arrays(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """`batch` as numpy arrays."""
        rows = self.ids(texts, max_tokens)
        length = max_tokens if self._pad else max(map(len, rows), default=0)
        ids = np.full((len(rows), length), self.pad_id, np.int64)
        mask = np.zeros((len(rows), length), np.int64)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            # Where all texts are padded alike, padding is what the model was trained to see.
            mask[row, : length if self._pad else len(tokens)] = 1
        return ids, mask

    def coded(self, text: str) -> list[int]:
        """The ids of a text that may hold special tokens, such as a prompt; nothing is added."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decoded(self, ids: Sequence[int]) -> str:
        """The text of token ids, without special tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def without_special(self, text: str) -> str:
        """A text in which nothing reads as one of the tokenizer's added tokens."""
        clean = text.encode("utf-8", "replace").decode("utf-8")
        for token in self._tokenizer.get_added_tokens_decoder().values():
            if token.special or token.content.startswith("<"):
                clean = clean.replace(token.content, " ")
        return clean

    def image_prompt(self, backbone: Backbone) -> tuple[list[int], list[int]]:
        """The ids before and after the image's own tokens, [EOS] last unless texts have a suffix.

        Raises:
            ModelError: the tokenizer does not know a token of the prompt as ONE token.
        """
        before, after = self._prompt(backbone.image_prefix), self._prompt(backbone.image_suffix)
        return before, after if backbone.text_suffix else [*after, self.eos_id]

    def _prompt(self, text: str) -> list[int]:
        with panics_told(self.folder / "tokenizer.json"):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        due = [self._tokenizer.token_to_id(name) for name in re.findall("<[^<>]+>", text)]
        if [token for token in ids if token in due] != due or None in due:
            raise ModelError(
                f"the tokenizer does not know the prompt {text!r}",
                where=self.folder / "tokenizer.json",
                hint="Its tokens must be added tokens of the tokenizer.",
            )
        return ids
