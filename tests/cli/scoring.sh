#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ppl and kl: what they print, that nothing but the text and the model decides it, and what they refuse.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
demo=$root/demo/model
text=$scratch/text
python3 - >"$text" <<'P'
for country in ("France", "Japan", "Peru", "Kenya", "Norway", "Chile", "Egypt", "Cuba"):
    for way in ("What is the capital of %s?", "The capital of %s is a city.", "People in %s talk and sing."):
        print(way % country)
P
json() { # json EXPRESSION: evaluates Python over the object d on stdout
    python3 -c "import json,sys
d=json.load(open(sys.argv[1]))
sys.exit(0 if ($1) else 1)" "$scratch/stdout"
}

# ---- ppl ----
go "$lamina" ppl "$demo" "$text" -c 32 --report "$scratch/report"
[ "$status" -eq 0 ] && grep -Eq '^perplexity: [0-9]+\.[0-9]{4} \+- [0-9]+\.[0-9]{4} \([0-9]+ chunks of 32, [0-9]+ tokens scored\)$' <<<"$out" &&
    grep -q 'budget .* peak .* read .* tokens in' <<<"$err" && grep -q 'passes over the weights' <<<"$err"
ok 'ppl: one line of answer, and what it took'
go "$lamina" ppl "$demo" "$text" -c 32 --json -q
[ "$status" -eq 0 ] && [ -z "$err" ] && json 'd["ctx_size"] == 32 and d["tokens"] == 15 * d["chunks"] and d["chunks"] > 4 and d["ppl"] > d["ppl_error"] > 0'
ok 'ppl --json'
want=$out
cp "$scratch/report" "$scratch/stdout"
json 'd["prompt_tokens"] % 32 == 0 and d["new_tokens"] == 0 and d["passes"] > 0 and d["model"].endswith("demo/model")'
ok 'ppl --report'
smallest=$("$lamina" ppl "$demo" "$text" -c 32 --memory 1MiB 2>&1 | grep -oE '[0-9]+MiB' | tail -1)
for way in '-t 1' '-t 3 --no-pin' '--prompt-rows 1' '--prompt-rows 7' '--prompt-rows 32' '--prompt-rows 77' '--prompt-rows 100000' \
    "--memory $smallest" '--memory 24MiB' '--memory none --isa scalar' '--no-read-ahead --io threads --prompt-rows 64'; do
    # shellcheck disable=SC2086
    go "$lamina" ppl "$demo" "$text" -c 32 --json -q $way
    [ "$status" -eq 0 ] && [ "$out" = "$want" ]
    ok "the same bits with $way"
done
go "$lamina" ppl "$demo" "$text" -c 32 --memory "$smallest" --report "$scratch/report" -q
python3 -c "import json,sys; d=json.load(open(sys.argv[1])); sys.exit(d['peak_memory_bytes'] > int(sys.argv[2]) << 20)" \
    "$scratch/report" "${smallest%MiB}"
ok 'the peak is within the budget'
go "$lamina" ppl "$demo" "$text" -c 32 --chunks 3 --json -q
[ "$status" -eq 0 ] && json 'd["chunks"] == 3 and d["tokens"] == 45'
ok 'ppl --chunks'
first=$out
input=$(cat "$text") prints 'ppl reads stdin' "$first" "$lamina" ppl "$demo" - -c 32 --chunks 3 --json -q
prints 'ppl with twins of the environment' "$first" env LAMINA_CHUNKS=3 LAMINA_CTX_SIZE=32 LAMINA_JSON=1 LAMINA_QUIET=1 \
    "$lamina" ppl "$demo" "$text"
go "$lamina" ppl "$demo" "$text" -c 3 --json -q
[ "$status" -eq 0 ] && json 'd["tokens"] == d["chunks"]'
ok 'the smallest chunks score one token each'

