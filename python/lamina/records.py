# SPDX-License-Identifier: Apache-2.0
"""What the library tells, as plain records. Names and units are those of include/lamina/lamina.h."""
from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Optional, Type, TypeVar

T = TypeVar("T", bound="Record")


@dataclasses.dataclass(frozen=True)
class Record:
    """Fields by name; ``as_dict()`` for JSON."""

    def as_dict(self) -> Dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of(cls: Type[T], struct: Any, **more: Any) -> T:
        """From the C struct whose fields have the same names; `more` stands in for those that need another form."""
        values = dict(more)
        for field in dataclasses.fields(cls):
            if field.name not in values:
                value = getattr(struct, field.name)
                values[field.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class PlanLine(Record):
    name: str
    bytes: int
    note: str


@dataclasses.dataclass(frozen=True)
class Plan(Record):
    """What a run takes, all sizes in bytes. ``fits`` false: only ``smallest_budget_bytes`` and more would do."""

    budget_bytes: int
    total_bytes: int
    smallest_budget_bytes: int
    model_bytes: int
    streamed_bytes: int
    pinned_bytes: int
    expert_cache_bytes: int
    ring_bytes: int
    request_bytes: int
    depth: int
    prompt_rows: int
    context_tokens: int
    layers: int
    vocab: int
    max_positions: int
    most_positions: int
    threads: int
    disk_bytes_per_s: float
    s_per_token: float
    bytes_per_token: float
    best_batch: int
    model: str
    sees_ahead: bool
    fits: bool
    line: List[PlanLine]

    @classmethod
    def read(cls, struct: Any) -> "Plan":
        return cls.of(struct, line=[PlanLine.of(struct.line[i]) for i in range(struct.line_count)])


@dataclasses.dataclass(frozen=True)
class Info(Record):
    """The model and its store."""

    architecture: str
    codec: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    max_positions: int
    tied: bool
    synthetic: bool
    weights: int
    model_bytes: int
    store_bytes: int
    bits_per_weight: float
    store_bits_per_weight: float
    store_path: str


@dataclasses.dataclass(frozen=True)
class Stats(Record):
    """Totals since the model was opened. Times of stages are means over the compute threads."""

    bytes_read: int
    tiles_read: int
    tiles_verified: int
    passes: int
    rows: int
    expert_bytes_chosen: int
    expert_bytes_cached: int
    memory_budget_bytes: int
    peak_memory_bytes: int
    read_wait_s: float
    decode_s: float
    compute_s: float
    other_s: float
    pass_s: float
    drive_idle_s: float
    disk_bytes_per_s: float
    disk_limit_bytes_per_s: float
    io_engine: str
    isa: str
    numerics: str


@dataclasses.dataclass(frozen=True)
class Part(Record):
    """The time that one part of the model (the embedding, a layer, the head) took in all passes."""

    name: str
    read_wait_s: float
    decode_s: float
    compute_s: float
    other_s: float
    pass_s: float


@dataclasses.dataclass(frozen=True)
class Progress(Record):
    """``kind`` is "split", "verify", "prompt" or "prompts"; for the last two the figures are tokens."""

    kind: str
    done_bytes: int
    total_bytes: int
    elapsed_ns: int
    resumed_bytes: int
    what: Optional[str]


@dataclasses.dataclass(frozen=True)
class Answer(Record):
    """What a model made of a prompt. ``ids`` are the chosen tokens without the end token, which ``new_tokens`` counts;
    ``text`` is without special tokens and ends before a stop string. ``stop_reason``: "eos", "stop" (a string), "length" or
    "interrupted"."""

    text: str
    ids: List[int]
    stop_reason: str
    prompt_tokens: int
    new_tokens: int
    ttft_s: float = 0.0
    wall_s: float = 0.0
