"""The other half of a multimodal language model: what it says about a picture, any adapter off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ngcg_cli.encoder.backbones import Backbone
from ngcg_cli.encoder.chat import Chat, find_template, read_chat
from ngcg_cli.encoder.checkpoint import (
    MAX_ADAPTERS,
    base_of,
    dtype_of,
    require_model,
    source_of,
)
from ngcg_cli.encoder.memory import Place
from ngcg_cli.encoder.pixels import normalise, resize_images
from ngcg_cli.encoder.precision import PrecisionChoice, settle
from ngcg_cli.encoder.received import read_object
from ngcg_cli.encoder.stamp import ADAPTER_CONFIG, STAMP, read_stamp
from ngcg_cli.encoder.tokens import TextTokenizer
from ngcg_cli.encoder.weights import (
    Source,
    digest_weights,
    load_base,
    pick_device,
    weight_files,
)
from ngcg_cli.encoder.whole import patchify
from ngcg_cli.errors import ModelError

#: Model types that have no language-model head, and why.
_MUTE = {
    "siglip": "it is a dual encoder, which compares and has no words",
    "embedding_gemma2": "it was made to embed, and has no words",
    "internvl_conv": "it was made to embed, and has no words",
}
_HINT = "Take one that converses, such as smolvlm-500m or internvl3.5-1b."
#: Pictures that go through the model together, unless told.
BATCH = 8
_LONGEST_QUESTION = 2000


class Generator:
    """Answers questions about pictures: greedy, and the same alone as in any batch.

    Args:
        model: transformers' model with its language-model head.
        tokenizer: its own.
        backbone: its declaration.
        chat: what its chat template puts around a question.
        name: what messages call it.
        stops: token ids that end an answer.

    Attributes:
        batch: pictures that go through the model together.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: TextTokenizer,
        backbone: Backbone,
        chat: Chat,
        *,
        name: str,
        stops: list[int],
    ) -> None:
        from transformers import GenerationConfig

        self.name = name
        self.image_size = backbone.image_size
        self.batch = BATCH
        self._model, self._tokenizer, self._backbone = model, tokenizer, backbone
        self._chat, self._stops = chat, stops
        # What a model's folder says of sampling does not count: equal questions, equal answers.
        model.generation_config = GenerationConfig()

    def answers(
        self, images: Sequence[np.ndarray], questions: Sequence[str], max_tokens: int
    ) -> list[str]:
        """What the model says to each question about its picture.

        Args:
            images: uint8 RGB (h, w, 3) of any sizes.
            questions: one for each.
            max_tokens: after which an answer is cut.
        """
        said = []
        for some in self._batches(len(images)):
            made = self._generated(images[some], questions[some], max_tokens)
            for row in made.sequences.tolist():
                end = next((at for at, token in enumerate(row) if token in self._stops), len(row))
                said.append(self._tokenizer.decoded(row[:end]).strip())
        return said

    def chances(self, images: Sequence[np.ndarray], questions: Sequence[str]) -> np.ndarray:
        """(N,) float32: how likely the answer begins with yes rather than with no.

        A softmax over the logits of the next token, of all spellings of the two words.
        """
        yes, no = self._spellings("yes"), self._spellings("no")
        shared = yes & no
        yes, no = yes - shared, no - shared
        if not yes or not no:
            raise ModelError("its tokenizer does not tell yes from no", where=self.name)
        found = []
        for some in self._batches(len(images)):
            logits = self._generated(images[some], questions[some], 1).logits[0].float()
            sides = [logits[:, sorted(ids)].logsumexp(1) for ids in (yes, no)]
            found.append(torch.sigmoid(sides[0] - sides[1]).cpu().numpy())
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _batches(self, count: int) -> list[slice]:
        return [slice(start, start + self.batch) for start in range(0, count, self.batch)]

    def _spellings(self, word: str) -> set[int]:
        """The first tokens of a word, of those spellings that are one token where there are any."""
        spelled = [lead + way for lead in ("", " ") for way in (word, word.title(), word.upper())]
        coded = [self._tokenizer.coded(text) for text in spelled]
        return {ids[0] for ids in coded if len(ids) == 1} or {ids[0] for ids in coded if ids}

    def _generated(
        self, images: Sequence[np.ndarray], questions: Sequence[str], max_tokens: int
    ) -> Any:
        """What transformers' `generate` made: new tokens alone, and their logits."""
        from transformers import GenerationConfig

        ids, mask = self._prompts(questions)
        pixels = normalise(resize_images(images, self._backbone), self._backbone)
        config = GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_tokens,
            eos_token_id=self._stops,
            pad_token_id=self._tokenizer.pad_id,
            return_dict_in_generate=True,
            output_logits=max_tokens == 1,
        )
        device = self._model.device
        inputs = {"input_ids": ids, "attention_mask": mask, **self._seen(pixels, ids)}
        with torch.inference_mode():
            made = self._model.generate(
                **{name: tensor.to(device) for name, tensor in inputs.items()},
                generation_config=config,
            )
        made.sequences = made.sequences[:, ids.shape[1] :]
        return made

    def _prompts(self, questions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, L) int64 ids and mask, padded on the left, so that all answers begin at one place."""
        words = [self._tokenizer.without_special(text[:_LONGEST_QUESTION]) for text in questions]
        rows = [self._tokenizer.coded(self._chat.about(text)) for text in words]
        length = max(map(len, rows))
        ids = torch.full((len(rows), length), self._tokenizer.pad_id)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, length - len(tokens) :] = torch.tensor(tokens)
            mask[row, length - len(tokens) :] = 1
        return ids, mask

    def _seen(self, pixels: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """The model's own arguments for one picture a row, from (B, 3, S, S) prepared pixels."""
        kind, dtype = self._backbone.model_type, self._model.dtype
        if kind == "internvl":
            return {"pixel_values": pixels.to(dtype)}
        if kind != "qwen3_vl":
            # The class takes a picture whose pixels are all 0 for padding, and drops it.
            first = pixels[:, 0, 0, 0]
            first[(pixels == 0).flatten(1).all(1)] = 1e-6
            return {"pixel_values": pixels.unsqueeze(1).to(dtype)}
        config = self._model.config
        vision = config.vision_config
        side = pixels.shape[-1] // vision.patch_size
        patches = patchify(
            pixels, vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
        )
        return {
            "pixel_values": patches.to(dtype),
            "image_grid_thw": torch.tensor([[1, side, side]] * len(pixels)),
            "mm_token_type_ids": (ids == config.image_token_id).int(),
        }


