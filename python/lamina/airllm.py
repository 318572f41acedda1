# SPDX-License-Identifier: Apache-2.0
"""A drop-in for AirLLM: change the import and keep the script.

    from lamina.airllm import AutoModel
    model = AutoModel.from_pretrained("ORG/NAME")
    tokens = model.tokenizer(["What is the capital of United States?"], return_tensors="pt", return_attention_mask=False,
                             truncation=True, max_length=128, padding=False)
    output = model.generate(tokens["input_ids"].cuda(), max_new_tokens=20, use_cache=True, return_dict_in_generate=True)
    print(model.tokenizer.decode(output.sequences[0]))

Ids may be tensors of torch on any device, arrays of numpy, or lists; results are of the same kind, on the same device. lamina computes
on the processor. Greedy answers, sampling and batches run in the library; beams, custom processors and the like in transformers'
own loops over this model, when transformers is installed (_hf_mixin.py).
"""
from __future__ import annotations

import os
import sys
import threading
import warnings
from typing import Any, Dict, Optional, Union

from . import hub
from ._hf_generate import GenerateOutput, fast_generate, plan_fast
from ._hf_text import HFTokenizer, read_json, torch_loaded
from .errors import NoSpaceError, UsageError
from .model import Model, make_store

NotEnoughSpaceException = NoSpaceError
_CODECS = {None: None, "8bit": "q8", "4bit": "q4"}
_DELETES_NOTHING = ("delete_original deletes nothing: `lamina split MODEL -o STORE --delete-original` makes a store and frees the "
                    "checkpoint as it goes; open the store then")
_warned: set = set()
_warned_lock = threading.Lock()


def warn_once(text: str) -> None:
    """A warning about an argument that means nothing here, once in a process."""
    with _warned_lock:
        if text in _warned:
            return
        _warned.add(text)
    warnings.warn(text, stacklevel=3)


def _codec_of(compression: Optional[str]) -> Optional[str]:
    if compression not in _CODECS:
        raise UsageError(f"compression={compression!r}: None, '4bit' or '8bit' is expected")
    return _CODECS[compression]


class Config:
    """A JSON configuration with its keys as attributes."""

    def __init__(self, values: Dict[str, Any]) -> None:
        self.__dict__.update({k: Config(v) if isinstance(v, dict) and k.endswith("_config") else v for k, v in values.items()})

    def to_dict(self) -> Dict[str, Any]:
        return {k: v.to_dict() if isinstance(v, Config) else v for k, v in self.__dict__.items()}

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def __repr__(self) -> str:
        return f"Config({self.to_dict()})"


