# SPDX-License-Identifier: Apache-2.0
"""generate() of transformers for what lamina does itself: greedy and sampled answers, batches, streamers, scores.

plan_fast() says whether a call is one of these; everything else is left to transformers' own loops. Padding is cut off before
anything is computed, so a batch gives each sequence what it gets alone, whichever side the padding is on.
"""
from __future__ import annotations

import ctypes
import dataclasses
import secrets
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from . import _engine
from ._hf_text import is_off, make_tensor, to_rows, torch_loaded
from .errors import UsageError

# Arguments that are done here, and those whose value here changes nothing.
_KNOWN = {"attention_mask", "max_new_tokens", "max_length", "do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty",
          "eos_token_id", "pad_token_id", "bos_token_id", "num_return_sequences", "streamer", "return_dict_in_generate",
          "output_scores", "output_logits", "stop_strings", "tokenizer", "seed", "generation_config"}
_NEUTRAL: Dict[str, Sequence[Any]] = {
    "use_cache": (None, True, False), "num_beams": (None, 1), "num_beam_groups": (None, 1), "typical_p": (None, 1, 1.0),
    "length_penalty": (None, 1, 1.0), "early_stopping": (None, False), "no_repeat_ngram_size": (None, 0), "min_length": (None, 0),
    "min_new_tokens": (None, 0), "output_attentions": (None, False), "output_hidden_states": (None, False), "penalty_alpha": (None, 0),
    "epsilon_cutoff": (None, 0, 0.0), "eta_cutoff": (None, 0, 0.0), "diversity_penalty": (None, 0, 0.0),
    "encoder_repetition_penalty": (None, 1, 1.0), "encoder_no_repeat_ngram_size": (None, 0), "remove_invalid_values": (None, False),
    "renormalize_logits": (None, False), "cache_implementation": (None, "dynamic"), "synced_gpus": (None, False),
    "token_type_ids": (), "position_ids": ()}
# In a generation_config these say something about the file, not about how to generate.
_ABOUT = {"transformers_version", "_from_model_config", "decoder_start_token_id", "return_legacy_cache", "disable_compile", "is_assistant"}
_ASSISTANT = {"num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold", "assistant_lookbehind",
              "target_lookbehind"}
_DEFAULT_LENGTH = 20  # in transformers: max_length of every generation_config, and new tokens where no length is given


class GenerateOutput:
    """``sequences``, and where asked for ``scores`` and ``logits``: one tensor [rows, vocab] for each new token."""

    def __init__(self, sequences: Any, scores: Any = None, logits: Any = None) -> None:
        self.sequences, self.scores, self.logits = sequences, scores, logits
        self.attentions = self.hidden_states = self.past_key_values = None

    def keys(self) -> List[str]:
        return [k for k in ("sequences", "scores", "logits") if getattr(self, k) is not None]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(key)
            return getattr(self, key)
        return tuple(getattr(self, k) for k in self.keys())[key]

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    def __iter__(self) -> Any:
        return iter(self.keys())


@dataclasses.dataclass
class Request:
    inputs: Any
    rows: List[List[int]]       # as given
    prompts: List[List[int]]    # without padding
    most: int                   # new tokens
    sampling: _engine.Sampling
    ends: Set[int]
    own_ends: bool              # no file and no argument says what ends an answer: what lamina knows does
    pad: int
    streamer: Any
    as_dict: bool
    scores: bool
    logits: bool
    stops: List[bytes]


def _settings(model: Any, arguments: Dict[str, Any]) -> Dict[str, Any]:
    """The arguments over those of the call's generation_config over the model's."""
    merged: Dict[str, Any] = {}
    for config in (model.generation_config, arguments.get("generation_config")):
        if config is not None:
            values = config.to_dict() if hasattr(config, "to_dict") else dict(config)
            if values.get("max_length") == _DEFAULT_LENGTH:  # of transformers 4, where nobody has said one
                del values["max_length"]
            merged.update({k: v for k, v in values.items() if v is not None and k not in _ABOUT and k not in _ASSISTANT})
    merged.update({k: v for k, v in arguments.items() if k != "generation_config" and v is not None})
    return merged


