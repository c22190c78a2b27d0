"""The words that settings take, each list in one place; light, so that `--help` is quick."""

from __future__ import annotations

from typing import Literal, get_args

# Data sets (`datasets`).
DataFormat = Literal["auto", "jsonl", "geotext", "cvg-text"]
ImageType = Literal["sat", "osm"]

# The encoder, and what of it is trained.
Pooling = Literal["eos", "mean", "query"]
Tuning = Literal["lora", "full"]

# What an export is stored in.
ExportPrecision = Literal["float32", "float16", "int8"]

# Training: which rows of a batch are queries, how batches are dealt, how the rate falls, what the
# forward passes compute in, how images are changed.
Direction = Literal["symmetric", "text-to-image", "image-to-text"]
Batches = Literal["spread", "shuffle"]
Schedule = Literal["linear", "cosine"]
TrainPrecision = Literal["float32", "bfloat16"]
TrainPrecisionChoice = Literal["auto", "float32", "bfloat16"]
Augmentation = Literal["flip", "turn", "colour", "crop"]
AUGMENTATIONS: tuple[Augmentation, ...] = get_args(Augmentation)

# Evaluation: what the gallery of `recall` and `geotext` holds, what is right in `cvg-text`.
Protocol = Literal["auto", "recall", "geotext", "cvg-text", "places"]
Gallery = Literal["unique", "rows"]
Match = Literal["position", "name"]

# The large model's other half: how hits are judged again, which captions are written.
RerankBy = Literal["vectors", "yes"]
CaptionStyle = Literal["short", "long", "attributes"]
