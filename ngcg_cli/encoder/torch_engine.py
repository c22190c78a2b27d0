"""The engine that trains, that runs on a GPU, and that runs every model there is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ngcg_cli.encoder.backbones import Backbone
from ngcg_cli.encoder.module import EncoderModule
from ngcg_cli.encoder.pixels import normalise, scale_and_shift


class TorchEngine:
    """An `EncoderModule` on its device; see `Engine`."""

    kind = "torch"

    def __init__(self, module: EncoderModule) -> None:
        self.module = module
        self.dim = module.dim

    @property
    def pooling(self) -> str:
        """See `EncoderModule`."""
        return self.module.pooling

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.module.parameters()).device

    @property
    def place(self) -> str:
        """The device by name."""
        return str(self.device)

    @property
    def precision(self) -> str:
        """That of the weights."""
        return str(self.module.dtype).removeprefix("torch.")

    @property
    def rounding(self) -> str:
        """Empty: torch computes with no int8 weights."""
        return ""

    def streams(self) -> int:
        """A CPU's threads; two elsewhere: one batch is made ready while the other is computed."""
        return torch.get_num_threads() if self.device.type == "cpu" else 2

    def enter_stream(self, streams: int) -> None:
        """Gives a stream its share of torch's threads."""
        if self.device.type != "cpu":
            return
        torch.set_num_threads(max(1, torch.get_num_threads() // streams))

    @contextmanager
    def inferring(self) -> Iterator[None]:
        """Without dropout; around several streams, so that none ends it for the others."""
        training = self.module.training
        self.module.eval()
        try:
            yield
        finally:
            self.module.train(training)

    def texts(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """(B, L) int64 token ids and mask to (B, dim) float32 unit vectors."""
        return self._run(self.module.embed_texts, torch.from_numpy(ids), torch.from_numpy(mask))

    def images(self, images: np.ndarray, backbone: Backbone) -> np.ndarray:
        """(B, S, S, 3) uint8 of the model's size to (B, dim) float32 unit vectors."""
        if self.device.type == "cpu":
            return self._run(self.module.embed_images, normalise(images, backbone))
        # A quarter of the bytes to copy; what is left is a multiply-add on the device.
        scale, shift = (
            torch.from_numpy(part).view(3, 1, 1).to(self.device)
            for part in scale_and_shift(backbone)
        )

        def embed(pixels: torch.Tensor) -> torch.Tensor:
            planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
            return self.module.embed_images(planes * scale + shift)

        return self._run(embed, torch.from_numpy(np.ascontiguousarray(images)))

    def _run(self, embed: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> np.ndarray:
        with self.inferring(), torch.inference_mode():
            vectors = embed(*map(self._moved, inputs))
        return vectors.cpu().numpy()

    def _moved(self, tensor: torch.Tensor) -> torch.Tensor:
        """On the model's device; from pinned memory the copy does not hold up the caller."""
        if self.device.type == "cuda":
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def digest(self) -> str:
        """Hex digest of the parameters, in float32."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.module.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
