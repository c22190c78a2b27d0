"""Texts or uint8 RGB images to L2-normalised float32 vectors."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ngcg_cli import items
from ngcg_cli.encoder.backbones import Backbone, derive_backbone
from ngcg_cli.encoder.engine import Engine
from ngcg_cli.encoder.pixels import normalise, resize_images
from ngcg_cli.encoder.precision import Precision
from ngcg_cli.encoder.streams import encode_batches, share
from ngcg_cli.encoder.tokens import TextTokenizer
from ngcg_cli.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch

    from ngcg_cli.encoder.module import EncoderModule, Pooling

logger = logging.getLogger(__name__)


class Encoder:
    """THE encoder: what `index`, `query`, `train` and `eval` all use.

    Args:
        engine: the model itself, and what computes it.
        tokenizer: its tokenizer.
        backbone: its declaration.
        name: what an index remembers and messages say.
        weights_digest: hex digest that stands for the weights, if they came from files;
            otherwise the fingerprint is taken from the parameters as they are at first use.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: TextTokenizer,
        backbone: Backbone,
        *,
        name: str,
        weights_digest: str | None = None,
    ) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.backbone = backbone
        self.name = name
        self.dim = engine.dim
        self.image_size = backbone.image_size
        self._weights_digest = weights_digest
        self._told_of_cut = False
        #: Where the model lies; of a LoRA checkpoint its own folder, not its base's.
        self.folder = tokenizer.folder
        #: The hub's commit of the model, where it came from there.
        self.revision: str | None = None
        #: Where the base model's weights came from, for `ngcg.json`; None if they were drawn.
        self.origin: dict[str, Any] | None = None

    @property
    def module(self) -> EncoderModule:
        """The model as a torch module, for training.

        Raises:
            ModelError: it is not loaded in torch.
        """
        module: EncoderModule | None = getattr(self.engine, "module", None)
        if module is None:
            raise ModelError(f"{self.name} runs in ONNX Runtime, not in torch")
        return module

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        import torch

        return torch.device(self.engine.place)

    @property
    def precision(self) -> str:
        """What the model computes in, as `--precision` names it."""
        return self.engine.precision

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of weights, tokenizer, prompts, pooling and image settings.

        Equal fingerprints mean comparable vectors; device and precision do not enter.
        """
        facts = {
            "weights": self.weights_digest,
            "tokenizer": _digest_file(self.tokenizer.folder / "tokenizer.json"),
            "eos": self.tokenizer.eos_id,
            "pooling": self.engine.pooling,
            "settings": self.backbone.settings(),
            **({"dim": self.dim} if self.dim < self.engine.dim else {}),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def weights_digest(self) -> str:
        """Hex digest that stands for the weights."""
        if self._weights_digest is None:
            self._weights_digest = self.engine.digest()
        return self._weights_digest

    @weights_digest.setter
    def weights_digest(self, digest: str) -> None:
        self._weights_digest = digest

    def shortened(self, dim: int | None) -> Encoder:
        """The same encoder whose vectors are the first `dim` components, of length 1 again.

        That keeps most of what a vector says only where the model was trained for it (Matryoshka
        representation learning, arXiv 2205.13147). None and its full width change nothing.

        Raises:
            UsageError: it was not trained for that, or not for so few.
        """
        if dim is None or dim == self.dim:
            return self
        least = self.backbone.least_dim
        if not least:
            raise UsageError(
                f"--dim {dim}: {self.name} was not trained for shorter vectors, it has {self.dim} "
                "dimensions",
                hint="Leave --dim out, or take a model that was (such as embeddinggemma-2).",
            )
        if not least <= dim <= self.dim:
            raise UsageError(f"--dim {dim}: {self.name} has {least} to {self.dim} dimensions")
        shorter = copy.copy(self)
        shorter.dim = dim
        return shorter

    def rounded(self, precision: Precision) -> Encoder:
        """What a checkpoint of this encoder computes with once it is loaded in `precision`.

        A copy where that differs: an adapter is merged in float32, then all weights are rounded.
        """
        if precision == self.precision:
            return self
        import torch

        from ngcg_cli.encoder.torch_engine import TorchEngine

        module = copy.deepcopy(self.module)
        module.merge_adapter()
        module.to(getattr(torch, precision)).requires_grad_(False).eval()
        return Encoder(
            TorchEngine(module),
            self.tokenizer,
            self.backbone,
            name=self.name,
            weights_digest=self._weights_digest,
        )

    def tokens(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, L) int64 ids with [EOS] appended (at most 300, [EOS] kept) and attention mask."""
        return self.tokenizer.batch(texts, self.backbone.max_text_tokens)

    def resized(self, image: np.ndarray) -> np.ndarray:
        """A uint8 RGB image (h, w, 3) at the model's size, as `encode_images` would make it."""
        return resize_images([image], self.backbone)[0]

    def pixels(self, images: Sequence[np.ndarray] | np.ndarray) -> torch.Tensor:
        """uint8 RGB images (h, w, 3) of any sizes to prepared float32 pixels (B, 3, S, S)."""
        return normalise(resize_images(images, self.backbone), self.backbone)

    def tell_of_cut(self, texts: Sequence[str]) -> None:
        """Warn, once, that texts are longer than the model reads."""
        limit = self.backbone.max_text_tokens
        if self._told_of_cut or not (cut := self.tokenizer.longer(texts, limit)):
            return
        self._told_of_cut = True
        logger.warning(
            "%d of %d texts are longer than %d tokens, which is where the model stops reading; "
            "the first begins %r", len(cut), len(texts), limit, cut[0][:40],
        )  # fmt: skip

    def encode_texts(self, texts: str | Sequence[str], batch_size: int = 64) -> np.ndarray:
        """(N, dim) float32 unit vectors, in the order of `texts`; a lone text is one of them."""
        texts = items.texts(texts)
        self.tell_of_cut(texts)
        # Texts of like length share a batch, so that little is computed for padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))

        def encode(rows: list[int]) -> np.ndarray:
            chosen = [texts[row] for row in rows]
            arrays = self.tokenizer.arrays(chosen, self.backbone.max_text_tokens)
            return self._cut(self.engine.texts(*arrays))

        return self._in_streams(encode, order, batch_size)

    def encode_images(
        self, images: Sequence[np.ndarray] | np.ndarray, batch_size: int = 32
    ) -> np.ndarray:
        """(N, dim) float32 unit vectors of uint8 RGB images, each (h, w, 3); a lone one is one."""
        if isinstance(images, np.ndarray) and images.ndim == 3:
            images = images[None]

        def encode(rows: list[int]) -> np.ndarray:
            return self.encode_batch([images[row] for row in rows])

        return self._in_streams(encode, list(range(len(images))), batch_size)

    def encode_batch(self, images: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """The same of so few images that they go through the model together."""
        return self._cut(self.engine.images(resize_images(images, self.backbone), self.backbone))

    def _cut(self, vectors: np.ndarray) -> np.ndarray:
        """(N, engine's dim) unit vectors to (N, dim) ones."""
        if vectors.shape[1] == self.dim:
            return vectors
        front = vectors[:, : self.dim]
        return front / np.linalg.norm(front, axis=1, keepdims=True)

    def _in_streams(
        self, encode: Callable[[list[int]], np.ndarray], order: list[int], batch_size: int
    ) -> np.ndarray:
        """`encode` of every row, `batch_size` at once, over streams where there are several."""
        vectors = np.empty((len(order), self.dim), dtype=np.float32)
        streams, size = share(self.engine.streams(), min(batch_size, len(order)))
        batches = ((rows, rows) for rows in _batches(order, size))
        done: Iterable[tuple[list[int], np.ndarray]]
        if streams > 1:
            done = encode_batches(encode, batches, streams, self.engine.enter_stream)
        else:  # a lone query starts no thread
            done = ((rows, encode(rows)) for rows, _ in batches)
        with self.engine.inferring():
            for rows, own in done:
                vectors[rows] = own
        return vectors


def build_encoder(
    config: Any,
    tokenizer: str | Path,
    *,
    name: str = "fresh",
    pooling: Pooling = "eos",
    backbone: Backbone | None = None,
    device: str | torch.device = "cpu",
) -> Encoder:
    """A fresh, trainable encoder with random weights, for training from scratch.

    Args:
        config: a transformers config object (`SmolVLMConfig`, `Idefics3Config`,
            `InternVLConfig`). `text_config.vocab_size` must cover the tokenizer.
        tokenizer: folder with `tokenizer.json` and `tokenizer_config.json` (`eos_token`).
        name: what the encoder calls itself.
        pooling: see `EncoderModule`.
        backbone: the declaration; by default derived from `config`.
        device: where the weights are made.
    """
    import torch
    from transformers import AutoModel

    with torch.device(device):
        base = AutoModel.from_config(config, attn_implementation="sdpa")
    backbone = backbone or derive_backbone(config, name=name)
    return assemble(base, Path(tokenizer), backbone, name=name, pooling=pooling)


def assemble(
    base: Any,
    tokenizer_folder: Path,
    backbone: Backbone,
    *,
    name: str,
    pooling: Pooling = "eos",
    weights_digest: str | None = None,
) -> Encoder:
    """Join a base model, a tokenizer folder and a declaration; they are checked to fit."""
    from ngcg_cli.encoder.dual import module_for
    from ngcg_cli.encoder.torch_engine import TorchEngine

    text_config = base.config.get_text_config()
    rows = base.get_input_embeddings().weight.shape[0]
    eos = _first(text_config.eos_token_id)
    tokenizer = TextTokenizer(tokenizer_folder, eos_token_id=eos, rows=rows, backbone=backbone)
    if tokenizer.size > rows:
        raise ModelError(
            f"the tokenizer has {tokenizer.size} tokens, the model {rows} embeddings",
            where=tokenizer_folder,
        )
    if not 0 <= tokenizer.eos_id < rows:
        raise ModelError(
            f"end-of-sequence token {tokenizer.eos_id} has no embedding", where=tokenizer_folder
        )
    module = module_for(base, backbone, tokenizer.image_prompt(backbone), pooling)
    module.to(base.device)
    return Encoder(
        TorchEngine(module), tokenizer, backbone, name=name, weights_digest=weights_digest
    )


def _first(value: Any) -> int | None:
    return value[0] if isinstance(value, (list, tuple)) else value


def _batches(order: list[int], size: int) -> list[list[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _digest_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
