#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lamina families: the table, the row of one checkpoint, and the refusals. tests/oracle/run_families.py checks the JSON.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"

go "$lamina" families
[ "$status" -eq 0 ] && [ -z "$err" ] && grep -q '^llama: LlamaForCausalLM, LLaMAForCausalLM, LlavaLlamaForCausalLM$' <<<"$out" &&
    rows=$(grep -c '^[a-z0-9-]*: ' <<<"$out") && grep -q "^$rows families. Rows per feature:\$" <<<"$out" &&
    grep -Eq '^ +[1-9][0-9]*  attention: latents of keys and values \(MLA\)$' <<<"$out"
ok 'the table and the rows per feature'
whole=$(printf '%s\n' \
    'llama: LlamaForCausalLM, LLaMAForCausalLM, LlavaLlamaForCausalLM' \
    '  norm       RMS norm' \
    '  layer      norms before attention and MLP' \
    '  attention  keys and values by head (MHA, GQA or MQA by config); query, key and value biases by key; output bias by key' \
    '  positions  RoPE' \
    '  MLP        gate and up; SiLU; MLP biases by key' \
    '  source     also inside a multimodal checkpoint; several roots of tensor names')
prints 'the row of a checkpoint' "$whole" "$lamina" families "$root/demo/model"
prints 'the row of a config.json' "$whole" "$lamina" families "$root/demo/model/config.json"
go "$lamina" families "$root/demo/model" --json
[ "$status" -eq 0 ] && python3 -c 'import json, sys
t = json.loads(sys.argv[1])
sys.exit([f["name"] for f in t["families"]] != ["llama"] or t["rows_per_feature"] != [])' "$out"
ok 'the row of a checkpoint as JSON'
refuses 'no checkpoint' 3 "lamina: cannot open $scratch/none: No such file or directory" "$lamina" families "$scratch/none"
mkdir "$scratch/empty"
refuses 'no config.json' 3 "lamina: cannot open $scratch/empty/config.json: No such file or directory" \
    "$lamina" families "$scratch/empty"
printf '{"architectures": ["LlamaForCausalML"]}' >"$scratch/near.json"
refuses 'an architecture that is none' 9 "lamina: architecture LlamaForCausalML is not supported; the nearest supported one is \
LlamaForCausalLM; missing: a row for it in the family table" "$lamina" families "$scratch/near.json"
printf '{"architectures": ["LlamaForCausalLM"], "hidden_size": -1}' >"$scratch/range.json"
fails 'a value out of range' 8 '^lamina: .*hidden_size' "$lamina" families "$scratch/range.json"
refuses 'too many arguments' 2 'lamina: "b" is one argument too many; usage: lamina families [DIR] [options]' \
    "$lamina" families a b
finish