def open_generator(
    name_or_path: str | Path, device: str = "auto", *, precision: PrecisionChoice = "auto"
) -> Generator:
    """The generative model that a `--model` means.

    Of a checkpoint that `ngcg train` wrote the base model is taken, without the adapter: an
    adapter teaches to embed, and the base still converses.

    Args:
        name_or_path: a named backbone, a hub id of a supported architecture, a model directory,
            or a LoRA checkpoint.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: of the weights; `auto` is bfloat16 on CUDA, else float32.

    Raises:
        ModelError: unknown, unreachable, damaged; or it cannot converse.
        UsageError: no such device or precision.
    """
    name = str(name_or_path)
    place = pick_device(device)
    dtype = dtype_of(settle(precision, place.type))
    source = _without_adapter(name)
    config = read_object(source.folder / "config.json")
    kind = config.get("model_type")
    if (why := _MUTE.get(kind if isinstance(kind, str) else "")) is not None:
        raise ModelError(f"cannot answer: {why}", where=name, hint=_HINT)
    find_template(source.folder, name)  # before gigabytes are read
    model, backbone = load_base(source, dtype, Place(place, dtype), head=True)
    text = model.config.get_text_config()
    rows = model.get_input_embeddings().weight.shape[0]
    stops = _stops(source.folder, text.eos_token_id, rows)
    tokenizer = TextTokenizer(
        source.folder, eos_token_id=stops[0] if stops else None, rows=rows, backbone=backbone
    )
    tokenizer.image_prompt(backbone)  # sees that it knows each token around a picture
    chat = read_chat(source.folder, backbone)
    shown = tokenizer.coded(chat.about("")).count(_image_token(model.config))
    if shown != backbone.image_tokens:
        raise ModelError(
            f"its chat shows a picture as {shown} tokens, the model {backbone.image_tokens}",
            where=source.folder,
        )
    model = model.to(place).requires_grad_(False)
    return Generator(model, tokenizer, backbone, chat, name=name, stops=[*stops, tokenizer.eos_id])


def _without_adapter(name: str) -> Source:
    """The model behind a name or a checkpoint, down to what the first adapter was trained on."""
    source = source_of(name)
    for _ in range(MAX_ADAPTERS + 1):
        if not (source.folder / ADAPTER_CONFIG).is_file():
            require_model(source)
            return _spoken(source)
        above = source
        base, source = base_of(above)
        adapted = (source.folder / ADAPTER_CONFIG).is_file()
        if not adapted and digest_weights(weight_files(source.folder)) != base.get("weights"):
            raise ModelError(
                f"trained on {base['name']}, whose weights are others now",
                where=above.folder,
                hint="Bring the old ones back, or name the model itself.",
            )
    raise ModelError(f"more than {MAX_ADAPTERS} adapters on one another", where=name)


def _spoken(source: Source) -> Source:
    """Refuses what `ngcg` itself has written whole: it learned to embed, and has no head."""
    stamp = source.folder / STAMP
    if source.backbone is None and stamp.is_file():
        base = read_stamp(stamp).get("base")
        known = base.get("name") if isinstance(base, dict) else None
        raise ModelError(
            "cannot answer: all of it was trained to embed",
            where=source.name,
            hint=f"Name the model that it was trained from: {known}." if known else _HINT,
        )
    return source


def _image_token(config: Any) -> int:
    return int(config.image_token_id)


def _stops(folder: Path, own: Any, rows: int) -> list[int]:
    """Ids that end an answer, as the model's folder and config name them."""
    path = folder / "generation_config.json"
    named = read_object(path).get("eos_token_id") if path.exists() else None
    found: list[int] = []
    for value in (named, own):
        for token in value if isinstance(value, list) else [value]:
            if isinstance(token, int) and 0 <= token < rows and token not in found:
                found.append(token)
    return found