# ---- kl ----
go "$lamina" split "$demo" -o "$scratch/planes" --codec planes -q
same='d["mean_kl"] == d["max_kl"] == d["median_kl"] == d["rms_p_diff"] == 0 and d["top1_agreement"] == 100 and d["ppl_ratio"] == 1 and d["ppl"] == d["reference_ppl"] > 1'
go "$lamina" kl "$demo" --reference "$demo" "$text" -c 32 --json -q
[ "$status" -eq 0 ] && json "$same"
ok 'a model is 0 apart from itself'
smallest_kl=$("$lamina" kl "$demo" --reference "$demo" "$text" -c 32 --memory 1MiB 2>&1 | grep -oE '[0-9]+MiB' | tail -1)
go "$lamina" kl "$demo" --reference "$demo" "$text" -c 32 --json -q --memory "$smallest_kl"
[ "$status" -eq 0 ] && json "$same"
ok "kl under the smallest budget it names, $smallest_kl"
json "abs(d['ppl'] - json.loads('$want')['ppl']) < 1e-9 and d['tokens'] == json.loads('$want')['tokens']"
ok 'kl and ppl agree about perplexity'
go "$lamina" kl "$scratch/planes" --reference "$demo" "$text" -c 32 --json -q
[ "$status" -eq 0 ] && json "$same"
ok 'another codec of the same weights is 0 apart'

# Two models of one vocabulary that differ.
make_model "$scratch/a" --vocab 3072 --seed 1 && make_model "$scratch/b" --vocab 3072 --seed 2
for name in a b; do cp "$demo"/tokenizer* "$scratch/$name/"; done
go "$lamina" kl "$scratch/b" --reference "$scratch/a" "$text" -c 32 --json -q --save "$scratch/saved"
[ "$status" -eq 0 ] && [ -f "$scratch/saved" ] && [ ! -e "$scratch/saved.part" ] &&
    json '0 < d["median_kl"] <= d["kl_90"] <= d["kl_95"] <= d["kl_99"] <= d["kl_99_9"] <= d["max_kl"] and d["mean_kl"] > d["mean_kl_error"] > 0 and d["top1_agreement"] < 50'
ok 'kl of two models, the reference saved'
apart=$out
for way in '-t 1 --no-pin' '--prompt-rows 5' '--prompt-rows 64' '--isa scalar' '--memory 24MiB'; do
    # shellcheck disable=SC2086
    go "$lamina" kl "$scratch/b" --reference "$scratch/a" "$text" -c 32 --json -q $way
    [ "$status" -eq 0 ] && [ "$out" = "$apart" ]
    ok "the same divergence with $way"
done
prints 'a saved reference gives the same' "$apart" "$lamina" kl "$scratch/b" --reference "$scratch/saved" "$text" -c 32 --json -q
go "$lamina" kl "$scratch/b" --reference "$scratch/saved" "$text" -c 32 --chunks 2
[ "$status" -eq 0 ] && grep -q '^mean KL: .* nats (2 chunks of 32, 30 tokens scored)$' <<<"$out" && grep -q '^same top token: ' <<<"$out" &&
    grep -q 'ratio' <<<"$out" && grep -q '99.9 %' <<<"$out"
ok 'kl as text, of the first chunks'
[ -z "$(ls -A "$LAMINA_HOME/tmp")" ]
ok 'nothing is left of references that are not saved'

# ---- refusals ----
fails 'kl without a reference' 2 '--reference is missing' "$lamina" kl "$demo" "$text"
fails 'a reference that is not there' 3 'none' "$lamina" kl "$demo" --reference "$scratch/none" "$text"
fails 'a saved reference is not written over' 2 'is there already' "$lamina" kl "$scratch/b" --reference "$scratch/a" "$text" \
    -c 32 --save "$scratch/saved"
fails 'a saved reference is not saved again' 2 'saved reference already' "$lamina" kl "$scratch/b" --reference "$scratch/saved" \
    "$text" -c 32 --save "$scratch/again"
