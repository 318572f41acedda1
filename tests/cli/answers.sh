#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The commands at work on a small random model: what goes to stdout, what to stderr, and that both stay what they are.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
make_model "$scratch/model" --tokenizer --layers 3
model=$scratch/model

json() { # json EXPRESSION: evaluates Python over the object d on stdout
    python3 -c "import json,sys
d=json.load(open(sys.argv[1]))
sys.exit(0 if ($1) else 1)" "$scratch/stdout"
}

input='Hi there' prints 'tokenize' '72 105 32 116 104 101 114 101' "$lamina" tokenize "$model"
input='Hi' prints 'tokenize --json' '{"ids":[72,105]}' "$lamina" tokenize "$model" --json
input='<s>a' prints 'special tokens in the text' '256 97' "$lamina" tokenize "$model"
input='<s>' prints 'special tokens as plain text' '60 115 62' "$lamina" tokenize "$model" --no-special
input='72 105 32 196 159' prints 'detokenize' 'Hi ğ' "$lamina" detokenize "$model"
input='{"ids":[72,105]}' prints 'detokenize JSON' 'Hi' "$lamina" detokenize "$model"
input='72,257,105' prints 'detokenize --skip-special' 'Hi' "$lamina" detokenize "$model" --skip-special
input='[{"role":"user","content":"Hi"}]' prints 'template' '<|user|>Hi<s>' "$lamina" template "$model"
input='[{"role":"user","content":"Hi"}]' prints 'template without generation prompt' '<|user|>Hi' \
    "$lamina" template "$model" --no-generation-prompt

go "$lamina" split "$model" -o "$scratch/store"
[ "$status" -eq 0 ] && [ "$out" = "$scratch/store" ] && [ -f "$scratch/store/lamina.json" ]
ok 'split prints the store'
go "$lamina" verify "$scratch/store"
[ "$status" -eq 0 ] && grep -Eq '^[0-9]+ files, .*, [0-9]+ tiles, 0 damaged$' <<<"$out"
ok 'verify'
go "$lamina" show "$scratch/store" --json
[ "$status" -eq 0 ] && json 'isinstance(d, dict)'
ok 'show --json'
go "$lamina" plan "$scratch/store" --memory 1GiB -c 128 --json
[ "$status" -eq 0 ] && json 'd["fits"] and d["total_bytes"] <= 1 << 30 and sum(l["bytes"] for l in d["lines"]) == d["total_bytes"]'
ok 'plan --json: the lines sum up'
go "$lamina" plan "$scratch/store" --memory 1MiB -c 128 --json
[ "$status" -eq 7 ] && json 'not d["fits"] and d["smallest_budget_bytes"] > 1 << 20'
ok 'plan says what does not fit'

go "$lamina" logits "$model" --ids 1,2,3,4 -n 5 --json
cp "$scratch/stdout" "$scratch/logits"
[ "$status" -eq 0 ] && [ -z "$err" ] && json 'len(d["tokens"]) == 5 and len(d["logits_last"]) == len(d["logits_final"]) == 259 and len(d["argmax"]) == 4 and len(d["logprob_next"]) == 3 and d["argmax"][3] == d["tokens"][0] and max(d["logits_final"]) == d["logits_final"][d["tokens"][4]]'
ok 'logits'
for variant in '-t 1' '--no-read-ahead' '--io threads' '--isa scalar' '--prompt-rows 1' '--prompt-rows 3' '--no-pin' \
    '--io sim --sim latency_us=50,jitter_us=200,reorder=1,short=100,eio=50,seed=7'; do
    # shellcheck disable=SC2086
    go "$lamina" logits "$scratch/store" --ids 1,2,3,4 -n 5 --json $variant
    [ "$status" -eq 0 ] && cmp -s "$scratch/stdout" "$scratch/logits"
    ok "the same logits with $variant"
done

go "$lamina" run "$model" 'Hi' -n 6 --temp 0 --ignore-eos
first=$out
[ "$status" -eq 0 ] && grep -q 'budget .* peak .* read .* tokens in' <<<"$err"
ok 'run ends with one line of facts'
prints 'run again says the same' "$first" "$lamina" run "$model" 'Hi' -n 6 --temp 0 --ignore-eos
input=$'Hi\n' prints 'run reads stdin' "$first" "$lamina" run "$model" -n 6 --temp 0 --ignore-eos
printf 'Hi' >"$scratch/prompt"
prints 'run --file' "$first" "$lamina" run "$model" -f "$scratch/prompt" -n 6 --temp 0 --ignore-eos
prints 'run with twins of the environment' "$first" env LAMINA_PREDICT=6 LAMINA_TEMP=0 LAMINA_IGNORE_EOS=1 \
    LAMINA_MODEL="$model" LAMINA_PROMPT=Hi "$lamina" run
go "$lamina" run "$model" 'Hi' -n 6 --temp 0 -q
[ "$status" -eq 0 ] && [ -z "$err" ]
ok 'run -q is quiet'
go "$lamina" run "$model" 'Hi' -n 6 --temp 0 --ignore-eos --json --report "$scratch/report"
[ "$status" -eq 0 ] && json 'd["new_tokens"] == 6 and d["stop_reason"] == "length" and d["prompt_tokens"] == 4'
ok 'run --json'
cp "$scratch/report" "$scratch/stdout"
json 'all(k in d for k in "model codec bits_per_weight store_bits_per_weight numerics memory_budget_bytes peak_memory_bytes prompt_tokens new_tokens passes bytes_read bytes_read_per_token wall_s ttft_s s_per_token disk_bytes_per_s disk_limit_bytes_per_s drive_idle_s stages".split()) and 0 < d["drive_idle_s"] <= sum(d["stages"].values()) and set(d["stages"]) == {"read_wait_s", "decode_s", "compute_s", "other_s"} and d["numerics"] == "exact" and d["peak_memory_bytes"] > 0'
ok 'the report has every key'
go "$lamina" run "$model" 'Hi' -n 6 --temp 0 --ignore-eos --profile --report "$scratch/report"
[ "$status" -eq 0 ] && [ "$out" = "$first" ] && grep -q '^lamina: layer 1  ' <<<"$err" && grep -q '^lamina: all  ' <<<"$err"
ok 'run --profile says the time of each layer'
cp "$scratch/report" "$scratch/stdout"
json '[p["part"] for p in d["parts"]] == ["embedding"] + [f"layer {i}" for i in range(len(d["parts"]) - 2)] + ["head"] and len(d["parts"]) > 2 and all(p["pass_s"] > 0 for p in d["parts"]) and all(abs(d["stages"][k] - sum(p[k] for p in d["parts"])) <= 1e-3 + 0.1 * sum(d["stages"].values()) for k in d["stages"])'
ok 'the parts of the report add up to its stages'
go "$lamina" run "$model" 'Hi' -n 20 --temp 1 -s 5 --ignore-eos
sampled=$out
prints 'one seed, one text' "$sampled" "$lamina" run "$model" 'Hi' -n 20 --temp 1 -s 5 --ignore-eos -t 1
if [ -w /dev/full ]; then
    "$lamina" run "$model" 'Hi' -n 6 --temp 0 -q >/dev/full 2>"$scratch/stderr"
    status=$?
    { [ "$status" -eq 6 ] || [ "$status" -eq 11 ]; } && grep -q 'stdout' "$scratch/stderr"
    ok 'a full disk behind stdout is an error'
fi
finish
