"""Renders a model's chat template; run as a script, in a process of its own (`chat.py` does).

A template is a program of whoever made the model. jinja2's sandbox keeps it away from everything
but its own text; the limits here keep it from going on for ever and from filling memory.

Reads `{"template": ..., "values": {...}}` as JSON on stdin, writes the text to stdout as JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any, NoReturn

_CPU_SECONDS = 5
_MEMORY = 1 << 30


def main() -> None:
    """Renders what stdin asks for."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # As transformers sets it up: published templates rely on it.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda _: ""  # the same prompt on every day
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    asked: dict[str, Any] = json.load(sys.stdin)
    _limit()
    text = environment.from_string(asked["template"]).render(**asked["values"])
    json.dump(text, sys.stdout)


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has none; the caller's time limit is left
        return
    for what, most in ((resource.RLIMIT_CPU, _CPU_SECONDS), (resource.RLIMIT_AS, _MEMORY)):
        with contextlib.suppress(ValueError, OSError):  # macOS bounds no address space
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