fails 'a saved reference of other chunks' 2 'chunks of 32 tokens, not 512; give -c 32' "$lamina" kl "$scratch/b" \
    --reference "$scratch/saved" "$text"
fails 'more chunks than were saved' 2 '--chunks asks for 9999' "$lamina" kl "$scratch/b" --reference "$scratch/saved" "$text" \
    -c 32 --chunks 9999
sed 's/Kenya/Congo/' "$text" >"$scratch/other"
fails 'a saved reference of another text' 2 'another text' "$lamina" kl "$scratch/b" --reference "$scratch/saved" "$scratch/other" -c 32
damage() { # damage OFFSET: the saved file with one bit turned
    python3 - "$scratch/saved" "$scratch/damaged" "$1" <<'P'
import sys
data, at = bytearray(open(sys.argv[1], "rb").read()), int(sys.argv[3])
data[at] ^= 4
open(sys.argv[2], "wb").write(data)
P
}
size=$(wc -c <"$scratch/saved")
for at in 17 60 100 127 130 $((size / 2)) $((size - 3)); do
    damage "$at"
    fails "a saved reference damaged at byte $at of $size" 8 'damaged' "$lamina" kl "$scratch/b" --reference "$scratch/damaged" "$text" -c 32
done
for bytes in $((size - 1)) 2000 100; do
    head -c "$bytes" "$scratch/saved" >"$scratch/damaged"
    fails "a saved reference of $bytes bytes" 8 'expected|too early' "$lamina" kl "$scratch/b" --reference "$scratch/damaged" "$text" -c 32
done
make_model "$scratch/c" --vocab 3100 && cp "$demo"/tokenizer* "$scratch/c/"
fails 'another vocabulary' 2 'vocabulary of 3100, .* of 3072' "$lamina" kl "$scratch/c" --reference "$scratch/a" "$text" -c 32
fails 'another vocabulary than the saved' 2 'vocabulary of 3100, .* of 3072' "$lamina" kl "$scratch/c" --reference "$scratch/saved" \
    "$text" -c 32
[ -z "$(ls -A "$LAMINA_HOME/tmp")" ]
ok 'nothing is left after refusals'

: >"$scratch/empty"
printf 'abc\xe9def' >"$scratch/latin"
for command in "ppl $demo" "kl $demo --reference $demo"; do
    name=${command%% *}
    # shellcheck disable=SC2086
    fails "$name: empty file" 2 'is empty' "$lamina" $command "$scratch/empty"
    # shellcheck disable=SC2086
    fails "$name: not UTF-8" 2 'byte 0xe9 at offset 3' "$lamina" $command "$scratch/latin"
    # shellcheck disable=SC2086
    fails "$name: text too short" 2 'has [0-9]+ tokens, but one chunk needs 512' "$lamina" $command "$text"
    # shellcheck disable=SC2086
    fails "$name: chunks too short" 2 '-c 2: a chunk needs at least 3 tokens' "$lamina" $command "$text" -c 2
    # shellcheck disable=SC2086
    fails "$name: no file" 3 'none' "$lamina" $command "$scratch/none"
    # shellcheck disable=SC2086
    fails "$name: budget far too small" 7 '[0-9]+MiB' "$lamina" $command "$text" -c 32 --memory 1MiB
done
make_model "$scratch/mute"
fails 'ppl: no tokenizer' 3 'no tokenizer' "$lamina" ppl "$scratch/mute" "$text" -c 32
cp -r "$scratch/mute" "$scratch/foreign" && cp "$demo"/tokenizer* "$scratch/foreign/"
fails 'ppl: the tokenizer of another model' 2 'vocabulary of 64' "$lamina" ppl "$scratch/foreign" "$text" -c 32
go "$lamina" ppl "$scratch/a" "$text" -c 200 --chunks 1
[ "$status" -eq 0 ]
ok 'chunks within the positions of the model'
long=$(python3 -c "import json; d=json.load(open('$scratch/a/config.json')); d['max_position_embeddings']=100; json.dump(d, open('$scratch/a/config.json','w'))" && echo 200)
go "$lamina" ppl "$scratch/a" "$text" -c "$long" --chunks 1
[ "$status" -eq 0 ] && grep -q 'warning: a context of 200 is longer than the 100 positions' <<<"$err"
ok 'longer chunks than the model was made for are warned of'

