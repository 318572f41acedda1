# SPDX-License-Identifier: Apache-2.0
"""From ORG/NAME[@REVISION] to a path.

The library knows no network: finding and fetching are the program's (`lamina pull`), which shares its cache with huggingface_hub
and knows its environment. As everywhere in lamina, a path that exists wins, and a model that is whole in the cache is used without
asking.
"""
from __future__ import annotations

import json
import os
import re
import subprocess
from typing import List, Optional, Union

from ._library import program
from .errors import NotFoundError, UnexpectedError, error_of

_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?(?:@[^@\s]+)?")


# Of the user's own `lamina pull`: not of what is run here.
_NOT_PASSED_ON = ("LAMINA_CODEC", "LAMINA_DRY_RUN", "LAMINA_EXCLUDE", "LAMINA_INCLUDE", "LAMINA_QUANT", "LAMINA_REVISION")


def pull(name: str, token: Optional[str] = None, endpoint: Optional[str] = None) -> str:
    """Fetches a model, or what is missing of it, and returns its path; with LAMINA_STREAM set, its store's. Runs the program
    ``lamina pull``; the same call again goes on where an interrupted one ended."""
    return _pull(name, token, endpoint, [])


def _pull(name: str, token: Optional[str], endpoint: Optional[str], options: List[str]) -> str:
    env = {k: v for k, v in os.environ.items() if k not in _NOT_PASSED_ON}
    if token:
        env["HF_TOKEN"] = token
    if endpoint:
        env["HF_ENDPOINT"] = endpoint
    try:
        done = subprocess.run([program(), "pull", "--json", "--quiet", *options, "--", name], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise NotFoundError(f"the program lamina, which finds and fetches models, cannot be run: {error}") from error
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        message = words[-1] if words else f"lamina pull ended with {done.returncode}"
        raise error_of(done.returncode if done.returncode > 0 else 1, re.sub(r"^lamina: (error: )?", "", message))
    try:
        said = json.loads(done.stdout)
        return said["path"] if "path" in said else said["store"]
    except (ValueError, KeyError, TypeError) as error:
        raise UnexpectedError(f"lamina pull gave no path: {done.stdout[:200]!r}") from error


def resolve(model: Union[str, os.PathLike], token: Optional[str] = None, home: Union[None, str, os.PathLike] = None) -> str:
    """A path that exists as it is; else a model of the hub: its snapshot in the cache or the store that was made while it came,
    fetched when neither is there."""
    text = os.fspath(model)
    if os.path.exists(text) or text.startswith(("/", ".", "~")) or not _NAME.fullmatch(text) or "/" not in text:
        return os.path.expanduser(text) if text.startswith("~") else text
    return _pull(text, token, None, ["--if-missing", *(["--home", os.fspath(home)] if home is not None else [])])
