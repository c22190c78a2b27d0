"""The named backbones at full size, on the meta device: no weights, no network."""

from __future__ import annotations

import dataclasses

import pytest

from ngcg_cli.encoder import catalogue
from ngcg_cli.encoder.backbones import BACKBONES, derive_backbone
from ngcg_cli.errors import ModelError

pytestmark = pytest.mark.slow  # small models of torch that train or talk: seconds in all

#: Trainable and all parameters in millions, as counted in the paper (method: r = 16, DoRA).
PAPER = {
    "internvl3.5-1b": ("9.028", "914"),
    "smolvlm-256m": ("4.137", "232"),
    "smolvlm-500m": ("6.408", "467"),
}


@pytest.mark.parametrize("name", list(PAPER))
def test_counts_are_the_papers(name: str) -> None:
    (row,) = (row for row in catalogue.list_backbones() if row["name"] == name)
    trainable, total = row["trainable_parameters"] / 1e6, row["parameters"] / 1e6
    assert (f"{trainable:.3f}", f"{total:.0f}") == PAPER[name]


@pytest.mark.parametrize("name", list(PAPER))
def test_declarations_agree_with_the_configs(name: str) -> None:
    declared, config = BACKBONES[name], catalogue.backbone_config(name)
    derived = derive_backbone(config, name=name, hub_id=declared.hub_id)
    assert derived == declared
    expected = {"internvl3.5-1b": (448, 256), "smolvlm-256m": (512, 64), "smolvlm-500m": (512, 64)}
    assert (declared.image_size, declared.image_tokens) == expected[name]


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in {*PAPER, "tiny"}])
def test_declarations_of_ready_encoders_agree_with_the_configs(name: str) -> None:
    declared, config = BACKBONES[name], catalogue.backbone_config(name)
    filters = {"bilinear": 2, "bicubic": 3}
    derived = derive_backbone(
        config,
        name=name,
        hub_id=declared.hub_id,
        preprocessor={"resample": filters[declared.resample]},
    )
    # What weights were trained for stands in no config.
    assert derived == dataclasses.replace(declared, least_dim=0)


def test_rotary_bases_reach_the_language_models() -> None:
    bases = {
        name: catalogue.backbone_config(name).text_config.rope_parameters["rope_theta"]
        for name in PAPER
    }
    assert bases == {"internvl3.5-1b": 1e6, "smolvlm-256m": 1e5, "smolvlm-500m": 1e5}


@pytest.mark.parametrize("name", list(BACKBONES))
def test_the_stored_counts_are_those_of_the_architecture(name: str) -> None:
    (row,) = (row for row in catalogue.list_backbones() if row["name"] == name)
    stored = row["parameters"], row["trainable_parameters"], row["dim"]
    assert stored == catalogue.count(BACKBONES[name])


def test_rows_have_the_promised_keys() -> None:
    rows = catalogue.list_backbones()
    assert [row["name"] for row in rows] == list(BACKBONES)
    assert [row["name"] for row in rows if row["bundled"]] == ["tiny"]
    for row in rows:
        assert list(row) == [
            "name",
            "hub_id",
            "parameters",
            "trainable_parameters",
            "dim",
            "image_size",
            "image_tokens",
            "bundled",
            "licence",
            "needs",
        ]


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(ModelError, match="no backbone 'huge'"):
        catalogue.backbone_config("huge")
