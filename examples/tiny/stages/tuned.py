"""The text teacher, tuned as a whole to read into a trained student's space.

A head over the frozen teacher (`heads.train_reader`) keeps to what that teacher tells apart. Here
the teacher learns, too: which photographs, of all there are, a caption is true of, and which scenes
a word of the lexicon; and which captions, of all there are, tell of a photograph. The photographs'
vectors stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from examples.tiny.keyed import kept, keyed, texts_digest
from examples.tiny.recipe import Tuning
from examples.tiny.stages.heads import WIDTH, Lexicon, blurred, many_positives
from examples.tiny.stages.teachers import Head
from ngcg_cli.training.course import LoopSettings


class TunedReader(nn.Module):
    """The text teacher and a head over it: sentences to unit vectors (M, 256).

    Args:
        teacher: its folder.
        path: where the tuned one is kept.
        loop: says in which precision it computes.
    """

    def __init__(self, teacher: Path, path: Path, loop: LoopSettings) -> None:
        super().__init__()
        self.path, self.loop = path, loop
        self.tokenizer = AutoTokenizer.from_pretrained(str(teacher))
        self.model = AutoModel.from_pretrained(str(teacher))
        self.head = Head(self.model.config.hidden_size, WIDTH)

    def forward(self, sentences: Sequence[str], parts: int = 1) -> Tensor:
        """Unit vectors (M, 256), of sentences of like length at a time, in so many `parts`."""
        order = np.argsort([len(sentence) for sentence in sentences], kind="stable")
        with self.loop.autocast("cpu"):
            read = [
                self._read([sentences[n] for n in some])
                for some in np.array_split(order, parts)
                if some.size
            ]
        out: Tensor = self.head(torch.cat(read).float())[np.argsort(order)]
        return out

    def _read(self, sentences: list[str]) -> Tensor:
        given = self.tokenizer(
            sentences, padding=True, truncation=True, max_length=128, return_tensors="pt"
        )
        mask = given["attention_mask"][:, :, None]
        states = self.model(**given).last_hidden_state
        # As the teacher's authors do: the mean over the tokens.
        return functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    def say(self, sentences: Sequence[str], cache: Path) -> np.ndarray:
        """Unit vectors (M, 256), float32, kept in `cache`."""
        path = keyed(cache / "read.npy", reader=self.path, texts=texts_digest(list(sentences)))
        return kept(path, lambda: self._said(sentences))

    @torch.inference_mode()
    def _said(self, sentences: Sequence[str]) -> np.ndarray:
        self.eval()
        some = [sentences[start : start + 512] for start in range(0, len(sentences), 512)]
        return torch.cat([self(part, parts=8) for part in some]).numpy()


def train_tuned(
    teacher: Path,
    views: Sequence[np.ndarray],
    texts: Sequence[str],
    captions: Sequence[Sequence[int]],
    known: np.ndarray,
    lexicon: Lexicon,
    path: Path,
    *,
    settings: Tuning,
    loop: LoopSettings,
) -> TunedReader:
    """The tuned reader, kept in `path`.

    Args:
        teacher: the text teacher's folder.
        views: (N, 256) unit vectors of the captioned photographs, an array for each view.
        texts: the distinct captions.
        captions: for each photograph, the indices of its captions.
        known: (M, 256) unit vectors of the captions, to begin with: what other readers say.
        lexicon: what else is true of the photographs.
        path: where it is kept; read from there when the file exists.
        settings: the recipe's.
        loop: says in which precision it computes.
    """
    torch.manual_seed(settings.seed)
    reader = TunedReader(teacher, path, loop)
    if path.exists():
        reader.load_state_dict(load_file(path))
        return reader.eval()
    seen = torch.from_numpy(np.stack(views))
    pairs = torch.tensor([(row, n) for row, own in enumerate(captions) for n in own])
    true = torch.zeros(len(texts), seen.shape[1])
    true[pairs[:, 1], pairs[:, 0]] = 1
    # A caption that was written often is there as often.
    often = true.sum(1).log()
    bank = torch.from_numpy(known).clone()
    scene_of, lexicon_scene = torch.from_numpy(lexicon.images), torch.from_numpy(lexicon.scenes)
    shares = torch.from_numpy(lexicon.shares)
    steps = settings.epochs * len(pairs) // settings.batch
    optimizer = torch.optim.AdamW(
        [
            {"params": reader.model.parameters(), "lr": settings.rate},
            {"params": reader.head.parameters(), "lr": settings.head_rate},
        ],
        weight_decay=0.05,
    )
    rise = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [settings.rate, settings.head_rate], total_steps=steps + 1, pct_start=0.1
    )
    reader.train()
    for step in range(steps):
        rows, chosen = pairs[torch.randint(len(pairs), (settings.batch,))].T
        words = torch.multinomial(shares, min(settings.lexicon, len(shares)))
        asked = [texts[n] for n in chosen] + [lexicon.sentences[n] for n in words]
        said, told = reader(asked, parts=4).split([len(chosen), len(words)])
        # Each step blurs the photographs anew: no caption can own one by heart.
        shown = blurred(seen[step % len(seen)], settings.blur)
        # Of all captions only those just read can learn; of the others the last reading stands.
        bank[chosen] = said.detach()
        read = bank.index_put((chosen,), said)
        loss = (
            functional.cross_entropy(said @ shown.T / settings.temperature, _shares(true[chosen]))
            + functional.cross_entropy(
                shown[rows] @ read.T / settings.temperature + often, _shares(true[:, rows].T)
            )
        ) / 2
        of_scene = scene_of[rows][:, None] == lexicon_scene[words][None]
        near = shown[rows] @ told.T / settings.temperature
        loss = loss + settings.lexicon_weight * many_positives(near, of_scene)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rise.step()
        if step % 50 == 0:
            print(f"reader: step {step}/{steps}, loss {loss.item():.3f}", flush=True)
    part = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in reader.state_dict().items()}, part)
    part.rename(path)
    return reader.eval()


def _shares(true: Tensor) -> Tensor:
    """Rows of ones and zeros, each divided by its sum."""
    return true / true.sum(1, keepdim=True)
