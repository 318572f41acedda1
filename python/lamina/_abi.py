# SPDX-License-Identifier: Apache-2.0
"""The C interface of lamina as ctypes sees it. Made by tools/python_abi.py from include/lamina: do not edit."""
from ctypes import (CFUNCTYPE, POINTER, Structure, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_size_t, c_uint8,
                    c_uint32, c_uint64, c_void_p)

VERSION = "0.1.0"

# Name, number, meaning: the number is negative where a function returns it, and the exit code of a program.
STATUSES = [("OK", 0, "done"), ("UNEXPECTED", 1, "unexpected error"), ("USAGE", 2, "wrong usage"),
    ("NOT_FOUND", 3, "model, revision or file not found"), ("AUTH", 4, "authentication missing or repository gated"),
    ("NETWORK", 5, "network trouble after retries"), ("NO_SPACE", 6, "no disk space"),
    ("NO_FIT", 7, "does not fit the memory budget"), ("DAMAGED", 8, "checksum or format damage"),
    ("UNSUPPORTED", 9, "architecture, data type or file format not supported"),
    ("PARTIAL", 10, "finished, some requests failed"), ("IO", 11, "input/output error after retries"),
    ("DEVICE", 12, "device error or lost"), ("BUSY", 75, "lock held by another process, try again"),
    ("INTERRUPTED", 130, "interrupted, state saved")]

# enum lamina_io_engine
LAMINA_IO_AUTO = 0
LAMINA_IO_URING = 1
LAMINA_IO_THREADS = 2
LAMINA_IO_SIM = 3

# enum lamina_kv_type
LAMINA_KV_F16 = 0
LAMINA_KV_F32 = 1

# enum lamina_progress_kind
LAMINA_PROGRESS_SPLIT = 0
LAMINA_PROGRESS_VERIFY = 1
LAMINA_PROGRESS_PROMPT = 2
LAMINA_PROGRESS_PROMPTS = 3

# enum lamina_stop_reason
LAMINA_STOP_NONE = 0
LAMINA_STOP_EOS = 1
LAMINA_STOP_STRING = 2
LAMINA_STOP_LENGTH = 3
LAMINA_STOP_CALLER = 4


class lamina_error(Structure):
    _fields_ = [
        ("code", c_int),
        ("message", c_char * 1024),
    ]


class lamina_progress(Structure):
    _fields_ = [
        ("kind", c_int),
        ("done_bytes", c_uint64),
        ("total_bytes", c_uint64),
        ("elapsed_ns", c_uint64),
        ("resumed_bytes", c_uint64),
        ("what", c_char_p),
    ]


class lamina_callbacks(Structure):
    _fields_ = [
        ("log", CFUNCTYPE(None, c_void_p, c_int, c_char_p)),
        ("progress", CFUNCTYPE(c_bool, c_void_p, POINTER(lamina_progress))),
        ("experts", CFUNCTYPE(None, c_void_p, c_uint32, POINTER(c_uint8), c_uint32)),
        ("layer", CFUNCTYPE(None, c_void_p, c_uint32)),
        ("user", c_void_p),
    ]


class lamina_settings(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("home", c_char_p),
        ("memory_bytes", c_uint64),
        ("context_tokens", c_uint32),
        ("sequences", c_uint32),
        ("prompt_rows", c_uint32),
        ("logit_rows", c_uint32),
        ("threads", c_uint32),
        ("io", c_int),
        ("kv", c_int),
        ("read_ahead", c_bool),
        ("pin", c_bool),
        ("isa", c_char_p),
        ("sim", c_char_p),
        ("callbacks", lamina_callbacks),
        ("chat_template", c_char_p),
    ]


class lamina_plan_line(Structure):
    _fields_ = [
        ("name", c_char * 32),
        ("bytes", c_uint64),
        ("note", c_char * 96),
    ]


