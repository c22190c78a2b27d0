"""What a student keeps of its teacher when it sees pictures without captions.

python tests/bench/teacher.py PICTURES HELD OUT --student MODEL [--teacher MODEL] [TRAIN OPTION...]

With --noise SHARE in place of --student, the student is the teacher with noise on the matrices of
its connector and its language model, of that share of each one's standard deviation.
PICTURES is JSON Lines as `ngcg train` takes it; its captions are left away. HELD has captions and
is only measured. Prints one JSON object: recall of the teacher, of the student before and after,
and `kept`, the student's share of the teacher's mean recall.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Measures, trains, measures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pictures", type=Path)
    parser.add_argument("held", type=Path)
    parser.add_argument("out", type=Path)
    student = parser.add_mutually_exclusive_group(required=True)
    student.add_argument("--student")
    student.add_argument("--noise", type=float)
    parser.add_argument("--teacher", default="tiny")
    args, options = parser.parse_known_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.student is None:
        args.student = args.out / "student"
        disturbed(args.teacher, args.noise, args.student)
    bare = args.out / "pictures.jsonl"
    folder = args.pictures.parent.resolve()
    with args.pictures.open() as given, bare.open("w") as kept:
        for line in given:
            kept.write(json.dumps({"image": str(folder / json.loads(line)["image"])}) + "\n")
    run = args.out / "run"
    figures = {
        "teacher": recall(args.teacher, args.held),
        "before": recall(args.student, args.held),
    }
    taught = ["train", bare, "--teacher", args.teacher, "--model", args.student, "--out", run]
    figures["seconds"] = ngcg(*taught, *options)["seconds"]
    figures["after"] = recall(run, args.held)
    for when in ("before", "after"):
        figures[f"kept {when}"] = round(figures[when]["mean"] / figures["teacher"]["mean"], 3)
    print(json.dumps({"options": options, **figures}))


def disturbed(model: str, share: float, out: Path) -> None:
    """Writes a model with noise on its matrices; the vision tower stays as it is."""
    import torch

    from ngcg_cli.encoder.checkpoint import load_encoder, save_checkpoint

    encoder = load_encoder(model, "cpu", trainable=True)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in encoder.module.named_parameters():
            if weight.ndim > 1 and ("language_model.layers" in name or "projector" in name):
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_(noise * weight.std() * share)
    encoder.origin = None
    save_checkpoint(encoder, out)


def recall(model: str | Path, data: Path) -> dict[str, Any]:
    """Recall both ways and the mean, in percent."""
    told = ngcg("eval", data, "--model", model, "--no-cache")
    return {name: told[name] for name in ("mean", "text_to_image", "image_to_text")}


def ngcg(*words: Any) -> Any:
    """What a command prints with `--json`."""
    command = [sys.executable, "-m", "ngcg_cli", *map(str, words), "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


if __name__ == "__main__":
    main()
