"""A model's own chat template, as what stands before and after a question about one picture."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ngcg_cli.encoder import templating
from ngcg_cli.encoder.backbones import Backbone
from ngcg_cli.encoder.received import read_bounded, read_object
from ngcg_cli.errors import ModelError

#: Bytes of a template: the longest published ones have some 10 kB.
_BYTES = 1 << 17
#: Characters of what it makes of one short question.
_LONGEST = 1 << 15
_SECONDS = 60
#: Stands for the question while the template is rendered.
_MARK = "QUESTION-7f3c9a"
#: Marks what a training loss counts; says nothing to who asks.
_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")


@dataclass(frozen=True)
class Chat:
    """What stands before and after a question; the picture's tokens are in `before` or `after`."""

    before: str
    after: str

    def about(self, question: str) -> str:
        """The prompt that asks `question` about a picture."""
        return self.before + question + self.after


def read_chat(folder: Path, backbone: Backbone) -> Chat:
    """The chat of a model folder, with the picture in front of the question.

    It is rendered once, in a process of its own with little time and memory: what a model from a
    stranger asks for cannot hold up or fill this one.

    Args:
        folder: with `chat_template.jinja`, or `chat_template` in a JSON file of the model.
        backbone: says which tokens stand for a picture.

    Raises:
        ModelError: there is no template, or it makes no prompt with one picture and the question.
    """
    template, where = find_template(folder)
    names = _special_tokens(folder)
    content = [{"type": "image"}, {"type": "text", "text": _MARK}]
    values: dict[str, Any] = {
        "messages": [{"role": "user", "content": content}],
        "add_generation_prompt": True,
        "tools": None,
        "documents": None,
        # Of models that think aloud first, which no caption needs.
        "enable_thinking": False,
        **names,
    }
    text = _rendered(_GENERATION.sub("", template), values, where)
    token = backbone.image_token
    if text.count(_MARK) != 1 or text.count(token) != 1 or len(text) > _LONGEST:
        raise ModelError(
            f"the chat template makes no prompt with one picture ({token}) and a question",
            where=where,
            hint="Take a model whose chat shows pictures.",
        )
    before, _, after = text.replace(token, _picture(backbone)).partition(_MARK)
    return Chat(before, after)


def _picture(backbone: Backbone) -> str:
    """The tokens of one picture in one global view, as the model's own processor writes them."""
    tokens = backbone.image_token * backbone.image_tokens
    if backbone.model_type == "qwen3_vl":  # its template writes what stands around them
        return tokens
    return backbone.image_prefix + tokens + backbone.image_suffix


def find_template(folder: Path, model: str | None = None) -> tuple[str, Path]:
    """A model folder's chat template, and the file it is in.

    Raises:
        ModelError: there is none. It names `model`, as the user typed it, or else the folder.
    """
    path = folder / "chat_template.jinja"
    if path.exists():
        return read_bounded(path, _BYTES).decode("utf-8", "replace"), path
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        path = folder / name
        held = read_object(path).get("chat_template") if path.exists() else None
        if isinstance(held, list):  # several, each with its name
            named = {item.get("name"): item.get("template") for item in held if type(item) is dict}
            held = named.get("default")
        if isinstance(held, str) and len(held) <= _BYTES:
            return held, path
    raise ModelError(
        "cannot be asked anything: it has no chat template",
        where=model or folder,
        hint="Take a model that was tuned to converse, such as smolvlm-500m.",
    )


def _special_tokens(folder: Path) -> dict[str, str]:
    config = folder / "tokenizer_config.json"
    held = read_object(config) if config.exists() else {}
    found = {}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        token = held.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        found[name] = token if isinstance(token, str) else ""
    return found


def _rendered(template: str, values: dict[str, Any], where: Path) -> str:
    # By its path, without the folder that one stands in: no module from there gets in.
    command = [sys.executable, "-P", str(Path(templating.__file__))]
    asked = json.dumps({"template": template, "values": values}).encode()
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError("the chat template does not come to an end", where=where) from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1][:200] if lines else "it takes too much time or memory"
        raise ModelError(f"the chat template cannot be used ({reason})", where=where)
    text = json.loads(done.stdout)
    return text if isinstance(text, str) else ""
