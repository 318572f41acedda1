#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Models that cannot be run: the exit code says which kind of trouble, the sentence names it.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
make_model "$scratch/model" --tokenizer
make_model "$scratch/strange" --architecture FlyingForCausalLM
make_model "$scratch/eight" --dtype I8
make_model "$scratch/mute"

for command in 'run MODEL hello' 'plan MODEL' 'logits MODEL --ids 1,2' 'split MODEL' 'tokenize MODEL' 'template MODEL' \
    'verify MODEL' 'show MODEL'; do
    name=${command%% *}
    # shellcheck disable=SC2086
    fails "$name: no such model" 3 "$scratch/none" "$lamina" ${command//MODEL/$scratch/none}
done
for command in 'plan MODEL' 'logits MODEL --ids 1,2' 'split MODEL'; do
    name=${command%% *}
    # shellcheck disable=SC2086
    fails "$name: unknown architecture" 9 FlyingForCausalLM "$lamina" ${command//MODEL/$scratch/strange}
    # shellcheck disable=SC2086
    fails "$name: data type" 9 'I8' "$lamina" ${command//MODEL/$scratch/eight}
done
fails 'run: no tokenizer' 3 'tokenizer' "$lamina" run "$scratch/mute" hello
fails 'tokenize: no tokenizer' 3 'tokenizer' "$lamina" tokenize "$scratch/mute"
mkdir "$scratch/empty"
fails 'split: empty folder' 3 'config.json' "$lamina" split "$scratch/empty"
head -c 3000 "$scratch/model/model.safetensors" >"$scratch/cut" && cp -r "$scratch/model" "$scratch/short" &&
    cp "$scratch/cut" "$scratch/short/model.safetensors"
fails 'split: file cut short' 8 'model.safetensors' "$lamina" split "$scratch/short"
fails 'run: prompt longer than -c' 2 'the prompt has [0-9]+ tokens, -c 8 leaves no room' "$lamina" run "$scratch/model" 'a long prompt indeed' -c 8
fails 'run: no text' 2 'empty' "$lamina" run "$scratch/model" '' --raw
fails 'run: -n 0' 2 'asks for no tokens' "$lamina" run "$scratch/model" hello -n 0
fails 'run: budget far too small' 7 '[0-9]+(\.[0-9])? (KiB|MiB)' "$lamina" run "$scratch/model" hello --memory 1MiB -n 4
fails 'logits: id outside the vocabulary' 2 '[0-9]' "$lamina" logits "$scratch/model" --ids 1,259
fails 'split: codec that does not exist' 9 'squeeze' "$lamina" split "$scratch/model" -o "$scratch/s" --codec squeeze
input='not json' fails 'template: not JSON' 2 'stdin: line 1' "$lamina" template "$scratch/model"
input='1,2,x' fails 'detokenize: no ids' 2 'is no token id' "$lamina" detokenize "$scratch/model"
input='[1,2' fails 'detokenize: half a list' 2 'stdin' "$lamina" detokenize "$scratch/model"
finish
