"""A checkpoint's card: what `ngcg.json` and `metrics.jsonl` say, for those who find it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from ngcg_cli import __version__
from ngcg_cli.encoder.backbones import BACKBONES
from ngcg_cli.encoder.catalogue import licence_of
from ngcg_cli.plain import harmless

#: Settings of a run that are paths of the machine it ran on; only their last names are for others.
_PATHS = ("data", "val", "out", "images", "model", "teacher")
#: Settings of a run that say how it went, not what came of it.
_UNTOLD = ("data_format", "device", "images", "model", "out", "resume", "val", "workers", "data")
_SIGNS = re.compile(r"([\\`*_{}\[\]<>|#~])")


def without_paths(stamp: Mapping[str, Any]) -> dict[str, Any]:
    """What `ngcg.json` says, without the folders of the machine that wrote it."""
    told = dict(stamp)
    if isinstance(told.get("data"), dict) and "path" in told["data"]:
        told["data"] = {**told["data"], "path": _last_name(told["data"]["path"])}
    if isinstance(told.get("training"), dict):
        training = told["training"]
        told["training"] = training | {
            key: _last_name(training[key]) for key in _PATHS if key in training
        }
    if isinstance(told.get("base"), dict) and not told["base"].get("hub_id"):
        told["base"] = {**told["base"], "name": _last_name(told["base"].get("name"))}
    told["name"] = _last_name(told.get("name"))
    return told


def _last_name(value: Any) -> Any:
    """The last name of a path; a hub id (one slash, nothing such on this disk) stays."""
    if not isinstance(value, str) or value in BACKBONES:
        return value
    is_id = re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", value) and not Path(value).exists()
    if is_id and not value.startswith("."):
        return value
    return PureWindowsPath(value).name if "\\" in value else PurePath(value).name


def metrics_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl` that can be read; none where there is no such file."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def card(
    stamp: Mapping[str, Any], rows: list[dict[str, Any]], repo: str, licence: str | None
) -> str:
    """The text of `README.md`.

    Args:
        stamp: `ngcg.json`, see `without_paths`.
        rows: of `metrics.jsonl`.
        repo: where it goes, USER/NAME.
        licence: the hub's word for it, such as apache-2.0; None if nobody has said.
    """
    from huggingface_hub import ModelCardData

    base = stamp.get("base")
    base = base if isinstance(base, dict) else {}
    lora = stamp.get("tuning") == "lora"
    head = ModelCardData(
        license=licence,
        base_model=base.get("hub_id"),
        base_model_relation=("adapter" if lora else "finetune") if base.get("hub_id") else None,
        library_name="peft" if lora else "transformers",
        tags=["ngcg", "geo-localization", "remote-sensing", "feature-extraction"],
        ignore_metadata_errors=True,
    )
    parts = [
        f"---\n{head.to_yaml()}\n---",
        f"# {_plain(repo.partition('/')[2])}",
        "An encoder of texts and overhead images into one space, adapted with ngcg to find places "
        "by description.",
        _table(_facts(stamp, base, lora)),
        _figures(stamp, rows),
        _use(repo),
        _licence(base, licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(stamp: Mapping[str, Any], base: Mapping[str, Any], lora: bool) -> dict[str, Any]:
    data = stamp.get("data")
    data = data if isinstance(data, dict) else {}
    training = stamp.get("training")
    training = training if isinstance(training, dict) else {}
    where = base.get("hub_id") or base.get("name") or "not said"
    if where in BACKBONES and BACKBONES[where].bundled is not None:
        where = f"{where}, which comes with ngcg"
    revision = base.get("revision")
    facts = {
        "base model": f"{where}, revision {revision}" if revision else where,
        "adapted": "an adapter (LoRA) on it" if lora else "all its weights",
    }
    if lora and isinstance(stamp.get("lora"), dict):
        facts["adapter"] = _listed(stamp["lora"])
    if data:
        facts["trained on"] = (
            f"{data.get('images', '?')} images, {data.get('captions', '?')} captions"
            f" ({data.get('path', 'no name')})"
        )
    facts["pooling"] = stamp.get("pooling", "eos")
    if "temperature" in stamp:
        facts["temperature"] = stamp["temperature"]
    if training:
        facts["settings"] = _listed(
            {
                key: value
                for key, value in training.items()
                if key not in _UNTOLD and value not in (None, [], "")
            }
        )
    if isinstance(stamp.get("versions"), dict):
        facts["made with"] = _listed(stamp["versions"])
    return facts


def _figures(stamp: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    """Before and after on the validation set, where there was one."""
    measured = [row for row in rows if "val_mean" in row]
    after = stamp.get("metrics")
    after = after if isinstance(after, dict) else {}
    names = [name for name in after if name != "step"]
    if not names:
        return "It was not measured: the training had no validation set (`--val`)."
    before = next((row for row in measured if row.get("step") == 0), {})
    lines = [
        "## Figures",
        "Recall on the validation set of its training, in percent (`ngcg train --val`): texts that "
        "ask for images (t2i), images that ask for texts (i2t).",
        "| | before | after |\n|---|---|---|",
    ]
    for name in names:
        was, now = before.get(f"val_{name}"), after[name]
        lines[-1] += f"\n| {_plain(name)} | {_percent(was)} | {_percent(now)} |"
    lines.append(f"After step {after.get('step', '?')} of the training.")
    return "\n\n".join(lines)


def _percent(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "not measured"


def _use(repo: str) -> str:
    return (
        "## Use\n\n```sh\n"
        f"ngcg index region.tif --model {repo}\n"
        'ngcg query "a jetty with two boats"\n```\n\n'
        f"`--model {repo}@REVISION` takes a branch, a tag or a commit. The index remembers which. "
        f"Written by ngcg {__version__}."
    )


def _licence(base: Mapping[str, Any], licence: str | None) -> str:
    own = (
        f"This checkpoint: {licence}."
        if licence
        else "Who made this checkpoint has not said under which licence it is given on."
    )
    name = str(base.get("name") or "")
    of_base = licence_of(name)
    told = f"its base model {_plain(name)}: {of_base}" if of_base else "its base model has its own"
    return (
        f"## Licence\n\n{own} What it was made from counts too: {told}; and the training data "
        "have theirs."
    )


def _table(facts: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {_plain(value)} |" for name, value in facts.items())
    return f"| | |\n|---|---|\n{rows}"


def _listed(values: Mapping[str, Any]) -> str:
    def told(value: Any) -> str:
        if isinstance(value, bool):
            return "on" if value else "off"
        if isinstance(value, float):
            return f"{value:g}"
        return "+".join(map(str, value)) if isinstance(value, list) else str(value)

    return ", ".join(f"{key.replace('_', '-')} {told(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    """As text in Markdown: a name cannot start a link or a cell."""
    return _SIGNS.sub(r"\\\1", harmless(" ".join(str(value).split())))
