# SPDX-License-Identifier: Apache-2.0
"""A tokenizer that is called as those of transformers are, over lamina's own.

Ids, padding, truncation, masks, special tokens, chat templates; tensors of torch or numpy when they are asked for, and neither
package otherwise. What it does not have raises TypeError, and from_pretrained(use_hf_tokenizer=True) gives the real one.
"""
from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from .tokenizer import Tokenizer

Ids = List[int]
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
_NO_LIMIT = int(1e30)


def read_json(folder: str, name: str) -> Dict[str, Any]:
    """A JSON object of a model's folder: of a checkpoint, or of the tokenizer's files in a store; {} when it is not there."""
    for place in (os.path.join(folder, name), os.path.join(folder, "tokenizer", name)):
        try:
            with open(place, encoding="utf-8") as file:
                value = json.load(file)
            if isinstance(value, dict):
                return value
        except (OSError, ValueError):
            continue
    return {}


def to_rows(ids: Any) -> List[Ids]:
    """Lists of ids of a tensor, an array, a list of either, or one row of any of these."""
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    if isinstance(ids, (int, float)) or hasattr(ids, "__index__"):
        ids = [ids]
    rows = [r.tolist() if hasattr(r, "tolist") else r for r in ids]
    if not rows or not isinstance(rows[0], (list, tuple)):
        rows = [rows]
    return [[int(v) for v in row] for row in rows]