def _obstacle(settings: Dict[str, Any]) -> Optional[str]:
    """What of a call only transformers' loops can do; None: nothing."""
    for name, value in settings.items():
        if name in _KNOWN:
            continue
        neutral = _NEUTRAL.get(name)
        if neutral is not None and (not neutral or any(value is n or (not hasattr(value, "shape") and value == n) for n in neutral)):
            continue
        if is_off(value) or (isinstance(value, (list, tuple, dict)) and not value):
            continue
        return f"{name}={value!r}" if isinstance(value, (int, float, str)) else name
    changed = settings.get("do_sample") or settings.get("repetition_penalty", 1.0) != 1.0
    if settings.get("output_scores") and changed:
        return "output_scores with sampling or a repetition penalty"
    if settings.get("streamer") is not None and settings.get("num_return_sequences", 1) > 1:
        return "a streamer for several sequences"
    return None


def _without_padding(rows: List[List[int]], settings: Dict[str, Any], ends: Set[int]) -> List[List[int]]:
    """The rows by their mask; without one, a padding token that is no end token is padding, as transformers has it."""
    mask, pad = settings.get("attention_mask"), settings.get("pad_token_id")
    if mask is not None:
        masks = to_rows(mask)
        if [len(m) for m in masks] != [len(r) for r in rows]:
            raise UsageError("attention_mask has not the shape of input_ids")
        kept = [[t for t, m in zip(row, marks) if m] for row, marks in zip(rows, masks)]
    elif pad is not None and pad not in ends:
        kept = [[t for t in row if t != pad] for row in rows]
    else:
        kept = [list(row) for row in rows]
    for i, row in enumerate(kept):
        if not row:
            raise UsageError(f"row {i} of input_ids is empty, or padding alone")
    return kept


def _id_list(value: Any) -> List[int]:
    value = value.tolist() if hasattr(value, "tolist") else value
    values = value if isinstance(value, (list, tuple, set)) else [value]
    return [int(v) for v in values if v is not None and int(v) >= 0]


def _sampling(model: Any, settings: Dict[str, Any]) -> Tuple[_engine.Sampling, bool]:
    greedy = not settings.get("do_sample", False)
    values: Dict[str, Any] = {"repetition_penalty": float(settings.get("repetition_penalty", 1.0))}
    if not greedy:
        temperature = float(settings.get("temperature", 1.0))
        if temperature <= 0:
            raise ValueError(f"`temperature` (={temperature}) has to be a strictly positive float, otherwise your next token scores "
                             "will be invalid. If you're looking for greedy decoding strategies, set `do_sample=False`.")
        values.update(temperature=temperature, top_k=int(settings.get("top_k", 50) or 0), top_p=float(settings.get("top_p", 1.0)),
                      min_p=float(settings.get("min_p", 0.0) or 0.0))
    seed = settings.get("seed", model.seed)
    if seed is None:
        torch = torch_loaded()
        # torch.manual_seed, by which scripts make runs repeatable, does so here too.
        seed = int(torch.randint(0, 2**62, (1,)).item()) if torch is not None and not greedy else secrets.randbits(63)
    return _engine.Sampling(seed=int(seed), neutral=True, **values), greedy


def plan_fast(model: Any, inputs: Any, arguments: Dict[str, Any]) -> Tuple[Optional[Request], str]:
    """The request, or None and what stands against it."""
    if hasattr(inputs, "keys"):
        raise UsageError('generate() takes token ids: pass tokens["input_ids"], or **tokens')
    settings = _settings(model, arguments)
    obstacle = _obstacle(settings)
    if obstacle is not None:
        return None, obstacle
    rows = to_rows(inputs)
    ends = _id_list(settings.get("eos_token_id"))
    prompts = _without_padding(rows, settings, set(ends))
    width = max(len(r) for r in rows)
    if len({len(r) for r in rows}) > 1 and hasattr(inputs, "shape"):
        raise UsageError("rows of input_ids differ in length")
    most = settings.get("max_new_tokens")
    if most is None:  # a model's own max_new_tokens goes before a call's max_length, as there
        most = settings["max_length"] - width if settings.get("max_length") is not None else _DEFAULT_LENGTH
    if most < 1:
        raise ValueError(f"nothing may be generated: {width} tokens are given, max_length is {settings.get('max_length')}; set "
                         "max_new_tokens")
    copies = int(settings.get("num_return_sequences", 1))
    sampling, greedy = _sampling(model, settings)
    if copies > 1 and greedy:
        raise ValueError("Greedy methods without beam search do not support `num_return_sequences` different than 1 (got "
                         f"{copies}).")
    stops = settings.get("stop_strings") or []
    pad = settings.get("pad_token_id")
    streamer = settings.get("streamer")
    if streamer is not None and len(rows) > 1:
        return None, "a streamer for several sequences"
    return Request(inputs=inputs, rows=[list(r) for r in rows for _ in range(copies)],
                   prompts=[p for p in prompts for _ in range(copies)], most=int(most), sampling=sampling, ends=set(ends),
                   own_ends="eos_token_id" not in settings,
                   pad=int(pad) if pad is not None else (ends or [0])[0], streamer=streamer,
                   as_dict=bool(settings.get("return_dict_in_generate", False)), scores=bool(settings.get("output_scores", False)),
                   logits=bool(settings.get("output_logits", False)),
                   stops=[s.encode() for s in ([stops] if isinstance(stops, str) else stops)]), ""