class lamina_plan(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("budget_bytes", c_uint64),
        ("total_bytes", c_uint64),
        ("smallest_budget_bytes", c_uint64),
        ("model_bytes", c_uint64),
        ("streamed_bytes", c_uint64),
        ("pinned_bytes", c_uint64),
        ("expert_cache_bytes", c_uint64),
        ("ring_bytes", c_uint64),
        ("request_bytes", c_uint64),
        ("depth", c_uint32),
        ("prompt_rows", c_uint32),
        ("context_tokens", c_uint32),
        ("layers", c_uint32),
        ("vocab", c_uint32),
        ("max_positions", c_uint32),
        ("most_positions", c_uint32),
        ("threads", c_uint32),
        ("disk_bytes_per_s", c_double),
        ("s_per_token", c_double),
        ("bytes_per_token", c_double),
        ("best_batch", c_uint32),
        ("line_count", c_uint32),
        ("line", lamina_plan_line * 24),
        ("model", c_char * 128),
        ("sees_ahead", c_bool),
        ("fits", c_bool),
    ]


class lamina_info(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("architecture", c_char * 64),
        ("codec", c_char * 16),
        ("layers", c_uint32),
        ("hidden", c_uint32),
        ("heads", c_uint32),
        ("kv_heads", c_uint32),
        ("head_dim", c_uint32),
        ("ffn", c_uint32),
        ("vocab", c_uint32),
        ("max_positions", c_uint32),
        ("tied", c_bool),
        ("synthetic", c_bool),
        ("weights", c_uint64),
        ("model_bytes", c_uint64),
        ("store_bytes", c_uint64),
        ("bits_per_weight", c_double),
        ("store_bits_per_weight", c_double),
        ("store_path", c_char_p),
    ]


class lamina_stats(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("bytes_read", c_uint64),
        ("tiles_read", c_uint64),
        ("tiles_verified", c_uint64),
        ("passes", c_uint64),
        ("rows", c_uint64),
        ("expert_bytes_chosen", c_uint64),
        ("expert_bytes_cached", c_uint64),
        ("memory_budget_bytes", c_uint64),
        ("peak_memory_bytes", c_uint64),
        ("read_wait_s", c_double),
        ("decode_s", c_double),
        ("compute_s", c_double),
        ("other_s", c_double),
        ("pass_s", c_double),
        ("drive_idle_s", c_double),
        ("disk_bytes_per_s", c_double),
        ("disk_limit_bytes_per_s", c_double),
        ("io_engine", c_char * 32),
        ("isa", c_char * 16),
        ("numerics", c_char * 16),
    ]


class lamina_part(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("name", c_char * 24),
        ("read_wait_s", c_double),
        ("decode_s", c_double),
        ("compute_s", c_double),
        ("other_s", c_double),
        ("pass_s", c_double),
    ]


class lamina_bias(Structure):
    _fields_ = [
        ("id", c_uint32),
        ("value", c_float),
    ]


class lamina_sampling(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("temperature", c_float),
        ("top_p", c_float),
        ("min_p", c_float),
        ("repetition_penalty", c_float),
        ("top_k", c_uint32),
        ("seed", c_uint64),
        ("sequence", c_uint64),
        ("presence_penalty", c_float),
        ("frequency_penalty", c_float),
        ("bias", POINTER(lamina_bias)),
        ("bias_count", c_uint32),
    ]


class lamina_scores(Structure):
    _fields_ = [
        ("argmax", POINTER(c_uint32)),
        ("logprob_next", POINTER(c_float)),
    ]


class lamina_prompt(Structure):
    _fields_ = [
        ("session", c_void_p),
        ("ids", POINTER(c_uint32)),
        ("count", c_uint32),
        ("first_row", c_uint32),
        ("row_count", c_uint32),
    ]


class lamina_prompts(Structure):
    _fields_ = [
        ("prompt", POINTER(lamina_prompt)),
        ("count", c_uint32),
        ("on_row", CFUNCTYPE(c_bool, c_void_p, c_uint32, c_uint32, POINTER(c_float))),
        ("user", c_void_p),
    ]


class lamina_generate(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("max_tokens", c_uint32),
        ("ignore_eos", c_bool),
        ("stop", POINTER(c_char_p)),
        ("stop_count", c_uint32),
        ("on_text", CFUNCTYPE(c_bool, c_void_p, c_void_p, c_size_t, c_uint32)),
        ("user", c_void_p),
        ("new_tokens", c_uint32),
        ("reason", c_int),
        ("ttft_s", c_double),
        ("wall_s", c_double),
    ]