class BatchEncoding(dict):
    """What calling a tokenizer gives: "input_ids", "attention_mask", also as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, device: Any) -> "BatchEncoding":
        """With tensors on another device."""
        return BatchEncoding({k: v.to(device) if hasattr(v, "to") else v for k, v in self.items()})


def _tensor_class(torch: Any) -> Any:
    """Ids for a processor: .cuda() of a machine without CUDA gives them back, so that scripts written for a GPU run."""
    class Ids_(torch.Tensor):
        def cuda(self, *arguments: Any, **named: Any) -> Any:
            return super().cuda(*arguments, **named) if torch.cuda.is_available() else self

        def to(self, *arguments: Any, **named: Any) -> Any:
            place = arguments[0] if arguments else named.get("device")
            if str(place).startswith("cuda") and not torch.cuda.is_available():
                return self
            return super().to(*arguments, **named)

    Ids_.__name__ = Ids_.__qualname__ = "Tensor"
    return Ids_


_classes: Dict[int, Any] = {}


def make_tensor(rows: Any, kind: Optional[str]) -> Any:
    """`rows` as "pt", "np" or None: as they are."""
    if kind is None:
        return rows
    name = str(getattr(kind, "value", kind))
    if name == "pt":
        import torch
        if id(torch) not in _classes:
            _classes[id(torch)] = _tensor_class(torch)
        return torch.tensor(rows, dtype=torch.long).as_subclass(_classes[id(torch)])
    if name == "np":
        import numpy
        return numpy.array(rows, dtype=numpy.int64)
    raise ValueError(f"return_tensors={kind!r}: lamina's tokenizer makes 'pt' and 'np'")


class HFTokenizer:
    """Behaves as a tokenizer of transformers for what prompts and answers need."""

    model_input_names = ["input_ids", "attention_mask"]
    is_fast = True

    def __init__(self, tokenizer: Tokenizer, folder: str) -> None:
        self.lamina = tokenizer
        self.name_or_path = folder
        config, tokens = read_json(folder, "tokenizer_config.json"), read_json(folder, "special_tokens_map.json")
        self.padding_side = config.get("padding_side", "right")
        self.truncation_side = config.get("truncation_side", "right")
        length = config.get("model_max_length")
        self.model_max_length = int(length) if isinstance(length, (int, float)) and length > 0 else _NO_LIMIT
        self._config = read_json(folder, "config.json")
        self._tokens: Dict[str, Optional[str]] = {}
        for name in _SPECIAL:
            value = tokens.get(name, config.get(name))
            self._tokens[name] = value.get("content") if isinstance(value, dict) else value if isinstance(value, str) else None
        self._front = tokenizer.front()
        self._other: Optional[Tuple[str, Tokenizer]] = None  # with another chat template

    # ---- special tokens ----

    def _id_of(self, name: str) -> Optional[int]:
        text = self._tokens[name]
        if text is not None:
            return self.convert_tokens_to_ids(text)
        value = self._config.get(name + "_id") if name in ("bos_token", "eos_token") else None  # old models say it there
        return value[0] if isinstance(value, list) and value else value if isinstance(value, int) else None

    def __getattr__(self, name: str) -> Any:
        tokens = self.__dict__.get("_tokens", {})
        if name in tokens:
            value = tokens[name]
            known = self._id_of(name) if value is None else None
            return self.lamina.decode([known]) if known is not None else value
        if name.endswith("_id") and name[:-3] in tokens:
            return self._id_of(name[:-3])
        raise AttributeError(f"lamina's tokenizer has no {name}; from_pretrained(use_hf_tokenizer=True) gives transformers' own")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SPECIAL:
            self._tokens[name] = value
        elif name.endswith("_id") and name[:-3] in _SPECIAL:
            self._tokens[name[:-3]] = None if value is None else self.lamina.decode([value])
        else:
            super().__setattr__(name, value)

    @property
    def special_tokens_map(self) -> Dict[str, str]:
        return {name: text for name, text in self._tokens.items() if text is not None}

    @property
    def all_special_tokens(self) -> List[str]:
        return list(dict.fromkeys(self.special_tokens_map.values()))

    @property
    def all_special_ids(self) -> Ids:
        return [i for i in map(self.convert_tokens_to_ids, self.all_special_tokens) if i is not None]

    @property
    def vocab_size(self) -> int:
        return self.lamina.vocab

    def __len__(self) -> int:
        return self.lamina.vocab

    def convert_tokens_to_ids(self, tokens: Union[str, Sequence[str]]) -> Any:
        """The id of the text of a token, None when it is not one token."""
        if not isinstance(tokens, str):
            return [self.convert_tokens_to_ids(t) for t in tokens]
        ids = self.encode(tokens, add_special_tokens=False)
        return ids[0] if len(ids) == 1 else None

    # ---- text to ids ----

    def encode(self, text: str, add_special_tokens: bool = True, truncation: Any = False, max_length: Optional[int] = None,
               return_tensors: Any = None, **unknown: Any) -> Any:
        _refuse(unknown)
        ids = self.lamina.encode(text, special=add_special_tokens)
        if not add_special_tokens and self._front and ids[: len(self._front)] == self._front and not self._written_front(text):
            ids = ids[len(self._front):]  # built-in chat formats leave the front to the tokenizer
        if truncation and truncation != "do_not_truncate":
            ids = self._cut(text, ids, max_length if max_length is not None else self.model_max_length, add_special_tokens)
        return make_tensor([ids], return_tensors) if return_tensors is not None else ids

    def _written_front(self, text: str) -> bool:
        return bool(self._front) and text.startswith(self.lamina.decode(self._front[:1]))

    def _cut(self, text: str, ids: Ids, most: int, special: bool) -> Ids:
        if len(ids) <= most:
            return ids
        inner = self.encode(text, add_special_tokens=False) if special else ids
        front = len(self._front) if special and ids[: len(self._front)] == self._front else 0
        back = max(0, len(ids) - front - len(inner))
        room = max(0, most - front - back)
        kept = inner[len(inner) - room:] if self.truncation_side == "left" else inner[:room]
        return [*ids[:front], *kept, *(ids[len(ids) - back:] if back else [])]

    def __call__(self, text: Union[str, Sequence[str]], add_special_tokens: bool = True, padding: Any = False,
                 truncation: Any = False, max_length: Optional[int] = None, return_tensors: Any = None,
                 return_attention_mask: Optional[bool] = None, return_length: bool = False, padding_side: Optional[str] = None,
                 pad_to_multiple_of: Optional[int] = None, return_token_type_ids: Optional[bool] = None,
                 verbose: bool = True, **unknown: Any) -> BatchEncoding:
        """One text or a list of them, as transformers does it."""
        _refuse(unknown)
        single = isinstance(text, str)
        texts: Sequence[str] = [text] if isinstance(text, str) else text
        rows = [self.encode(t, add_special_tokens, truncation, max_length) for t in texts]
        return self._bundle(rows, single, padding, max_length, return_tensors, return_attention_mask, padding_side,
                            pad_to_multiple_of, return_length)

    def pad(self, encoded: Any, padding: Any = True, max_length: Optional[int] = None, return_tensors: Any = None,
            padding_side: Optional[str] = None, **unknown: Any) -> BatchEncoding:
        """Encodings of one length."""
        _refuse(unknown)
        rows = [e["input_ids"] for e in encoded] if isinstance(encoded, (list, tuple)) else encoded["input_ids"]
        return self._bundle([list(r) for r in rows], False, padding, max_length, return_tensors, True, padding_side, None, False)

    def _bundle(self, rows: List[Ids], single: bool, padding: Any, max_length: Optional[int], kind: Any, with_mask: Optional[bool],
                side: Optional[str], multiple: Optional[int], with_length: bool) -> BatchEncoding:
        masks = [[1] * len(r) for r in rows]
        lengths = [len(r) for r in rows]
        how = "longest" if padding is True else str(getattr(padding, "value", padding))
        if how in ("longest", "max_length"):
            pad = self._id_of("pad_token")
            if pad is None:
                raise ValueError("Asking to pad but the tokenizer does not have a padding token. Please select a token to use as "
                                 "`pad_token` `(tokenizer.pad_token = tokenizer.eos_token e.g.)`.")
            width = max(lengths, default=0)
            if how == "max_length":
                most = self.model_max_length if self.model_max_length < _NO_LIMIT else width
                width = max_length if max_length is not None else most
            width = -(-width // multiple) * multiple if multiple else width
            left = (side or self.padding_side) == "left"
            for i, row in enumerate(rows):
                more = max(0, width - len(row))
                rows[i] = [pad] * more + row if left else row + [pad] * more
                masks[i] = [0] * more + masks[i] if left else masks[i] + [0] * more
        elif how not in ("False", "None", "do_not_pad"):
            raise ValueError(f"padding={padding!r}: True, 'longest', 'max_length' or False is expected")
        if kind is not None and len({len(r) for r in rows}) > 1:
            raise ValueError("Unable to create tensor, you should probably activate truncation and/or padding with 'padding=True' "
                             "'truncation=True' to have batched tensors with the same length.")
        flat = single and kind is None
        out = BatchEncoding(input_ids=make_tensor(rows[0] if flat else rows, kind))
        if with_mask is not False:
            out["attention_mask"] = make_tensor(masks[0] if flat else masks, kind)
        if with_length:
            out["length"] = lengths[0] if flat else lengths
        return out

    # ---- ids to text ----

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: Optional[bool] = None,
               **unknown: Any) -> str:
        """The text of one row of ids."""
        _refuse(unknown)
        rows = to_rows(token_ids)
        if len(rows) != 1:
            return self.batch_decode(token_ids, skip_special_tokens)  # type: ignore[return-value] # as transformers 5 does
        return self.lamina.decode([i for i in rows[0] if i >= 0], skip_special_tokens)

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: Optional[bool] = None,
                     **unknown: Any) -> List[str]:
        """Texts of many rows."""
        _refuse(unknown)
        return [self.lamina.decode([i for i in row if i >= 0], skip_special_tokens) for row in to_rows(sequences)]

    # ---- conversations ----

    def apply_chat_template(self, conversation: Any, tools: Optional[Sequence[Any]] = None,
                            documents: Optional[Sequence[Any]] = None, chat_template: Optional[str] = None,
                            add_generation_prompt: bool = False,
                            continue_final_message: bool = False, tokenize: bool = True, padding: Any = False,
                            truncation: Any = False, max_length: Optional[int] = None, return_tensors: Any = None,
                            return_dict: bool = False, return_assistant_tokens_mask: bool = False,
                            tokenizer_kwargs: Optional[Dict[str, Any]] = None, padding_side: Optional[str] = None,
                            **variables: Any) -> Any:
        """The prompt of a conversation, or of a list of them: text, ids, or with return_dict ids and mask. ``chat_template`` is the
        text of a template, or the name of a built-in chat format. With ``continue_final_message`` the prompt ends where the text of
        the last message does, so that the answer goes on with it."""
        _refuse({"return_assistant_tokens_mask": return_assistant_tokens_mask, "tokenizer_kwargs": tokenizer_kwargs or None})
        if continue_final_message and add_generation_prompt:
            raise ValueError("continue_final_message and add_generation_prompt: the first goes on with the last message, the "
                             "second begins another; give one of them")
        if documents is not None:
            variables["documents"] = list(documents)
        many = bool(conversation) and not isinstance(conversation[0], dict)
        template = self._with_template(chat_template)
        texts = []
        for messages in conversation if many else [conversation]:
            text = template.apply_chat_template(messages, tools, add_generation_prompt, **variables)
            texts.append(_ending_open(text, messages) if continue_final_message else text)
        if not tokenize:
            return texts if many else texts[0]
        rows = [self.lamina.encode_prompt(t) for t in texts]
        if truncation:
            most = max_length if max_length is not None else self.model_max_length
            rows = [r[len(r) - most:] if self.truncation_side == "left" and len(r) > most else r[:most] for r in rows]
        out = self._bundle(rows, not many, padding, max_length, return_tensors, True, padding_side, None, False)
        return out if return_dict else out["input_ids"]

    def _with_template(self, template: Optional[str]) -> Tokenizer:
        """lamina's tokenizer with another chat template; the last one is kept."""
        template = template if template is not None else self.__dict__.get("chat_template")
        if template is None:
            return self.lamina
        if self._other is None or self._other[0] != template:
            with tempfile.TemporaryDirectory(prefix="lamina-template.") as folder:
                name = template
                if "{" in template:  # a text, which the library takes as a file
                    name = os.path.join(folder, "template.jinja")
                    with open(name, "w", encoding="utf-8") as file:
                        file.write(template)
                self._other = (template, Tokenizer(self.lamina.path, name))
        return self._other[1]


