"""A model laid out as the hub's cache has it: blobs, a snapshot of links to them, a ref."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

COMMIT = "0123456789" * 4


def lay_out(
    cache: Path, hub_id: str, plain: Path, *, dtype: str = "float16", shards: int = 1
) -> Path:
    """Move a model directory into the cache, its weights in 16 bits, in so many files.

    Returns:
        The snapshot's folder.
    """
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(plain / "model.safetensors")
    halved = {key: tensor.to(getattr(torch, dtype)) for key, tensor in weights.items()}
    names = sorted(halved)
    whole = plain / "model.safetensors"
    if shards == 1:
        save_file(halved, whole, metadata={"format": "pt"})
    else:
        whole.unlink()
        places: dict[str, str] = {}
        for number in range(shards):
            name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
            part = names[number::shards]
            save_file({k: halved[k] for k in part}, plain / name, metadata={"format": "pt"})
            places |= dict.fromkeys(part, name)
        index = {"metadata": {}, "weight_map": places}
        (plain / "model.safetensors.index.json").write_text(json.dumps(index))
    home = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    for folder in (home / "blobs", home / "refs", snapshot):
        folder.mkdir(parents=True)
    for file in plain.iterdir():
        blob = home / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        file.rename(blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    (home / "refs" / "main").write_text(COMMIT)
    return snapshot