class _Like:
    """Makes results of the kind that the caller's input is: of torch on its device, of numpy, or lists."""

    def __init__(self, inputs: Any) -> None:
        kind = type(inputs).__module__.split(".")[0]
        first = inputs[0] if isinstance(inputs, (list, tuple)) and len(inputs) else None
        torch = torch_loaded()
        sample: Any = inputs if torch is not None and isinstance(inputs, torch.Tensor) else first
        self.torch = torch if torch is not None and isinstance(sample, torch.Tensor) else None
        self.device = sample.device if self.torch is not None else None
        self.numpy = kind == "numpy" or type(first).__module__.split(".")[0] == "numpy"

    def ids(self, rows: Any) -> Any:
        if self.torch is not None:
            return self.torch.tensor(rows, dtype=self.torch.long, device=self.device)
        return make_tensor(rows, "np" if self.numpy else None)

    def floats(self, rows: List[bytes], vocab: int) -> Any:
        view = memoryview(bytearray(b"".join(rows)))
        if self.torch is not None:
            return self.torch.frombuffer(view, dtype=self.torch.float32).reshape(len(rows), vocab).to(self.device)
        if self.numpy:
            import numpy
            return numpy.frombuffer(view, dtype=numpy.float32).reshape(len(rows), vocab)
        return view.cast("B").cast("f", (len(rows), vocab)).tolist()


def _streamed(like: _Like, ids: List[int]) -> Any:
    """What a streamer of transformers expects: something with a shape and tolist()."""
    if like.torch is not None:
        return like.torch.tensor(ids, dtype=like.torch.long)
    if like.numpy:
        return make_tensor(ids, "np")
    return _Shaped(ids)


class _Shaped(list):
    @property
    def shape(self) -> Tuple[int]:
        return (len(self),)

    def tolist(self) -> List[int]:
        return list(self)


def fast_generate(model: Any, r: Request) -> Any:
    """Runs a request in the library."""
    like = _Like(r.inputs)
    made: List[List[int]] = [[] for _ in r.prompts]
    kept: List[List[bytes]] = [[] for _ in r.prompts]
    vocab = model.lamina.info.vocab

    def ended(index: int, token: int) -> bool:
        made[index].append(token)
        if r.streamer is not None:
            r.streamer.put(_streamed(like, [token]))
        if token in r.ends or (r.own_ends and model.lamina._engine.ends(token)):
            return True
        if not r.stops:
            return False
        text = model.lamina.tokenizer.decode_bytes(made[index], False)
        return any(s in text for s in r.stops if s)

    def keep(index: int, _step: int, row: Any) -> bool:
        kept[index].append(ctypes.string_at(row, 4 * vocab))
        return False

    if r.streamer is not None:
        r.streamer.put(_streamed(like, r.rows[0]))
    wants_rows = r.scores or r.logits
    model.lamina._run(_run, model.lamina, r, ended, keep if wants_rows else None)
    if r.streamer is not None:
        r.streamer.end()
    width = max(len(m) for m in made)
    sequences = like.ids([row + m + [r.pad] * (width - len(m)) for row, m in zip(r.rows, made)])
    if not r.as_dict:
        return sequences
    steps = None
    if wants_rows:
        nothing = bytes(4 * vocab)  # of a sequence that had ended
        steps = tuple(like.floats([k[i] if i < len(k) else nothing for k in kept], vocab) for i in range(width))
    return GenerateOutput(sequences, steps if r.scores else None, steps if r.logits else None)


def _run(model: Any, r: Request, ended: Any, keep: Any) -> None:
    """On the model's thread. One sequence goes through the loop in C, many share sweeps."""
    engine = model._engine
    if len(r.prompts) == 1 and keep is None:
        engine.generate(r.prompts[0], r.most, r.sampling, [], True,
                        lambda _text, token: token != _engine.FLUSH_ID and ended(0, token))
    else:
        engine.batch(r.prompts, [r.most] * len(r.prompts), r.sampling, ended, keep)