def _ending_open(prompt: str, messages: Sequence[Dict[str, Any]]) -> str:
    """A prompt cut behind the text of its last message."""
    said = messages[-1].get("content") if messages else None
    if isinstance(said, (list, tuple)):  # in parts
        said = next((part["text"] for part in reversed(said) if isinstance(part, dict) and "text" in part), None)
    words = said.strip() if isinstance(said, str) else ""
    at = prompt.rfind(words)
    if not words or at < 0:
        raise ValueError("continue_final_message: the last message has no text that the chat template writes as it is")
    blanks = said[len(said.rstrip()):]  # behind it, where the template keeps them
    end = at + len(words)
    return prompt[: end + len(blanks)] if prompt.startswith(blanks, end) else prompt[:end]


def is_off(value: Any) -> bool:
    """Whether an argument asks for nothing: None, False or 0; a tensor always asks for something."""
    return value is None or (isinstance(value, (bool, int, float)) and not value)


def _refuse(unknown: Dict[str, Any]) -> None:
    wanted = [name for name, value in unknown.items() if not is_off(value)]
    if wanted:
        raise TypeError(f"lamina's tokenizer does not know {', '.join(wanted)}; from_pretrained(use_hf_tokenizer=True) gives "
                        "transformers' own")


def torch_loaded() -> Any:
    """The package torch when the caller has imported it, else None: lamina does not."""
    return sys.modules.get("torch")
