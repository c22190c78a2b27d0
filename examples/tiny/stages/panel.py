"""Several trained models that answer as one: whom the student of the later courses follows.

Models err each in their own way, so their mean ranks better than any of them; and what one of them
knows by heart of a photograph, another says differently. They speak in the space of the first,
which is the student itself as it was. Balanced models speak without their balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.tiny.keyed import kept, keyed, texts_digest
from examples.tiny.stages.gathered import Images
from examples.tiny.stages.heads import WIDTH
from ngcg_cli.encoder.convnet import ConvTower
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.errors import UsageError

#: Turned crops keep at least so many of 150 px.
LEAST = 100


class Panel:
    """The models' vectors side by side, turned into the first model's space.

    The cosine of two vectors side by side is the mean of the models' cosines. The turn keeps the
    256 directions in which the vectors differ most, and lies as near to the first model's own
    vectors as a rotation can (orthogonal Procrustes).

    Args:
        models: encoders of the student's architecture; the first one's space is spoken.

    Raises:
        UsageError: one is of another.
    """

    def __init__(self, models: Sequence[Encoder]) -> None:
        for model in models:
            if model.dim != WIDTH or not isinstance(model.module.vision, ConvTower):
                raise UsageError(
                    f"{model.name}: is no model like tiny, with its tower and {WIDTH} dimensions"
                )
        self.models = [bare(model) for model in models]
        self._turn = np.eye(WIDTH, dtype=np.float32)

    @property
    def known(self) -> list[str]:
        """What names the models in keys of caches."""
        return [_name(model) for model in self.models]

    def agree(self, images: Images, texts: Sequence[str], cache: Path) -> None:
        """Find the turn from what the models say of images and of sentences (kept in `cache`)."""
        if len(self.models) == 1:
            return
        each = [
            np.concatenate([_seen(model, images, 0), _said(model, texts, cache)])
            for model in self.models
        ]
        self._turn = turn_into(each)

    def look(self, images: Images, view: int = 0) -> np.ndarray:
        """Unit vectors (N, 256) of images as they are, or (`view` above 0) of turned crops.

        Each model looks at crops of its own, so that their mean is one over crops, too.
        """
        return self._joined([_seen(model, images, view, n) for n, model in enumerate(self.models)])

    def say(self, texts: Sequence[str], cache: Path) -> np.ndarray:
        """Unit vectors (M, 256) of sentences, kept in `cache`."""
        return self._joined([_said(model, texts, cache) for model in self.models])

    def _joined(self, each: Sequence[np.ndarray]) -> np.ndarray:
        return unit(_beside(each) @ self._turn)


def bare(encoder: Encoder) -> Encoder:
    """The same encoder, without a balance: only such vectors are learned, and learned from."""
    encoder.module.set_balance(None)
    return encoder


def turn_into(each: Sequence[np.ndarray]) -> np.ndarray:
    """The turn (models * 256, 256) from models' vectors (N, 256) of the same N things."""
    joined = _beside(each).astype(np.float64)
    _, directions = np.linalg.eigh(joined.T @ joined)
    leading = directions[:, -WIDTH:]
    left, _, right = np.linalg.svd((joined @ leading).T @ each[0])
    out: np.ndarray = (leading @ left @ right).astype(np.float32)
    return out


def unit(vectors: np.ndarray) -> np.ndarray:
    """The same directions (N, D), with length one."""
    out: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return out.astype(np.float32)


def _beside(each: Sequence[np.ndarray]) -> np.ndarray:
    out: np.ndarray = np.concatenate(each, axis=1) / len(each) ** 0.5
    return out


def _said(model: Encoder, texts: Sequence[str], cache: Path) -> np.ndarray:
    path = keyed(cache / "said.npy", model=_name(model), texts=texts_digest(list(texts)))
    return kept(path, lambda: model.encode_texts(list(texts), batch_size=256))


def _seen(model: Encoder, images: Images, view: int, number: int = 0) -> np.ndarray:
    path = keyed(images.folder / f"seen-{view}.npy", model=_name(model), least=LEAST,
                 crops=number if view else 0)  # fmt: skip

    def look() -> np.ndarray:
        rng = np.random.default_rng([view, number])
        parts = []
        for start in range(0, len(images.pixels), 128):
            some = [np.array(image) for image in images.pixels[start : start + 128]]
            parts.append(model.encode_images([_turned(i, rng) for i in some] if view else some))
        return np.concatenate(parts)

    return kept(path, look)


def _name(model: Encoder) -> str:
    return f"{model.fingerprint} {next(model.module.parameters()).dtype}"


def _turned(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    whole = len(image)
    side = int(rng.integers(LEAST, whole + 1))
    top, left = (int(v) for v in rng.integers(0, whole - side + 1, 2))
    crop = np.rot90(image[top : top + side, left : left + side], int(rng.integers(4)))
    return np.ascontiguousarray(crop[:, ::-1] if rng.integers(2) else crop)
