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
    anywhere; the short name for a hub id that has one; the revision is kept apart."""
    from ngcg_cli.encoder.backbones import BACKBONES, short_name
    from ngcg_cli.encoder.hub import split_revision

    if model not in BACKBONES and os.path.isdir(model):
        return os.path.abspath(model)
    return short_name(split_revision(model)[0])


def loadable(model: ModelStamp) -> str:
    """The `--model` that gives an index's very model: of the hub's, the commit it was made with."""
    return f"{model.name}@{model.revision}" if model.revision else model.name


def load_model(
    model: str | None,
    device: str,
    index: Store | None = None,
    *,
    precision: PrecisionChoice = "auto",
    dim: int | None = None,
) -> Encoder:
    """The encoder for an index: the one asked for, else the one that the index remembers.

    Args:
        model: name or path, None for the index's own (`tiny` for a new index).
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        index: the index it has to fit, if there is one yet.
        precision: what it computes in; `auto` is the index's own, where there is one.
        dim: see `Encoder.shortened`; None for the index's own, else the model's.

    Raises:
        ModelError: the model cannot be loaded, or only the index names it (`trust.py`).
        TileIndexError: the index was made with another model; both are named.
    """
    if index is not None:
        refuse_other_name(model, index)
        refuse_other_dim(dim, index)
        if model is None:
            trust.require(index.path, index.model.name)
        if precision == "auto":
            precision = cast("PrecisionChoice", index.model.precision)
    wanted = model or (loadable(index.model) if index else BUNDLED)

    logger.info("loading %s", wanted, extra={"wait": True})
    from ngcg_cli.encoder.loading import open_encoder

    try:
        encoder = open_encoder(wanted, device, precision=precision)
    except ModelError as error:
        if model is None and index is not None:
            moved = index.model.revision is None
            raise ModelError(
                f"the index's model {wanted!r} cannot be loaded: {error.what}",
                where=index.path,
                hint="Give --model the folder where it is now." if moved else error.hint,
            ) from error
        raise
    if index is None:
        encoder = encoder.shortened(dim)
    else:
        encoder = _fitting(encoder, model or index.model.name, index)
        if model is not None:
            trust.remember(index.path, model_name(model))
    engine = encoder.engine
    logger.debug(
        "%s computes in %s on %s (%s)", wanted, engine.precision, engine.place, engine.kind
    )
    return encoder


def _fitting(encoder: Encoder, model: str, index: Store) -> Encoder:
    """The encoder with vectors as long as the index's, which must be of the same model."""
    own = index.model
    if encoder.backbone.least_dim and encoder.dim > own.dim:
        encoder = encoder.shortened(own.dim)
    # A question may be computed otherwise than the tiles: that moves scores in the third digit.
    asking = replace(stamp(encoder, model), precision=own.precision)
    moved = own.revision and asking.revision not in (None, own.revision)
    if moved and (asking.fingerprint, asking.dim) != (own.fingerprint, own.dim):
        raise TileIndexError(
            f"was made with revision {own.revision} of {own.name}, and {asking.revision} gives "
            "other vectors",
            where=index.path,
            hint=f"Leave --model (and NGCG_MODEL) away, or: --model {loadable(own)}",
        )
    index.check_model(asking)
    return encoder


def stamp(encoder: Encoder, model: str) -> ModelStamp:
    """What an index keeps of its model."""
    return ModelStamp(
        name=model_name(model),
        fingerprint=encoder.fingerprint,
        dim=encoder.dim,
        precision=encoder.precision,
        revision=encoder.revision,
    )


def refuse_other_precision(precision: PrecisionChoice, index: Store) -> None:
    """Refuses to add vectors of another precision than the index's; `auto` is the index's own.

    Raises:
        TileIndexError: both are named.
    """
    if precision != "auto":
        index.check_precision(precision)


def refuse_other_dim(dim: int | None, index: Store) -> None:
    """Refuses vectors of another length than the index's; None is the index's own.

    Raises:
        TileIndexError: both are named.
    """
    if dim is not None and dim != index.model.dim:
        raise TileIndexError(
            f"holds vectors of {index.model.dim} dimensions, not of {dim}",
            where=index.path,
            hint="Leave --dim away, or index into another folder.",
        )


def refuse_other_name(model: str | None, index: Store) -> None:
    """Refuses a model that is not the index's before any of it is loaded.

    A folder may have moved, so a folder is judged by its fingerprint, after loading.

    Raises:
        TileIndexError: `model` is another one than the index's; both are named.
    """
    if model is None or os.path.isdir(model) or model_name(model) == model_name(index.model.name):
        return
    raise TileIndexError(
        f"was made with the model {index.model.name!r}, not with {model!r}",
        where=index.path,
        hint="Leave --model (and NGCG_MODEL) away, or name another --index.",
    )
