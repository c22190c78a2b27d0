"""What is taken off vectors that lie near to everything, and that scores stay inner products."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from ngcg_cli.encoder.balance import Balance
from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint
from ngcg_cli.encoder.encoder import Encoder
from ngcg_cli.errors import ModelError

WIDE = 32


def _vectors(count: int, seed: int) -> Tensor:
    """Unit vectors that hold nothing in the last two directions."""
    drawn = torch.randn(count, WIDE, generator=torch.Generator().manual_seed(seed))
    drawn[:, -2:] = 0
    return functional.normalize(drawn, dim=1)


def _balance(images: Tensor, sentences: Tensor, share: float = 0.5) -> Balance:
    """Every vector is a cluster of its own."""
    out = Balance(WIDE, len(images))
    out.measures.copy_(torch.tensor([share, 0.1, 0.2]))
    out.images.copy_(images)
    out.sentences.copy_(sentences)
    for shares in (out.image_shares, out.sentence_shares):
        shares.fill_(-np.log(len(images)))
    out.axes.copy_(torch.eye(WIDE)[-2:])
    out.usual[0] = out.nearness(images, of_images=True).mean()
    out.usual[1] = out.nearness(sentences, of_images=False).mean()
    return out


def test_nearness_is_the_soft_maximum_of_the_cosines_with_the_other_side() -> None:
    images, sentences, asked = _vectors(50, 0), _vectors(50, 1), _vectors(7, 2)
    found = _balance(images, sentences).nearness(asked, of_images=False)
    wanted = 0.1 * torch.log(torch.exp(asked.double() @ images.double().T / 0.1).mean(1))
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=0)


def test_scores_are_cosines_less_what_each_side_is_near_to() -> None:
    images, sentences, shown, asked = (_vectors(n, n) for n in (60, 60, 40, 30))
    images = functional.normalize(images + 0.5 * torch.eye(WIDE)[0], dim=1)
    made = _balance(images, sentences)
    found = made.of_sentences(asked) @ made.of_images(shown).T
    off = [
        made.measures[0] * (made.nearness(vectors, of_images=side == 0) - made.usual[side])
        for side, vectors in enumerate((shown, asked))
    ]
    # All vectors are of length one again.
    sizes = [torch.sqrt(1 + 0.2**2 + (each / 0.2) ** 2) for each in off]
    wanted = asked @ shown.T - off[1][:, None] - off[0]
    torch.testing.assert_close(found, wanted / torch.outer(sizes[1], sizes[0]), atol=1e-5, rtol=0)
    assert max(each.abs().max() for each in off) > 0.05


def test_a_hub_is_found_for_fewer() -> None:
    first = torch.eye(WIDE)[0]
    own = _vectors(60, 1)
    sentences = functional.normalize(own + 0.5 * first, dim=1)
    # The first image is like all sentences a little, each other one like its own sentence.
    others = 0.5 * own[1:] + 0.9 * _vectors(59, 2)
    images = functional.normalize(torch.cat([first[None], others]), dim=1)
    made = _balance(images, sentences, share=1.0)
    before = (sentences @ images.T).argmax(1)
    after = (made.of_sentences(sentences) @ made.of_images(images).T).argmax(1)
    places = torch.arange(60)
    assert (before == 0).sum() > 20 > 2 * (after == 0).sum()
    assert (after == places).sum() > (before == places).sum() + 10


def _balanced_tiny() -> tuple[Encoder, Balance]:
    encoder = load_encoder("tiny", "cpu", precision="float32")
    made = Balance(256, 5)
    made.measures.copy_(torch.tensor([0.5, 0.06, 0.2]))
    for seed, name in enumerate(("images", "sentences", "axes")):
        held = getattr(made, name)
        drawn = torch.randn(held.shape, generator=torch.Generator().manual_seed(seed))
        held.copy_(functional.normalize(drawn, dim=1))
    encoder.module.base.set_balance(made)
    return encoder, made


def test_a_balance_is_kept_with_the_weights(tmp_path: Path) -> None:
    encoder, made = _balanced_tiny()
    images = [np.full((32, 32, 3), grey, np.uint8) for grey in (40, 200)]
    texts = ["a lake", "two roads that cross"]
    encoder.module.base.set_balance(None)
    bare = encoder.encode_images(images), encoder.encode_texts(texts)
    encoder.module.base.set_balance(made)
    save_checkpoint(encoder, tmp_path / "model")
    again = load_encoder(str(tmp_path / "model"), "cpu", precision="float32")
    assert again.fingerprint != load_encoder("tiny", "cpu").fingerprint
    for found, given, through in (
        (again.encode_images(images), bare[0], made.of_images),
        (again.encode_texts(texts), bare[1], made.of_sentences),
    ):
        np.testing.assert_allclose(found, through(torch.from_numpy(given)).numpy(), atol=1e-5)
        assert np.abs(found - given).max() > 0.01
    assert not any("balance" in name for name, _ in again.module.named_parameters())
    # transformers' own call of the whole model says the same.
    plain = AutoModel.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    ids, _ = again.tokens(texts[:1])
    with torch.inference_mode():
        hidden = plain(input_ids=ids).last_hidden_state[0, -1]
    np.testing.assert_allclose(again.encode_texts(texts[:1])[0], hidden, atol=1e-5)
    with torch.inference_mode():
        pixels = again.pixels(images[:1])
        prompt = torch.tensor([[*again.module._prefix, *[4] * 16, *again.module._suffix]])
        hidden = plain(prompt, pixels, return_dict=False)[0][0, -1]
    np.testing.assert_allclose(again.encode_images(images[:1])[0], hidden, atol=1e-5)


def test_the_share_is_part_of_what_a_model_is(tmp_path: Path) -> None:
    encoder, made = _balanced_tiny()
    prints = set()
    for share in (0.5, 0.6):
        made.measures[0] = share
        save_checkpoint(encoder, tmp_path / "model")
        prints.add(load_encoder(str(tmp_path / "model"), "cpu").fingerprint)
    assert len(prints) == 2


@pytest.mark.parametrize("pooling", ["mean", "query"])
def test_pooled_otherwise_a_model_has_no_balance(tmp_path: Path, pooling: Any) -> None:
    save_checkpoint(_balanced_tiny()[0], tmp_path / "model")
    encoder = load_encoder(tmp_path / "model", "cpu", pooling=pooling, precision="float32")
    save_checkpoint(encoder, tmp_path / pooling)
    assert load_encoder(tmp_path / pooling, "cpu").module.balance is None
    assert json.loads((tmp_path / pooling / "config.json").read_text())["balance_points"] is None


@pytest.mark.parametrize("said", [6, 0, -1, True, 5_000_000, 5.0, "5", {"points": 5}])
def test_a_balance_that_does_not_fit_its_weights_is_refused(tmp_path: Path, said: object) -> None:
    save_checkpoint(_balanced_tiny()[0], tmp_path / "model")
    config = tmp_path / "model/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"balance_points": said}))
    with pytest.raises(ModelError, match="balance"):
        load_encoder(str(tmp_path / "model"), "cpu")