class AirLLMBaseModel:
    """A model as AirLLM's users know it. ``lamina`` is the lamina.Model underneath.

    What AirLLM knows and lamina has no use for is taken and warned about once. New arguments: ``memory`` (the budget, "4GiB"; None:
    60 % of what is available), ``seed``, ``use_hf_tokenizer``, and ``model_options``, more options of lamina.Model.
    """

    main_input_name = "input_ids"

    def __init__(self, model_local_path_or_repo_id: Union[str, os.PathLike], device: Any = "cuda:0", dtype: Any = None,
                 max_seq_len: int = 512, layer_shards_saving_path: Union[None, str, os.PathLike] = None, profiling_mode: bool = False,
                 compression: Optional[str] = None, hf_token: Optional[str] = None, prefetching: bool = True,
                 delete_original: bool = False, *, memory: Union[None, int, str] = None, seed: Optional[int] = None,
                 use_hf_tokenizer: bool = False, model_options: Optional[Dict[str, Any]] = None, **unknown: Any) -> None:
        codec = _codec_of(compression)
        if dtype is not None:
            warn_once(f"dtype={dtype} changes nothing: lamina computes with the weights as the checkpoint has them")
        if delete_original:
            warn_once(_DELETES_NOTHING)
        for name in unknown:
            warn_once(f"{name} is not known to lamina and changes nothing")
        path = hub.resolve(model_local_path_or_repo_id, hf_token, layer_shards_saving_path)
        self.max_seq_len, self.profiling_mode, self.compression, self.seed = max_seq_len, profiling_mode, compression, seed
        self.lamina = Model(path, memory=memory, codec=codec, home=layer_shards_saving_path,
                            read_ahead=prefetching, **(model_options or {}))
        folder = path if os.path.isdir(path) else self.lamina.info.store_path
        config = read_json(folder, "config.json") or read_json(self.lamina.info.store_path, "config.json")
        self.config = Config({"is_encoder_decoder": False, "vocab_size": self.lamina.info.vocab, **config})
        # As transformers: where a checkpoint has no generation_config.json, its config.json says what ends a text.
        self.generation_config = Config(read_json(folder, "generation_config.json") or
                                        {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id") if k in config})
        self.folder = folder
        self.tokenizer: Any = self._hf_tokenizer() if use_hf_tokenizer else HFTokenizer(self.lamina.tokenizer, folder)
        self._mixin: Any = None

    def _hf_tokenizer(self) -> Any:
        from transformers import AutoTokenizer
        return AutoTokenizer.from_pretrained(self.folder)

    # ---- what it is ----

    @property
    def device(self) -> Any:
        """Where lamina computes: the processor. A torch.device when torch is loaded."""
        torch = torch_loaded()
        return torch.device("cpu") if torch is not None else "cpu"

    @property
    def dtype(self) -> Any:
        """What the checkpoint's weights are: of torch when that is loaded, else its name."""
        name = str(self.config.get("torch_dtype") or self.config.get("dtype") or "float16").replace("torch.", "")
        torch = torch_loaded()
        return getattr(torch, name, name) if torch is not None else name

    @property
    def model(self) -> "AirLLMBaseModel":
        return self

    def eval(self) -> "AirLLMBaseModel":
        return self

    def to(self, *unused: Any, **named: Any) -> "AirLLMBaseModel":
        """Stays where it is."""
        return self

    def cuda(self, *unused: Any) -> "AirLLMBaseModel":
        return self

    def can_generate(self) -> bool:
        return True

    def close(self) -> None:
        self.lamina.close()

    def __enter__(self) -> "AirLLMBaseModel":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    # ---- what it does ----

    def generate(self, inputs: Any = None, **arguments: Any) -> Any:
        """As generate() of transformers: ids with the new ones behind them, or with return_dict_in_generate an object that has
        them as ``sequences``."""
        if inputs is None:
            inputs = arguments.pop("input_ids", None)
        if inputs is None:
            raise UsageError("generate() needs input_ids: token ids, one row or several")
        request, why = plan_fast(self, inputs, arguments)
        if request is not None:
            result = fast_generate(self, request)
        else:
            result = self.mixin(why).generate(inputs, **arguments)
        if self.profiling_mode:
            self.print_profile()
        return result

    def mixin(self, why: str = "") -> Any:
        """This model under the loops of transformers."""
        if self._mixin is None:
            try:
                from ._hf_mixin import make_mixin
            except ImportError as error:
                raise UsageError(f"{why or 'this'} runs in the loops of transformers; install torch and transformers for it "
                                 f"({error})") from error
            self._mixin = make_mixin(self)
        return self._mixin

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Logits of every position, as a model of transformers gives them."""
        return self.mixin("a forward pass")(*arguments, **named)

    __call__ = forward

    def print_profile(self, file: Any = None) -> None:
        """Where the time of all passes went."""
        stats = self.lamina.stats
        for name, seconds in (("waiting for the drive", stats.read_wait_s), ("checking tiles", stats.decode_s),
                              ("computing", stats.compute_s), ("the rest", stats.other_s), ("all passes", stats.pass_s)):
            print(f"total time for {name}: {seconds:.4f}", file=file or sys.stderr)


class AutoModel:
    """Opens models: AutoModel.from_pretrained(id_or_path, ...)."""

    def __init__(self) -> None:
        raise OSError("AutoModel is made with AutoModel.from_pretrained(pretrained_model_name_or_path)")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Union[str, os.PathLike], *inputs: Any, **kwargs: Any) -> AirLLMBaseModel:
        """One model, of any family that lamina reads; the arguments are those of AirLLMBaseModel."""
        return AirLLMBaseModel(pretrained_model_name_or_path, *inputs, **kwargs)


def split_and_save_layers(checkpoint_path: Union[str, os.PathLike], layer_shards_saving_path: Union[None, str, os.PathLike] = None,
                          splitted_model_dir_name: str = "splitted_model", compression: Optional[str] = None,
                          layer_names: Any = None, delete_original: bool = False, repo_id: Optional[str] = None,
                          hf_token: Optional[str] = None, **unknown: Any) -> str:
    """Makes the store of a checkpoint and returns where it is. Arguments in AirLLM's order."""
    codec = _codec_of(compression)
    if delete_original:
        warn_once(_DELETES_NOTHING)
    if splitted_model_dir_name != "splitted_model":
        warn_once("splitted_model_dir_name changes nothing: a store has its name from its checkpoint")
    for name in [*(["layer_names"] if layer_names is not None else []), *unknown]:
        warn_once(f"{name} is not known to lamina and changes nothing")
    here = os.path.exists(checkpoint_path) or repo_id is None
    return make_store(checkpoint_path if here else repo_id, codec, layer_shards_saving_path, hf_token)


AirLLMLlama2 = AirLLMChatGLM = AirLLMQWen = AirLLMQWen2 = AirLLMBaichuan = AirLLMInternLM = AirLLMBaseModel
AirLLMMistral = AirLLMMixtral = AirLLMKimiK3 = AirLLMQwen3_5 = AirLLMQwen4Exp = AirLLMBaseModel

__all__ = ["AirLLMBaichuan", "AirLLMBaseModel", "AirLLMChatGLM", "AirLLMInternLM", "AirLLMKimiK3", "AirLLMLlama2", "AirLLMMistral",
           "AirLLMMixtral", "AirLLMQWen", "AirLLMQWen2", "AirLLMQwen3_5", "AirLLMQwen4Exp", "AutoModel", "Config", "GenerateOutput",
           "NotEnoughSpaceException", "split_and_save_layers"]
