# SPDX-License-Identifier: Apache-2.0
"""Language models larger than memory, streamed from disk under a hard memory budget.

    import lamina
    with lamina.Model("~/models/Llama-3.1-70B-Instruct", memory="4GiB") as model:
        for piece in model.stream("Why is the sky blue?"):
            print(piece, end="", flush=True)

``lamina.airllm`` is a drop-in for AirLLM. All of it stands on the library's C interface through ctypes: no compiler, no other
package is needed at run time; numpy, torch and transformers are used when the caller brings them.
"""
from . import _abi
from .errors import (AuthError, BusyError, DamagedError, DeviceError, LaminaError, NetworkError, NoFitError, NoSpaceError,
                     NotFoundError, PartialError, StoppedError, StorageError, UnexpectedError, UnsupportedError, UsageError)
from .hub import pull
from .model import Model, Stream, parse_size
from .records import Answer, Info, Part, Plan, PlanLine, Progress, Stats
from .tokenizer import Tokenizer

__version__ = _abi.VERSION

__all__ = ["Answer", "AuthError", "BusyError", "DamagedError", "DeviceError", "Info", "LaminaError", "Model", "NetworkError",
           "NoFitError", "NoSpaceError", "NotFoundError", "Part", "PartialError", "Plan", "PlanLine", "Progress", "Stats",
           "StoppedError", "StorageError", "Stream", "Tokenizer", "UnexpectedError", "UnsupportedError", "UsageError", "__version__",
           "parse_size", "pull"]
