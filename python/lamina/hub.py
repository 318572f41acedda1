# SPDX-License-Identifier: Apache-2.0
"""From ORG/NAME[@REVISION] to a directory.

The library knows no network: fetching is the program's (`lamina pull`), which shares its cache with huggingface_hub and knows its
environment. As everywhere in lamina, a path that exists wins, and a model that is whole in the cache is used without asking.
"""
from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
from typing import Optional, Union

from ._library import program
from .errors import NotFoundError, UnexpectedError, error_of

_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?(?:@[^@\s]+)?")


def _cache() -> pathlib.Path:
    env = os.environ
    named = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return pathlib.Path(named).expanduser()
    home = env.get("HF_HOME") or os.path.join(env.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface")
    return pathlib.Path(home).expanduser() / "hub"


def cached(name: str) -> Optional[str]:
    """The snapshot of a model in the cache, when all the weights that it names are there."""
    name, _, revision = name.partition("@")
    folder = _cache() / ("models--" + name.replace("/", "--"))
    ref = folder / "refs" / (revision or "main")
    try:
        commit = ref.read_text().strip() if ref.is_file() else revision
    except OSError:
        return None
    snapshot = folder / "snapshots" / commit if commit else None
    return str(snapshot) if snapshot is not None and snapshot.is_dir() and _is_whole(snapshot) else None


def _is_whole(snapshot: pathlib.Path) -> bool:
    for index in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        try:
            shards = set(json.loads((snapshot / index).read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            continue
        return (snapshot / "config.json").is_file() and all((snapshot / shard).is_file() for shard in shards)
    single = any((snapshot / name).is_file() for name in ("model.safetensors", "pytorch_model.bin"))
    return (single and (snapshot / "config.json").is_file()) or any(snapshot.glob("*.gguf"))


def pull(name: str, token: Optional[str] = None, endpoint: Optional[str] = None) -> str:
    """Fetches a model, or what is missing of it, and returns its directory. Runs the program ``lamina pull``; the same call again
    goes on where an interrupted one ended."""
    env = dict(os.environ)
    if token:
        env["HF_TOKEN"] = token
    if endpoint:
        env["HF_ENDPOINT"] = endpoint
    try:
        done = subprocess.run([program(), "pull", "--json", "--quiet", "--", name], env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise NotFoundError(f"the program lamina, which fetches models, cannot be run: {error}") from error
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        message = words[-1] if words else f"lamina pull ended with {done.returncode}"
        raise error_of(done.returncode if done.returncode > 0 else 1, re.sub(r"^lamina: (error: )?", "", message))
    try:
        return json.loads(done.stdout)["path"]
    except (ValueError, KeyError) as error:
        raise UnexpectedError(f"lamina pull gave no path: {done.stdout[:200]!r}") from error


def resolve(model: Union[str, os.PathLike], token: Optional[str] = None) -> str:
    """A path that exists as it is; else a model of the hub, fetched when the cache has it not or not whole."""
    text = os.fspath(model)
    if os.path.exists(text) or text.startswith(("/", ".", "~")) or not _NAME.fullmatch(text) or "/" not in text:
        return os.path.expanduser(text) if text.startswith("~") else text
    return cached(text) or pull(text, token)
