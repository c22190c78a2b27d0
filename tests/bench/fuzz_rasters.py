"""Fuzzes the reading of rasters: damaged copies must be read or refused, never more.

    python tests/bench/fuzz_rasters.py [FOLDER] --minutes 10 --seed 1

Copies of the files of FOLDER and of generated GeoTIFFs of many kinds, their side files beside them,
have tags changed, bytes flipped or their end cut off. A child with bounded memory and time opens
each, cuts it, places the windows and reads some; or runs `ngcg index` on it, with a small model of
random weights. A finding is anything but success or a reported failure: a crash, a hang, another
exception or exit status, a traceback or a line of a C library on stderr. Its files are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from raster_cases import damage, generate

from ngcg_cli.app import run
from ngcg_cli.errors import RasterError
from ngcg_cli.raster import Raster, TileSize
from ngcg_cli.raster.files import raster_files

SUFFIXES = (".tif", ".tiff", ".vrt")
WINDOWS = 6
COMMANDS = 0.2
STATUS = {"read": 0, "partly": 3, "refused": 1}


def visit(path: Path) -> str:
    """What indexing does with a raster, without the model."""
    try:
        raster_files(str(path))
        with Raster.open(path) as raster:
            windows = raster.grid(TileSize.parse("32px"), 0.25)
            some = windows[:: max(1, len(windows) // WINDOWS)][:WINDOWS]
            raster.footprints(windows[:1000])
            bad = 0
            for window in some:
                raster.empty(window)
                try:
                    raster.read(window, 64)
                except RasterError:
                    bad += 1
            return "partly" if bad else "read"
    except RasterError:
        return "refused"


def command(path: Path, model: Path) -> int:
    """The exit status of `ngcg index` on it."""
    # Of a header that claims a lot, a run may rightly take long: cut few tiles of it.
    with Raster.open(path) as raster:
        side = max(32, raster.width // 8, raster.height // 8)
    words = ["--tile", f"{side}px", "--overlap", "0", "--device", "cpu", "--model", str(model)]
    return run(["index", str(path), "--index", str(path.parent / "index"), *words])


def run_case(path: Path, model: Path | None, seconds: int, megabytes: int, log: Path) -> str:
    """What became of it in a child, whose stderr goes to `log`."""
    child = os.fork()
    if child == 0:
        status = 9
        try:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            bytes_now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf(
                "SC_PAGESIZE"
            )
            limit = bytes_now + (megabytes << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(seconds)
            if model is None:
                status = STATUS[visit(path)]
            else:
                try:
                    status = command(path, model)
                except RasterError:
                    status = 1
        except BaseException:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return "hang" if os.WTERMSIG(ended) == signal.SIGALRM else f"signal{os.WTERMSIG(ended)}"
    outcome = {status: name for name, status in STATUS.items()}.get(os.WEXITSTATUS(ended), "status")
    lines = log.read_text(errors="replace").splitlines()
    if any(word in line for line in lines for word in ("Traceback", "internal error", "ignored")):
        return "traceback"
    if any(model is None or not line.startswith("ngcg: ") for line in lines):
        return "stderr"
    return outcome


def prepare(source: Path, folder: Path, chance: random.Random) -> Path:
    """A damaged copy of a raster and of what lies beside it under the same name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = [
        file
        for file in source.parent.iterdir()
        if file.is_file()
        and (file.name.startswith((source.name, f"{source.stem}.")) or _joins(source, file))
    ]
    for file in own:
        shutil.copy(file, folder / file.name)
    aside = [file for file in own if file != source]
    target = chance.choice(aside) if aside and chance.random() < 0.25 else source
    data = bytearray(target.read_bytes())
    damage(data, chance)
    (folder / target.name).write_bytes(data)
    return folder / source.name


def _joins(source: Path, file: Path) -> bool:
    return source.suffix.lower() == ".vrt" and file.name in source.read_text(errors="replace")


def random_model(folder: Path) -> Path:
    """A SmolVLM of width 64 for images of 32 px, with random weights."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import SmolVLMConfig, SmolVLMModel

    folder.mkdir()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_end|>", "<image>", "<global-img>", "<fake_token_around_image>"]
    words = {word: number for number, word in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[]))
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, "pad_token": "<|im_end|>"}))
    text = {"model_type": "llama", "vocab_size": 400, "num_key_value_heads": 2, "pad_token_id": 0}
    vision = {"image_size": 32, "patch_size": 8}
    small = {"num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(7)
    config = SmolVLMConfig(
        vision_config={"hidden_size": 48, "intermediate_size": 96, **vision, **small},
        text_config={"hidden_size": 64, "intermediate_size": 128, **text, **small},
        image_token_id=1,
        scale_factor=2,
    )
    SmolVLMModel(config).save_pretrained(folder)
    return folder


def main() -> int:
    """Prints a tally; the exit status is 1 when there are findings."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("folder", type=Path, nargs="?")
    options.add_argument("--minutes", type=float, default=5)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--timeout", type=int, default=60, help="seconds a case")
    options.add_argument("--memory", type=int, default=2000, help="MiB more than at the start")
    options.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    asked = options.parse_args()
    chance = random.Random(asked.seed)
    asked.keep.mkdir(parents=True, exist_ok=True)
    tally: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        files = generate(Path(scratch, "made"))
        if asked.folder is not None:
            found = asked.folder.rglob("*")
            files += sorted(file for file in found if file.name.lower().endswith(SUFFIXES))
        model = random_model(Path(scratch, "model"))
        log = Path(scratch, "stderr")
        visit(files[0])  # so that children do not load GDAL anew
        until = time.monotonic() + asked.minutes * 60
        while time.monotonic() < until:
            source = chance.choice(files)
            path = prepare(source, Path(scratch, "case"), chance)
            whole = model if chance.random() < COMMANDS else None
            outcome = run_case(path, whole, asked.timeout, asked.memory, log)
            tally[f"{'command' if whole else 'api'} {outcome}"] += 1
            if outcome not in STATUS:
                kept = asked.keep / f"{sum(tally.values()):06d}-{outcome}-{source.name}"
                shutil.copytree(path.parent, kept, dirs_exist_ok=True)
                shutil.copy(log, kept / "stderr.txt")
                print(kept, file=sys.stderr, flush=True)
    print(f"seed {asked.seed}, {asked.minutes:g} minutes, {sum(tally.values())} cases:")
    for name, cases in sorted(tally.items()):
        print(f"{cases:8} {name}")
    return int(any(name.split()[1] not in STATUS for name in tally))


if __name__ == "__main__":
    sys.exit(main())
