"""What `tiny` learns from beside captions in its second course: a panel, mixtures, splices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.tiny import make, soup
from examples.tiny.measures import sides, towers
from examples.tiny.script import script
from examples.tiny.stages.averaged import mean
from examples.tiny.stages.gathered import Images
from examples.tiny.stages.heads import WIDTH
from examples.tiny.stages.mixed import mix, write
from examples.tiny.stages.panel import Panel, turn_into, unit
from examples.tiny.stages.spliced import splice, spliced
from ngcg_cli.encoder.checkpoint import load_encoder
from ngcg_cli.errors import UsageError

pytestmark = pytest.mark.slow  # reads with the bundled model: seconds in all


def test_models_side_by_side_speak_in_the_first_ones_space() -> None:
    rng = np.random.default_rng(0)
    seen = unit(rng.normal(size=(900, WIDTH)).astype(np.float32))
    turned = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    # The same model in another basis: the panel must say what either says, in the first's words.
    each = [seen, seen @ turned]
    joined = unit(np.concatenate(each, 1) / 2**0.5 @ turn_into(each))
    np.testing.assert_allclose(joined, seen, atol=1e-4)
    # Of models that differ, the cosines are the mean of theirs, where 256 directions hold them.
    low = rng.normal(size=(2, 60, WIDTH)).astype(np.float32)
    few = [unit(rng.normal(size=(900, 60)).astype(np.float32) @ basis) for basis in low]
    joined = unit(np.concatenate(few, 1) / 2**0.5 @ turn_into(few))
    wanted = sum(vectors @ vectors.T for vectors in few) / 2
    np.testing.assert_allclose(joined @ joined.T, wanted, atol=1e-3)


def test_a_panel_keeps_what_its_models_saw(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    images, texts = Images(pixels, tmp_path), ["a pond", "two boats in a harbour"]
    model = load_encoder("tiny", "cpu")
    alone = Panel([model])
    alone.agree(images, texts, tmp_path)
    np.testing.assert_allclose(alone.look(images), model.encode_images(list(pixels)), atol=1e-5)
    turned = alone.look(images, 1)
    assert not np.allclose(turned, alone.look(images), atol=1e-2)
    kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert len(kept) == 2
    both = Panel([model, model])
    both.agree(images, texts, tmp_path)
    np.testing.assert_allclose(both.look(images), alone.look(images), atol=1e-4)
    np.testing.assert_allclose(both.say(texts, tmp_path), model.encode_texts(texts), atol=1e-4)
    # Seen once; and of crops each model has its own.
    assert kept.items() <= {f.name: f.stat().st_mtime_ns for f in tmp_path.iterdir()}.items()
    before = set(tmp_path.iterdir())
    assert not np.allclose(both.look(images, 1), turned, atol=1e-3)
    assert len(set(tmp_path.iterdir()) - before) == 1


def test_a_mixture_shows_two_photographs_beyond_one_border(tmp_path: Path) -> None:
    dark, light = (np.full((150, 150, 3), value, np.uint8) for value in (20, 220))
    for seed in range(40):
        shares = mix(dark, light, np.random.default_rng(seed))[..., 0]
        assert shares.dtype == np.uint8
        # The light one has a side or a corner: 9 to 70 % of the ground, little of it mixed.
        assert 0.08 < (shares > 200).mean() < 0.72
        assert ((shares > 30) & (shares < 210)).mean() < 0.06
        corners = shares[[2, 2, -3, -3], [2, -3, 2, -3]] > 120
        assert corners.sum() in (1, 2)
    photos = np.stack([dark, light])
    made = write(tmp_path / "mixed", photos, 5)
    assert made.shape == (5, 150, 150, 3)
    np.testing.assert_array_equal(write(tmp_path / "mixed", photos[:0], 5), made)  # kept


def test_a_splice_begins_as_one_caption_and_ends_as_another() -> None:
    rng = np.random.default_rng(0)
    assert splice("trees are near a pond", "a bridge is near a road", rng) in (
        "trees are near a road",
    )
    assert splice("a pond", "near a road there is one", rng) is None
    captions = ["many trees are around a pond", "a house stands beside a pond with a pier",
                "planes are beside a runway", "a large hall beside a road"]  # fmt: skip
    made = spliced(captions, [(0, 1), (2,), (3,)], [0, 1, 1], 9)
    assert made
    assert len(set(made)) == len(made)
    assert not set(made) & set(captions)
    # Only captions of one kind of scene meet.
    assert not any("pond" in text and ("planes" in text or "hall" in text) for text in made)
    assert made == spliced(captions, [(0, 1), (2,), (3,)], [0, 1, 1], 9)


def test_a_soup_is_the_mean_of_its_models() -> None:
    one, two = load_encoder("tiny", "cpu"), load_encoder("tiny", "cpu")
    with torch.no_grad():
        for parameter in two.module.parameters():
            parameter.add_(0.5)
    wanted = {name: value + 0.25 for name, value in one.module.named_parameters()}
    made = mean([one, two])
    for name, value in made.module.named_parameters():
        torch.testing.assert_close(value, wanted[name])
    two.module.extra = torch.nn.Linear(2, 2)
    with pytest.raises(UsageError, match="architecture"):
        mean([one, two])


def test_a_script_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine").write_text("precious")
    asked = [
        (soup, ["kept", "a", "b", "--data", "d"], "kept: is there already"),
        (soup, ["new", "a", "--data", "d"], "a mean takes two models or more"),
        (soup, ["new", "a", "b", "--data", "d"], "no model 'a'"),
        (towers, ["d", "o", "--towers", "lite3:9"], "--towers 'lite3:9': NAME:SIDE"),
        (sides, ["d", "o", "tiny"], "one model has no panel"),
        (sides, ["d", "o", "tiny", "--beside", "tiny"], "missing: d/rsicd150/val.tar"),
        (make, ["--data", "d", "--out", "o", "--start", "./typo"], "./typo"),
        (make, ["--data", "d", "--out", "o", "--course", "third"], "--course third goes on"),
        (make, ["--data", "d", "--out", "o"], "missing: d/rsicd150/train.tar"),
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for module, args, told in asked:
        monkeypatch.setattr("sys.argv", ["script", *args])
        with pytest.raises(SystemExit) as ended:
            script(module.main)
        assert ended.value.code not in (0, None), args
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert (tmp_path / "kept" / "mine").read_text() == "precious"