# ---- a drive without room ----
# A file system of 1 MiB of our own, where the kernel lets us have one.
small() { # small COMMAND...: with a file system of 1 MiB mounted at $scratch/small
    mkdir -p "$scratch/small"
    # shellcheck disable=SC2016
    unshare -rm sh -c 'mount -t tmpfs -o size=1m none "$0" && exec "$@"' "$scratch/small" "$@"
}
if small true 2>/dev/null; then
    fails 'no room for the reference' 6 'take .* MiB, .*small/ has .* free' \
        small "$lamina" kl "$scratch/b" --reference "$scratch/a" "$text" -c 32 --save "$scratch/small/saved"
else
    skip 'no room for the reference' 'no file system of our own may be mounted here'
fi

# ---- Ctrl-C ----
interrupt() { # interrupt COMMAND...: one SIGINT while it computes
    # A shell's background jobs ignore SIGINT; Python hands the program its default.
    python3 - "$scratch" "$@" <<'P'
import signal, subprocess, sys, time
scratch, command = sys.argv[1], sys.argv[2:]
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open(scratch + "/stdout", "wb") as out, open(scratch + "/stderr", "wb") as err:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and child.poll() is None and b"passes over" not in open(scratch + "/stderr", "rb").read():
        time.sleep(0.02)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    try:
        sys.exit(child.wait(30) % 256)
    except subprocess.TimeoutExpired:
        child.kill()
        sys.exit(99)
P
    status=$?
    out=$(cat "$scratch/stdout")
    err=$(cat "$scratch/stderr")
}
# Token by token, and read anew for each, a long text takes minutes unless it is stopped.
for _ in $(seq 200); do cat "$text"; done >"$scratch/long"
slow='-c 32 --no-pin --no-read-ahead --prompt-rows 1'
# shellcheck disable=SC2086
interrupt "$lamina" ppl "$demo" "$scratch/long" $slow
[ "$status" -eq 130 ] && [ -z "$out" ] && grep -q 'stopped by you' <<<"$err"
ok 'Ctrl-C ends ppl'
# shellcheck disable=SC2086
interrupt "$lamina" kl "$scratch/b" --reference "$demo" "$scratch/long" --save "$scratch/never" $slow
[ "$status" -eq 130 ] && [ -z "$out" ] && [ ! -e "$scratch/never" ] && [ ! -e "$scratch/never.part" ]
ok 'Ctrl-C ends kl and leaves no half reference'

tests=${LAMINA_TESTDATA:-/nonexistent}/oracle
if [ -d "$tests/chatglm-6b" ]; then
    cp -r "$tests/chatglm-6b" "$tests/gpt2" "$scratch/" && chmod -R u+w "$scratch/chatglm-6b" "$scratch/gpt2"
    for name in chatglm-6b gpt2; do
        python3 -c "import sys; sys.path.insert(0, '$root/tests/cli'); import mkmodel; mkmodel.write_tokenizer('$scratch/$name')"
    done
    fails 'ppl: a model whose prompts see ahead' 9 'none foretells a token' "$lamina" ppl "$scratch/chatglm-6b" "$text" -c 32
    fails 'ppl: more positions than were learned' 2 'give -c 48' "$lamina" ppl "$scratch/gpt2" "$text" -c 64
    go "$lamina" ppl "$scratch/gpt2" "$text" -c 48 -q
    [ "$status" -eq 0 ]
    ok 'ppl: all positions that were learned'
else
    skip 'models of other families' 'no test data'
fi
finish