class lamina_tally_result(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("tokens", c_uint64),
        ("mean_nll", c_double),
        ("ppl", c_double),
        ("ppl_error", c_double),
        ("reference_ppl", c_double),
        ("reference_ppl_error", c_double),
        ("ratio", c_double),
        ("ratio_error", c_double),
        ("mean_kl", c_double),
        ("mean_kl_error", c_double),
        ("same_top", c_double),
        ("same_top_error", c_double),
        ("rms_p_diff", c_double),
        ("rms_p_diff_error", c_double),
    ]


class lamina_answers_result(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("count", c_uint64),
        ("right", c_uint64),
        ("rouge_l", c_double),
        ("bleu", c_double),
    ]


class lamina_text_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("chat_template", c_char_p),
    ]


class lamina_source_tensor(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("dtype", c_char_p),
        ("rank", c_uint32),
        ("shape", c_uint64 * 8),
    ]


class lamina_source(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("user", c_void_p),
        ("tensor_count", c_uint32),
        ("tensor", CFUNCTYPE(c_int, c_void_p, c_uint32, POINTER(lamina_source_tensor), POINTER(lamina_error))),
        ("read", CFUNCTYPE(c_int, c_void_p, c_uint32, c_uint64, c_void_p, c_size_t, POINTER(lamina_error))),
        ("file", CFUNCTYPE(c_int, c_void_p, c_char_p, POINTER(c_void_p), POINTER(c_size_t), POINTER(lamina_error))),
        ("distinct_layers", c_uint32),
        ("first_repeated", c_uint32),
    ]


class lamina_arriving_file(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("identity", c_char_p),
        ("size", c_uint64),
    ]


class lamina_arriving(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("user", c_void_p),
        ("files", POINTER(lamina_arriving_file)),
        ("file_count", c_uint32),
        ("window_bytes", c_uint64),
        ("read", CFUNCTYPE(c_int, c_void_p, c_uint32, c_uint64, c_void_p, c_size_t, c_bool, POINTER(lamina_error))),
        ("release", CFUNCTYPE(c_int, c_void_p, c_uint32, c_uint64, c_uint64, POINTER(lamina_error))),
        ("sync", CFUNCTYPE(c_int, c_void_p, POINTER(lamina_error))),
        ("planned", CFUNCTYPE(c_int, c_void_p, c_uint64, c_uint64, POINTER(lamina_error))),
        ("digest", CFUNCTYPE(c_int, c_void_p, c_uint32, c_uint32, POINTER(c_uint8), POINTER(lamina_error))),
    ]


class lamina_split_options(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("checkpoint", c_char_p),
        ("source", POINTER(lamina_source)),
        ("arriving", POINTER(lamina_arriving)),
        ("output", c_char_p),
        ("home", c_char_p),
        ("codec", c_char_p),
        ("fit_bytes", c_uint64),
        ("delete_original", c_bool),
        ("callbacks", lamina_callbacks),
    ]


class lamina_verify_result(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("files", c_uint64),
        ("bytes", c_uint64),
        ("tiles", c_uint64),
        ("damaged", c_uint64),
        ("first_damage", c_char * 512),
    ]


class lamina_trait(Structure):
    _fields_ = [
        ("aspect", c_char_p),
        ("words", c_char_p),
    ]


class lamina_family(Structure):
    _fields_ = [
        ("name", c_char_p),
        ("architectures", POINTER(c_char_p)),
        ("model_types", POINTER(c_char_p)),
        ("has", POINTER(c_bool)),
    ]


class lamina_machine(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("isa", c_char * 16),
        ("cpu_features", c_char * 256),
        ("cores", c_uint32),
        ("threads", c_uint32),
        ("memory_total_bytes", c_uint64),
        ("memory_available_bytes", c_uint64),
        ("memory_limit_bytes", c_uint64),
        ("default_budget_bytes", c_uint64),
        ("memlock_bytes", c_uint64),
        ("huge_pages", c_bool),
        ("io_uring", c_bool),
        ("io_uring_note", c_char * 96),
        ("kernel", c_char * 96),
        ("cpu", c_char * 96),
    ]


class lamina_drive(Structure):
    _fields_ = [
        ("size", c_size_t),
        ("free_bytes", c_uint64),
        ("direct_alignment", c_uint32),
        ("direct_bytes_per_s", c_double),
        ("request_bytes", c_uint64),
        ("depth", c_uint32),
        ("engine", c_char * 32),
        ("cached", c_bool),
        ("device", c_char * 64),
    ]


