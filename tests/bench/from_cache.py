"""From the hub's cache to hits, without a network, for three kinds of encoders.

python tests/bench/from_cache.py FOLDER

Published weights are gigabytes; here are models of the same classes with small configs and random
weights, laid out in FOLDER/hub as the hub's cache has the published ones: blobs, a snapshot of
links, shards, 16 bits. The commands are those that one types for the real ones. Prints, a line a
model, a JSON object with the model, the revision that the index has kept, and the best hit.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))


def main(folder: Path) -> None:
    """Lays out, indexes, asks."""
    cache = folder / "hub"
    # Before huggingface_hub is imported, which reads them once.
    os.environ |= {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    from hub_cache import lay_out
    from samples import write_raster
    from small_models import write_qwen, write_siglip, write_smolvlm

    plain = folder / "plain"
    write_siglip(plain, 1)
    lay_out(cache, "lcybuaa/Git-RSCLIP-base", plain)
    write_qwen(plain, patch=16)
    lay_out(cache, "Qwen/Qwen3-VL-Embedding-2B", plain, dtype="bfloat16", shards=2)
    write_smolvlm(plain, image_size=512, patch_size=32)
    lay_out(cache, "HuggingFaceTB/SmolVLM-256M-Instruct", plain, dtype="bfloat16", shards=3)
    raster = write_raster(folder / "region.tif", 3)
    for model in ("git-rsclip-base", "qwen3-vl-embedding-2b", "smolvlm-256m"):
        index = ("--index", folder / model)
        made = ngcg("index", raster, "--model", model, "--tile", "64px", *index, "--json")
        hit = ngcg("query", "a harbour with white boats", "-k", "1", "--format", "jsonl", *index)
        told = ngcg("info", "--json", *index)
        row = {"model": told["model"], "revision": told["revision"], "tiles": made["tiles"]}
        print(json.dumps(row | {"dim": made["dim"], "score": hit["score"], "bbox": hit["bbox"]}))


def ngcg(*words: Any) -> Any:
    """The JSON object that a command prints."""
    from ngcg_cli.app import run

    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        status = run([str(word) for word in words])
    if status:
        sys.exit(f"ngcg {' '.join(map(str, words))}: exit status {status}")
    return json.loads(told.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
