"""Which model an index and a command line mean, and that they mean the same one."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ngcg_cli.errors import ModelError, TileIndexError
from ngcg_cli.journeys import trust
from ngcg_cli.search import ModelStamp, Store

if TYPE_CHECKING:
    from ngcg_cli.encoder.encoder import Encoder
    from ngcg_cli.encoder.precision import PrecisionChoice

logger = logging.getLogger(__name__)

BUNDLED = "tiny"


def model_name(model: str) -> str:
    """What an index remembers of `--model`: a folder by its absolute path, so that it is found from
    anywhere; other names as they are."""
    from ngcg_cli.encoder.backbones import BACKBONES

    if model not in BACKBONES and os.path.isdir(model):
        return os.path.abspath(model)
    return model


def load_model(
    model: str | None,
    device: str,
    index: Store | None = None,
    *,
    precision: PrecisionChoice = "auto",
) -> Encoder:
    """The encoder for an index: the one asked for, else the one that the index remembers.

    Args:
        model: name or path, None for the index's own (`tiny` for a new index).
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        index: the index it has to fit, if there is one yet.
        precision: what it computes in; `auto` is the index's own, where there is one.

    Raises:
        ModelError: the model cannot be loaded, or only the index names it (`trust.py`).
        TileIndexError: the index was made with another model; both are named.
    """
    if index is not None:
        refuse_other_name(model, index)
        if model is None:
            trust.require(index.path, index.model.name)
        if precision == "auto":
            precision = cast("PrecisionChoice", index.model.precision)
    wanted = model or (index.model.name if index else BUNDLED)

    logger.info("loading %s", wanted, extra={"wait": True})
    from ngcg_cli.encoder.loading import open_encoder

    try:
        encoder = open_encoder(wanted, device, precision=precision)
    except ModelError as error:
        if model is None and index is not None:
            raise ModelError(
                f"the index's model {wanted!r} cannot be loaded: {error.what}",
                where=index.path,
                hint="Give --model the folder where it is now.",
            ) from error
        raise
    if index is not None:
        # A question may be computed otherwise than the tiles: that moves scores in the third digit.
        asking = replace(stamp(encoder, model or index.model.name), precision=index.model.precision)
        index.check_model(asking)
        if model is not None:
            trust.remember(index.path, model_name(model))
    engine = encoder.engine
    logger.debug(
        "%s computes in %s on %s (%s)", wanted, engine.precision, engine.place, engine.kind
    )
    return encoder


def stamp(encoder: Encoder, model: str) -> ModelStamp:
    """What an index keeps of its model."""
    return ModelStamp(
        name=model_name(model),
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        precision=encoder.precision,
    )


def refuse_other_precision(precision: PrecisionChoice, index: Store) -> None:
    """Refuses to add vectors of another precision than the index's; `auto` is the index's own.

    Raises:
        TileIndexError: both are named.
    """
    if precision != "auto":
        index.check_precision(precision)


def refuse_other_name(model: str | None, index: Store) -> None:
    """Refuses a model that is not the index's before any of it is loaded.

    A folder may have moved, so a folder is judged by its fingerprint, after loading.

    Raises:
        TileIndexError: `model` is another one than the index's; both are named.
    """
    if model is None or os.path.isdir(model) or model_name(model) == index.model.name:
        return
    raise TileIndexError(
        f"was made with the model {index.model.name!r}, not with {model!r}",
        where=index.path,
        hint="Leave --model (and NGCG_MODEL) away, or name another --index.",
    )
