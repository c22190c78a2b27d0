"""LoRA on the whole model, vision tower included, through peft (arXiv 2604.10721, "Adaptation").

peft takes seconds to import, so it is imported where it is used: a query on the bundled model
never pays for it.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ngcg_cli.encoder.adapter_file import adapter_config, check_rank
from ngcg_cli.encoder.module import EncoderModule
from ngcg_cli.encoder.stamp import ADAPTER_CONFIG
from ngcg_cli.errors import ModelError

ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class LoraSettings:
    """The method's defaults: rank 16, scaling alpha / rank = 8, DoRA, Gaussian init.

    Without `targets`, what the backbone declares is adapted.
    """

    rank: int = 16
    alpha: int = 128
    dropout: float = 0.1
    dora: bool = True
    targets: tuple[str, ...] = ()


def add_lora(module: EncoderModule, settings: LoraSettings | None = None) -> Any:
    """Put a fresh adapter on `module.base`, in place; everything else is frozen.

    A `query` pooling stays trainable: it has no pretrained weights to fall back on.

    Returns:
        The `peft.PeftModel` around the base; `module.adapter` holds it too.
    """
    from peft import LoraConfig

    settings = settings or LoraSettings()
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.dora,
        init_lora_weights="gaussian",
        target_modules=list(settings.targets or module.lora_targets),
    )
    return _attach(module, config)


def _attach(module: EncoderModule, config: Any) -> Any:
    from peft import get_peft_model

    if module.adapter is not None:
        raise ModelError("the model carries an adapter already")
    with warnings.catch_warnings():
        # peft asks transformers in words that transformers 5.23 has begun to deprecate.
        warnings.simplefilter("ignore", FutureWarning)
        adapter = get_peft_model(module.base, config)
    module.set_adapter(adapter)
    return adapter


def load_lora(module: EncoderModule, folder: Path, *, trainable: bool) -> None:
    """Put the adapter in `folder` on `module.base`: merged for inference, or left trainable.

    Raises:
        ModelError: the adapter is damaged or does not fit the base model, with the reason.
    """
    from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file

    where = folder / ADAPTER_WEIGHTS
    hint = "It must be used with the base model that it was trained on."
    try:
        settings = adapter_config(folder / ADAPTER_CONFIG)
        state = load_file(where)
        shapes = {key: list(tensor.shape) for key, tensor in state.items()}
        check_rank(settings, dict(module.base.named_modules()), shapes, where)
        config = LoraConfig(**settings, init_lora_weights="gaussian")
        adapter = _attach(module, config)
    except ModelError:
        raise
    except Exception as error:  # OSError, JSON, safetensors' own, peft's ValueError on no target
        raise ModelError(f"the adapter cannot be read ({error})", where=folder) from error
    # Without this word peft asks the hub whether the vocabulary has grown.
    needed = get_peft_model_state_dict(adapter, save_embedding_layers=False).keys()
    for what, keys in (("missing", needed - state.keys()), ("unexpected", state.keys() - needed)):
        if keys:
            raise ModelError(
                f"the adapter does not fit the base model: {len(keys)} {what} weights "
                f"(such as {min(keys)})",
                where=where,
                hint=hint,
            )
    try:
        set_peft_model_state_dict(adapter, state)
    except RuntimeError as error:  # the shapes
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"the adapter does not fit the base model: {reason}", where=where, hint=hint
        ) from error
    if not trainable:
        module.merge_adapter()


def adapter_settings(adapter: Any) -> dict[str, Any]:
    """What was adapted and how, for `ngcg.json`."""
    config = adapter.peft_config["default"]
    settings = LoraSettings(
        rank=config.r,
        alpha=config.lora_alpha,
        dropout=config.lora_dropout,
        dora=config.use_dora,
        targets=tuple(sorted(config.target_modules)),
    )
    return asdict(settings)
