# SPDX-License-Identifier: Apache-2.0
"""A lamina model under the generation loops of transformers: beam search, custom logits processors, stopping criteria.

transformers sees a model without a cache, which gets whole sequences each time. The cache is here: each row of a batch takes the
sequence of the engine that shares most tokens with it, cuts what differs and computes the rest, all rows in one sweep. So beams may
be reordered, copied and dropped without anybody saying so. Imports torch and transformers: airllm.py imports this when it has to.
"""
from __future__ import annotations

import contextlib
import ctypes
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from transformers import AutoConfig, GenerationConfig
from transformers.configuration_utils import PretrainedConfig
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from ._hf_text import is_off
from .errors import UsageError

# What callers say to a forward pass of transformers that changes no logits here.
_WITHOUT_EFFECT = {"use_cache", "cache_position", "token_type_ids"}


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    length = min(len(a), len(b))
    for i in range(length):
        if a[i] != b[i]:
            return i
    return length


class Rows:
    """Sequences that stay in the engine between the steps of a generation. Used on the model's thread."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def drop(self) -> None:
        self.model._engine.close_sessions()

    def _assign(self, rows: List[List[int]]) -> List[Any]:
        """A session for each row: the longest common beginnings first; rows without one get a session that is free."""
        engine = self.model._engine
        pairs = sorted(((-_shared(s.tokens, row), i, k) for i, row in enumerate(rows) for k, s in enumerate(engine.sessions)
                        if s.tokens and row and s.tokens[0] == row[0]), key=lambda p: p)
        taken: Dict[int, Any] = {}
        used = set()
        for length, i, k in pairs:
            if i not in taken and k not in used and length < 0:
                taken[i] = engine.sessions[k]
                used.add(k)
        free = [s for k, s in enumerate(engine.sessions) if k not in used]
        for i in range(len(rows)):
            if i not in taken:
                taken[i] = free.pop() if free else engine.session()
        return [taken[i] for i in range(len(rows))]

    def last_logits(self, rows: List[List[int]], room: int) -> bytearray:
        """Logits after the last token of each row."""
        engine = self.model._engine
        engine.need(max(map(len, rows)) + room, len(rows))
        size = 4 * self.model.info.vocab
        out = bytearray(size * len(rows))
        for first in range(0, len(rows), engine.sequences):
            group = rows[first : first + engine.sequences]
            work = []
            for row, session in zip(group, self._assign(group)):
                keep = min(_shared(session.tokens, row), len(row) - 1)
                if keep < len(session.tokens):
                    session.truncate(keep)
                work.append((session, row[keep:], len(row) - keep - 1, 1))

            def copy(index: int, _row: int, logits: Any, first: int = first) -> bool:
                out[(first + index) * size : (first + index + 1) * size] = ctypes.string_at(logits, size)
                return False

            engine.feed_prompts(work, copy)
        return out


class LaminaForCausalLM(GenerationMixin):
    """What GenerationMixin wants of a model."""

    main_input_name = "input_ids"
    base_model_prefix = "model"
    input_modalities = ("text",)
    _is_stateful = False
    _supports_cache_class = False
    is_remote_code = lambda *unused: False  # noqa: E731
    hf_quantizer = None

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.rows = Rows(owner.lamina)
        self.config = _config_of(owner)
        self.generation_config = _generation_of(owner, self.config)
        self.room = 0

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @classmethod
    def can_generate(cls) -> bool:
        return True

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    @contextlib.contextmanager
    def _optimize_model_for_decode(self) -> Iterator[None]:
        yield

    def _prepare_cache_for_generation(self, *unused: Any, **named: Any) -> None:
        """The engine keeps its own."""

    def prepare_inputs_for_generation(self, input_ids: torch.LongTensor, attention_mask: Optional[torch.Tensor] = None,
                                      **unused: Any) -> Dict[str, Any]:
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def generate(self, inputs: Any = None, **arguments: Any) -> Any:
        ids = inputs if isinstance(inputs, torch.Tensor) else torch.tensor(inputs, dtype=torch.long)
        device, ids = ids.device, ids.as_subclass(torch.Tensor).cpu()
        ids = ids[None] if ids.dim() == 1 else ids
        if arguments.get("attention_mask") is not None:
            arguments["attention_mask"] = torch.as_tensor(arguments["attention_mask"]).cpu()
        most = arguments.get("max_new_tokens") or arguments.get("max_length") or self.generation_config.max_new_tokens or 64
        beams = max(int(arguments.get("num_beams") or 1), int(arguments.get("num_return_sequences") or 1))
        owner = self.owner.lamina
        for name in ("use_cache", "token_type_ids", "position_ids"):  # which the models here have no use for
            arguments.pop(name, None)
        try:
            owner._run(lambda: owner._engine.need(ids.shape[1] + int(most), ids.shape[0] * beams))
            with torch.no_grad():
                result = super().generate(ids, use_cache=False, **arguments)
        finally:
            owner._run(self.rows.drop)
        if isinstance(result, torch.Tensor):
            return result.to(device)
        if result.get("sequences") is not None:
            result["sequences"] = result["sequences"].to(device)
        return result

    def forward(self, input_ids: torch.LongTensor = None, attention_mask: Optional[torch.Tensor] = None,
                logits_to_keep: Any = 1, return_dict: Optional[bool] = None, labels: Optional[torch.Tensor] = None,
                **more: Any) -> CausalLMOutputWithPast:
        """Logits of the last position of each row; with logits_to_keep=0 of all (rows without padding). With ``labels``, for which
        all are needed, the loss: the mean cross-entropy of each next label; -100 is none."""
        wanted = [name for name, value in more.items() if name not in _WITHOUT_EFFECT and not is_off(value)]
        if wanted:
            raise UsageError(f"a forward pass of lamina does not know {', '.join(wanted)}: it takes input_ids, attention_mask, "
                             "labels and logits_to_keep, and gives logits and the loss")
        if labels is not None and not (isinstance(logits_to_keep, int) and logits_to_keep == 0):
            raise UsageError("labels are for the logits of all positions: leave logits_to_keep out")
        rows = [[t for t, m in zip(row, mask) if m] for row, mask in
                zip(input_ids.tolist(), (attention_mask if attention_mask is not None else torch.ones_like(input_ids)).tolist())]
        owner = self.owner.lamina
        if isinstance(logits_to_keep, int) and logits_to_keep == 1:
            data = owner._run(self.rows.last_logits, rows, 1)
            logits = torch.frombuffer(data, dtype=torch.float32).reshape(len(rows), 1, -1)
        else:
            logits = self._all_logits(rows, input_ids.shape[1])
        return CausalLMOutputWithPast(loss=_loss(logits, labels) if labels is not None else None, logits=logits)

    def _all_logits(self, rows: List[List[int]], width: int) -> torch.Tensor:
        owner = self.owner.lamina
        owner._run(self.rows.drop)
        out = torch.zeros((len(rows), width, owner.info.vocab), dtype=torch.float32)
        for i, row in enumerate(rows):
            if len(row) != width:
                raise ValueError("logits of all positions are for rows without padding")
            data = owner._run(lambda row=row: owner._engine.logits(row, True))
            out[i] = torch.frombuffer(data, dtype=torch.float32).reshape(width, -1)
        return out

    def __call__(self, input_ids: Any = None, **named: Any) -> Any:
        return self.forward(input_ids, **named)


def _loss(logits: torch.Tensor, labels: Any) -> torch.Tensor:
    """The mean of -log p(label) over the positions that have a next label."""
    following = torch.as_tensor(labels, dtype=torch.long).as_subclass(torch.Tensor).cpu()[..., 1:].reshape(-1)
    return torch.nn.functional.cross_entropy(logits[..., :-1, :].reshape(-1, logits.shape[-1]), following, ignore_index=-100)


class Outside:
    """How a caller sees forward(): all positions unless fewer are asked for, and lists and arrays too."""

    def __init__(self, model: LaminaForCausalLM) -> None:
        self._model = model
        self.generate = model.generate

    def __call__(self, input_ids: Any = None, attention_mask: Any = None, return_dict: Optional[bool] = None, **named: Any) -> Any:
        ids = input_ids if isinstance(input_ids, torch.Tensor) else torch.tensor(input_ids, dtype=torch.long)
        named.setdefault("logits_to_keep", 0)
        if attention_mask is not None:
            named["attention_mask"] = torch.as_tensor(attention_mask).cpu()
        out = self._model.forward(ids.as_subclass(torch.Tensor).cpu(), **named)
        out.logits = out.logits.to(ids.device)
        return out.to_tuple() if return_dict is False else out


def _config_of(owner: Any) -> Any:
    try:
        config = AutoConfig.from_pretrained(owner.folder)
    except Exception:  # a family that this transformers does not know: its loops need only a few facts
        config = PretrainedConfig(vocab_size=owner.lamina.info.vocab)
    config.is_encoder_decoder = False
    return config


def _generation_of(owner: Any, config: Any) -> Any:
    values = owner.generation_config.to_dict()
    return GenerationConfig.from_dict(values) if values else GenerationConfig.from_model_config(config)


def make_mixin(owner: Any) -> Outside:
    return Outside(LaminaForCausalLM(owner))


__all__: Tuple[str, ...] = ("LaminaForCausalLM", "make_mixin")