STRUCTS = [
    lamina_error,
    lamina_progress,
    lamina_callbacks,
    lamina_settings,
    lamina_plan_line,
    lamina_plan,
    lamina_info,
    lamina_stats,
    lamina_part,
    lamina_bias,
    lamina_sampling,
    lamina_scores,
    lamina_prompt,
    lamina_prompts,
    lamina_generate,
    lamina_tally_result,
    lamina_answers_result,
    lamina_text_options,
    lamina_source_tensor,
    lamina_source,
    lamina_arriving_file,
    lamina_arriving,
    lamina_split_options,
    lamina_verify_result,
    lamina_trait,
    lamina_family,
    lamina_machine,
    lamina_drive,
]

# Result and arguments by name.
FUNCTIONS = {
    "lamina_status_text": (c_char_p, (c_int,)),
    "lamina_version": (c_char_p, ()),
    "lamina_settings_defaults": (None, (POINTER(lamina_settings),)),
    "lamina_plan_make": (c_int, (c_char_p, POINTER(lamina_settings), POINTER(lamina_plan), POINTER(lamina_error))),
    "lamina_model_open": (c_int, (POINTER(c_void_p), c_char_p, POINTER(lamina_settings), POINTER(lamina_error))),
    "lamina_model_close": (None, (POINTER(c_void_p),)),
    "lamina_model_info": (None, (c_void_p, POINTER(lamina_info))),
    "lamina_model_plan": (POINTER(lamina_plan), (c_void_p,)),
    "lamina_model_ends": (c_bool, (c_void_p, c_uint32)),
    "lamina_model_stats": (None, (c_void_p, POINTER(lamina_stats))),
    "lamina_model_part": (c_bool, (c_void_p, c_uint32, POINTER(lamina_part))),
    "lamina_sampling_defaults": (None, (POINTER(lamina_sampling),)),
    "lamina_sampling_of_model": (None, (c_void_p, POINTER(lamina_sampling))),
    "lamina_session_open": (c_int, (POINTER(c_void_p), c_void_p, POINTER(lamina_error))),
    "lamina_session_close": (None, (POINTER(c_void_p),)),
    "lamina_session_sampling": (c_int, (c_void_p, POINTER(lamina_sampling), POINTER(lamina_error))),
    "lamina_session_feed": (c_int, (c_void_p, POINTER(c_uint32), c_uint32, POINTER(lamina_scores), POINTER(lamina_error))),
    "lamina_batch_feed": (c_int, (POINTER(c_void_p), POINTER(c_uint32), c_uint32, POINTER(lamina_error))),
    "lamina_prompts_feed": (c_int, (POINTER(lamina_prompts), POINTER(lamina_error))),
    "lamina_session_logits": (POINTER(c_float), (c_void_p,)),
    "lamina_session_hidden": (POINTER(c_float), (c_void_p,)),
    "lamina_session_sample": (c_int, (c_void_p, POINTER(c_uint32), POINTER(lamina_error))),
    "lamina_session_length": (c_uint32, (c_void_p,)),
    "lamina_session_truncate": (c_int, (c_void_p, c_uint32, POINTER(lamina_error))),
    "lamina_session_tokens": (POINTER(c_uint32), (c_void_p,)),
    "lamina_session_save": (c_int, (c_void_p, c_char_p, POINTER(lamina_error))),
    "lamina_session_load": (c_int, (c_void_p, c_char_p, POINTER(lamina_error))),
    "lamina_generate_defaults": (None, (POINTER(lamina_generate),)),
    "lamina_session_generate": (c_int, (c_void_p, POINTER(c_uint32), c_uint32, POINTER(lamina_generate), POINTER(lamina_error))),
    "lamina_tally_open": (c_int, (POINTER(c_void_p), c_uint64, POINTER(lamina_error))),
    "lamina_tally_close": (None, (POINTER(c_void_p),)),
    "lamina_tally_add": (c_int, (c_void_p, POINTER(c_float), c_uint32, c_uint32, POINTER(lamina_error))),
    "lamina_tally_compare": (c_int, (c_void_p, POINTER(c_float), POINTER(c_float), c_uint32, c_uint32, POINTER(lamina_error))),
    "lamina_tally_result": (None, (c_void_p, POINTER(lamina_tally_result))),
    "lamina_tally_kl_percentile": (c_double, (c_void_p, c_double)),
    "lamina_answers_open": (c_int, (POINTER(c_void_p), POINTER(lamina_error))),
    "lamina_answers_close": (None, (POINTER(c_void_p),)),
    "lamina_answers_add": (c_int, (c_void_p, c_char_p, c_size_t, POINTER(c_void_p), c_uint32, POINTER(lamina_error))),
    "lamina_answers_result": (None, (c_void_p, POINTER(lamina_answers_result))),
    "lamina_text_open": (c_int, (POINTER(c_void_p), c_char_p, POINTER(lamina_error))),
    "lamina_text_defaults": (None, (POINTER(lamina_text_options),)),
    "lamina_text_open_with": (c_int, (POINTER(c_void_p), c_char_p, POINTER(lamina_text_options), POINTER(lamina_error))),
    "lamina_text_close": (None, (POINTER(c_void_p),)),
    "lamina_model_text": (c_void_p, (c_void_p,)),
    "lamina_tokenize": (c_int, (c_void_p, c_char_p, c_size_t, c_bool, POINTER(POINTER(c_uint32)), POINTER(c_size_t), POINTER(lamina_error))),
    "lamina_tokenize_prompt": (c_int, (c_void_p, c_char_p, c_size_t, POINTER(POINTER(c_uint32)), POINTER(c_size_t), POINTER(lamina_error))),
    "lamina_detokenize": (c_int, (c_void_p, POINTER(c_uint32), c_size_t, c_bool, POINTER(c_void_p), POINTER(c_size_t), POINTER(lamina_error))),
    "lamina_text_front": (c_int, (c_void_p, POINTER(c_uint32), c_uint32, POINTER(c_uint32), POINTER(lamina_error))),
    "lamina_decoder_open": (c_int, (POINTER(c_void_p), c_void_p, c_bool, POINTER(lamina_error))),
    "lamina_decoder_close": (None, (POINTER(c_void_p),)),
    "lamina_decoder_add": (c_int, (c_void_p, c_uint32, POINTER(c_void_p), POINTER(c_size_t), POINTER(lamina_error))),
    "lamina_decoder_finish": (c_int, (c_void_p, POINTER(c_void_p), POINTER(c_size_t), POINTER(lamina_error))),
    "lamina_text_stop": (c_char_p, (c_void_p, c_uint32)),
    "lamina_text_has_template": (c_bool, (c_void_p,)),
    "lamina_text_vocab": (c_uint32, (c_void_p,)),
    "lamina_template": (c_int, (c_void_p, c_char_p, c_char_p, c_char_p, c_bool, POINTER(c_void_p), POINTER(c_size_t), POINTER(lamina_error))),
    "lamina_free": (None, (c_void_p,)),
    "lamina_source_open": (c_int, (POINTER(POINTER(lamina_source)), c_char_p, POINTER(lamina_error))),
    "lamina_source_close": (None, (POINTER(POINTER(lamina_source)),)),
    "lamina_split_defaults": (None, (POINTER(lamina_split_options),)),
    "lamina_split": (c_int, (POINTER(lamina_split_options), POINTER(c_void_p), POINTER(lamina_error))),
    "lamina_verify": (c_int, (c_char_p, c_char_p, c_char_p, POINTER(lamina_callbacks), POINTER(lamina_verify_result), POINTER(lamina_error))),
    "lamina_show": (c_int, (c_char_p, c_char_p, c_bool, POINTER(c_void_p), POINTER(lamina_error))),
    "lamina_store_remove": (c_int, (c_char_p, POINTER(lamina_error))),
    "lamina_trait_at": (c_bool, (c_uint32, POINTER(lamina_trait))),
    "lamina_families": (None, (CFUNCTYPE(None, c_void_p, POINTER(lamina_family)), c_void_p)),
    "lamina_family_of_config": (c_int, (c_char_p, c_size_t, c_char_p, POINTER(lamina_error))),
    "lamina_machine": (c_int, (POINTER(lamina_machine), POINTER(lamina_error))),
    "lamina_measure": (c_int, (c_char_p, c_char_p, c_bool, POINTER(lamina_drive), POINTER(lamina_error))),
}
