#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lamina bench on the demonstration model: what is refused before anything is measured, every output read by a parser of its
# own, cells that fail, the journal after a kill. Nothing here depends on how fast anything was.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
# A name that HTML, XML, CSV and JSON must all quote.
model="$scratch/a <b> & \"c\", 'd'"
cp -r "$root/demo/model" "$model"
home=$scratch/home
to=$scratch/out
mkdir "$to"
export LAMINA_HOME=$home
check() { # check NAME WORDS...: bench_check.py finds nothing wrong
    local name=$1
    shift
    go python3 "$root/tests/cli/lib/bench_check.py" "$@"
    [ "$status" -eq 0 ]
    ok "$name"
}

# ---- refused before anything is measured ----

axes='there are codec, storage, memory, read-ahead and threads'
refuses 'unknown axis' 2 "lamina: --matrix: \"speed\" is no axis; $axes" "$lamina" bench "$model" --matrix speed=1,2
refuses 'no axis' 2 'lamina: --matrix: "raw" is not AXIS=VALUE,VALUE like memory=256MiB,1GiB' "$lamina" bench "$model" --matrix raw
refuses 'empty matrix' 2 'lamina: --matrix memory has no values' "$lamina" bench "$model" --matrix memory=
refuses 'value of memory' 2 'lamina: --matrix memory: "lots" is not a size like 4GiB or 512M, or none' \
    "$lamina" bench "$model" --matrix memory=1GiB,lots
refuses 'empty value' 2 'lamina: --matrix memory: "" is not a size like 4GiB or 512M, or none' \
    "$lamina" bench "$model" --matrix memory=1GiB,
refuses 'value of read-ahead' 2 'lamina: --matrix read-ahead: "maybe" is not on or off' "$lamina" bench "$model" --matrix read-ahead=maybe
refuses 'value of threads' 2 'lamina: --matrix threads: "0" is not a number of threads, 1 to 256' "$lamina" bench "$model" --matrix threads=0
refuses 'value of codec' 2 'lamina: --matrix codec: "../x" is not the name of a codec, like raw or planes' \
    "$lamina" bench "$model" --matrix codec=../x
refuses 'storage that is not there' 3 "lamina: --matrix storage: $scratch/none: No such file or directory" \
    "$lamina" bench "$model" --matrix "storage=$scratch/none"
refuses 'value given twice' 2 'lamina: --matrix threads: "2" is given twice' "$lamina" bench "$model" --matrix threads=2,1,2
refuses 'axis given twice' 2 'lamina: --matrix threads is given twice; give its values in one list' \
    "$lamina" bench "$model" --matrix threads=1 --matrix threads=2
refuses 'too many cells' 2 'lamina: --matrix has more than 1000 cells; leave out some values' \
    "$lamina" bench "$model" --matrix "threads=$(seq -s, 1 32)" --matrix "memory=$(seq -s, 101 132)"
refuses 'nothing to measure' 2 'lamina: -p 0 and -n 0 leave nothing to measure' "$lamina" bench "$model" -p 0 -n 0
refuses 'no repeats' 2 'lamina: -r 0: between 1 and 100 repeats are possible' "$lamina" bench "$model" -r 0
refuses 'output of no known kind' 2 'lamina: --output: "x.pdf" ends in none of .csv, .json, .html' "$lamina" bench "$model" -o x.pdf
refuses 'output that cannot be written' 3 "lamina: cannot write $scratch/none/x.csv.part: No such file or directory" \
    "$lamina" bench "$model" -o "$scratch/none/x.csv"
mkdir "$scratch/folder.csv"
refuses 'output that is a directory' 2 "lamina: --output: $scratch/folder.csv is there and no file" \
    "$lamina" bench "$model" -o "$scratch/folder.csv"
refuses 'model that is not there' 3 "lamina: cannot open the model $scratch/none: No such file or directory" "$lamina" bench "$scratch/none"
[ ! -e "$home" ] && [ -z "$(ls "$to")" ]
ok 'a refused bench leaves nothing behind'

# ---- a matrix with cells that fail ----

matrix=("$model" --matrix codec=raw,planes --matrix memory=24MiB,1MiB -p 16 -n 4 -r 3
    -o "$to/x.json" -o "$to/x.csv" --output "$to/x.html")
go "$lamina" bench "${matrix[@]}"
[ "$status" -eq 10 ] && [ "$(grep -Ec '^\| (raw|planes) +\| +24MiB \| (pp16|tg4) ' <<<"$out")" -eq 4 ] &&
    [ "$(grep -c '| failed |' <<<"$out")" -eq 2 ] && grep -q '^Choose ' <<<"$out" && grep -q '^Rule: ' <<<"$out"
ok 'a table with rows for tests and for failures; partial'
grep -q '^lamina: 2 of 4 cells failed; their rows say why$' <<<"$err" &&
    grep -q 'cell 1 of 4, codec=raw memory=24MiB: pp16 .* tokens/s, tg4 ' <<<"$err"
ok 'each cell is told on stderr'
check 'JSON: all values, medians, cold start, errors' json "$to/x.json" "$model"
check 'CSV: the same figures' csv "$to/x.csv" "$to/x.json"
check 'HTML: well-formed, self-contained, charts, what failed' html "$to/x.html" "$model"
[ -z "$(ls "$to" | grep -v '^x\.\(json\|csv\|html\|json\.journal\)$')" ]
ok 'nothing else is left beside the outputs'

# ---- the journal ----

cp "$to/x.json" "$scratch/before.json"
printf '{"cell": "0123' >>"$to/x.json.journal" # a line that a kill cut short
go "$lamina" bench "${matrix[@]}" --format csv
[ "$status" -eq 10 ] && grep -q '2 of 4 cells stand in the journal' <<<"$err" && cmp -s "$scratch/stdout" "$to/x.csv" &&
    ! grep -q '24MiB: pp16' <<<"$err"
ok 'finished cells are not measured again; failed ones are tried again; CSV on stdout'
rows='import json,sys; print(json.dumps([r for r in json.load(open(sys.argv[1]))["rows"] if r["status"] == 0]))'
[ "$(python3 -c "$rows" "$to/x.json")" = "$(python3 -c "$rows" "$scratch/before.json")" ]
ok 'the rows are those of the first run'
go "$lamina" bench "${matrix[@]}" -p 8
[ "$status" -eq 10 ] && grep -q '| pp8 ' <<<"$out" && ! grep -q 'in the journal' <<<"$err" && grep -q 'store reused' <<<"$out"
ok 'other options are other cells; the store is reused and the row says so'
go "$lamina" bench "$model" --matrix memory=24MiB -p 16 -n 4 -r 1 --again -q -o "$to/y.json"
go "$lamina" bench "$model" --matrix memory=24MiB -p 16 -n 4 -r 1 --again -o "$to/y.json"
[ "$status" -eq 0 ] && ! grep -q 'in the journal' <<<"$err" && [ "$(wc -l <"$to/y.json.journal")" -eq 2 ]
ok '--again measures again'
sed -i '/0123$/d' "$to/x.json.journal"
python3 "$root/tests/cli/lib/bench_check.py" inject "$to/x.json.journal"
go "$lamina" bench "${matrix[@]}" --json
[ "$status" -eq 10 ] && python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); assert d["rows"][0]["ppl"] == 9.5' "$scratch/stdout"
ok 'figures of quality come through'
check 'quality against bits is drawn when there are such figures' quality "$to/x.html" "$to/x.csv"

resume() { # resume NAME SIGNAL STATUS
    local three=("$model" --matrix memory=24MiB,32MiB,40MiB -p 16 -n 4 -r 1 -o "$to/$2.csv")
    go python3 "$root/tests/cli/lib/bench_check.py" kill "$2" "$to/$2.csv.journal" "$lamina" bench "${three[@]}"
    [ "$status" -eq 0 ] && [ "$out" = "$3" ] && [ ! -e "$to/$2.csv" ] &&
        { [ "$3" = -9 ] || grep -q 'stopped by you; finished cells stand in' <<<"$err"; }
    ok "$1 ends it without an output, and its measuring process too"
    local kept
    kept=$(wc -l <"$to/$2.csv.journal")
    go "$lamina" bench "${three[@]}"
    [ "$status" -eq 0 ] && [ "$kept" -ge 1 ] && [ "$kept" -lt 3 ] && grep -q "$kept of 3 cells stand in the journal" <<<"$err" &&
        [ "$(wc -l <"$to/$2.csv")" -eq 7 ] && [ "$(wc -l <"$to/$2.csv.journal")" -eq 3 ]
    ok "after $1 the same command goes on"
}
resume 'a kill' SIGKILL -9
resume 'Ctrl-C' SIGINT 130
go env LAMINA_CODEC=raw LAMINA_NO_READ_AHEAD=1 LAMINA_MEMORY=1MiB "$lamina" bench "$model" --matrix codec=planes \
    --matrix memory=24MiB --matrix read-ahead=on,off -p 8 -n 0 -r 1
[ "$status" -eq 0 ] && [ "$(grep -Ec '^\| planes \| +24MiB \| (on |off) ' <<<"$out")" -eq 4 ]
ok 'the matrix wins over twins of the environment, in the measuring process too'

# ---- tasks ----

bad() { # bad NAME LINE STDERR
    printf '%s\n' "$2" >"$scratch/bad"
    refuses "$1" 2 "lamina: $scratch/bad, task of line 1: $3" "$lamina" bench "$model" --tasks "$scratch/bad"
}
bad 'a task without a prompt' '{"answer": "x"}' '"prompt" is missing or empty'
bad 'a task without an answer' '{"prompt": "x"}' '"answer" is missing, empty or no text'
neither='"answer" is neither the number of one of at least two choices, counted from 0, nor the text of one'
bad 'an answer that is no choice' '{"prompt": "x", "choices": ["a", "b"], "answer": 2}' "$neither"
bad 'an answer that is the text of no choice' '{"prompt": "x", "choices": ["a", "b"], "answer": "c"}' "$neither"
bad 'an answer that is the text of two choices' '{"prompt": "x", "choices": ["a", "a"], "answer": "a"}' "$neither"
bad 'one choice' '{"prompt": "x", "choices": ["a"], "answer": 0}' "$neither"
bad 'an empty choice' '{"prompt": "x", "choices": ["a", ""], "answer": 0}' 'a choice is empty'
bad 'an empty answer among others' '{"prompt": "x", "answers": ["a", ""]}' '"answer" is missing, empty or no text'
printf '{"prompt": \n' >"$scratch/bad"
fails 'a task that is no JSON' 2 "^lamina: $scratch/bad, task of line 1:" "$lamina" bench "$model" --tasks "$scratch/bad"
: >"$scratch/bad"
refuses 'no tasks' 2 "lamina: $scratch/bad has no tasks" "$lamina" bench "$model" --tasks "$scratch/bad"

cat >"$scratch/tasks" <<'T'
{"prompt": "What is the capital of France?", "answer": "the capital of france   is PARIS"}
{"prompt": "What is the capital of Austria?", "answers": ["Vienna", "The capital of Austria is Vienna."]}

{"prompt": "What is the capital of Peru?", "answer": "The capital of Peru is Paris."}
{"prompt": "What is the capital of Norway?", "answer": "Oslo", "note": "the whole sentence is another answer"}
T
go "$lamina" bench "$model" --matrix codec=raw,planes --matrix memory=24MiB,32MiB --tasks "$scratch/tasks" -p 0 -n 2 -r 1 -o "$to/t.json"
[ "$status" -eq 0 ] && [ "$(grep -c '| 50.0 % of 4 +- 28.9 | *0.7798 | *45.20 |' <<<"$out")" -eq 2 ] && python3 - "$to/t.json" <<'P'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
assert len(rows) == 4
for r in rows: # figures: rouge_score 0.1.2 (best of the references) and sacrebleu 2.6.0 on the four sentences
    assert (r["tasks"], r["choice_tasks"], r["accuracy"]) == (4, 0, 0.5) and "accuracy_norm" not in r, r
    assert abs(r["accuracy_error"] - (0.25 / 3) ** 0.5) < 1e-12 and abs(r["rouge_l"] - 0.7797619047619048) < 1e-9 and abs(r["bleu"] - 45.2002563756376) < 1e-9, r
P
ok 'tasks with texts: two of four are right, case and points aside; ROUGE-L and BLEU are those of their packages'
go "$lamina" bench "$model" --matrix codec=raw,planes --matrix memory=24MiB,32MiB --tasks "$scratch/tasks" -p 0 -n 2 -r 1 -o "$to/t.json" -q
[ "$status" -eq 0 ] && [ "$(grep -c '| 50.0 % of 4 +- 28.9 |' <<<"$out")" -eq 2 ]
ok 'the journal keeps them'
python3 "$root/tests/cli/lib/bench_check.py" choices "$lamina" "$model" "$scratch/right" "$scratch/wrong" "$scratch/norm" >"$scratch/share"
go "$lamina" bench "$model" --memory 24MiB --tasks "$scratch/right" --raw -p 0 -n 2 -r 1
[ "$status" -eq 0 ] && grep -q '| 100.0 % of 6 ' <<<"$out"
ok 'of choices the likeliest is taken, as lamina logits has it'
go "$lamina" bench "$model" --memory 24MiB --tasks "$scratch/wrong" --raw -p 0 -n 2 -r 1
[ "$status" -eq 0 ] && grep -q '|  *0.0 % of 6 ' <<<"$out"
ok 'and no other; the answer may be its text'
go "$lamina" bench "$model" --memory 24MiB --tasks "$scratch/norm" --raw -p 0 -n 2 -r 1 --json
[ "$status" -eq 0 ] && python3 - "$scratch/stdout" "$scratch/share" <<'P'
import json, sys
row, = json.load(open(sys.argv[1]))["rows"]
share = float(open(sys.argv[2]).read())
assert row["accuracy_norm"] == 1 and row["accuracy"] == share < 1 and row["choice_tasks"] == row["tasks"] == 6, (row, share)
P
ok 'per character another one may be the likeliest'

# ---- quality ----

printf '%s\n' '{"prompt": "What is the capital of France?", "answer": "The capital of France is Paris."}' >"$scratch/one"
go "$lamina" bench "$model" --matrix codec=planes,q4,q2.50 --matrix threads=1,2 --text "$root/README.md" --tasks "$scratch/one" \
    --memory 32MiB -p 0 -n 2 -r 1 --chunks 3 --min-gain 0.000001 --max-loss 50 -o "$to/q.json" -o "$to/q.html"
[ "$status" -eq 0 ] && python3 - "$to/q.json" <<'P'
import json, sys
d = json.load(open(sys.argv[1]))
assert len(d["rows"]) == 6
for a, b in zip(d["rows"][::2], d["rows"][1::2]): # once per codec, told of all its cells
    assert all(a[k] == b[k] for k in ("codec", "ppl", "kl", "top1", "accuracy", "ppl_ratio"))
exact, fine, coarse = d["rows"][::2]
assert exact["kl"] == 0 and exact["top1"] == 1 and exact["ppl"] > 1 and exact["ppl_error"] > 0
assert 0 < fine["kl"] < coarse["kl"] and coarse["top1"] < fine["top1"] < 1 and fine["ppl"] != exact["ppl"]
assert exact["ppl_ratio"] == 1 and abs(fine["ppl_ratio"] - fine["ppl"] / exact["ppl"]) < 1e-9
verdicts = d["verdicts"]
assert [(v["codec"], v["against"], v["pairs"], v["test"]) for v in verdicts] == [("q4", "planes", 2, "tg2"), ("q2.50", "planes", 2, "tg2")]
for v, at in zip(verdicts, (2, 4)):
    gains = sorted(x["tokens_per_s"] / y["tokens_per_s"] for x, y in zip(d["rows"][at:], d["rows"][:2]))
    assert abs(v["gain"] / (sum(gains) / 2) - 1) < 1e-9 and abs(v["gain_high"] / gains[1] - 1) < 1e-9, (v, gains)
    r = d["rows"][at]
    assert abs(v["loss"]["perplexity"] - abs(r["ppl_ratio"] - 1)) < 1e-12 and v["loss"]["accuracy"] == 1 - r["accuracy"]
    assert v["worth"] == (max(x for x in v["loss"].values() if x is not None) < 0.5), v
assert "more than 1e-06x" in d["verdict_rule"] and "less than 50 %" in d["verdict_rule"]
P
ok '--text: the exact store does not diverge, coarser ones the more'
grep -q 'KL divergence (nats) against bits per weight' "$to/q.html" && grep -q 'Is rounding worth it?' "$to/q.html" &&
    go python3 "$root/tests/cli/lib/bench_check.py" page "$to/q.html" &&
    "$lamina" bench "$model" --matrix codec=planes,q4,q2.50 --matrix threads=1,2 --text "$root/README.md" --tasks "$scratch/one" \
        --memory 32MiB -p 0 -n 2 -r 1 --chunks 3 -o "$to/q.json" -q | grep -q '^q4: .*x the tokens/s of planes in tg2 .*: \(not \)*worth it\.$'
ok 'quality against bits is drawn, and the verdicts stand in the page and under the table'
go "$lamina" bench "$model" --matrix codec=q4 --memory 32MiB -p 0 -n 2 -r 1 --text "$root/README.md" --chunks 3
[ "$status" -eq 0 ] && grep -q '^q4: not judged, because no exact codec was measured beside it' <<<"$out"
ok 'no verdict without an exact codec'
go "$lamina" bench "$model" --matrix codec=planes,q4 --memory 32MiB -p 0 -n 2 -r 1
[ "$status" -eq 0 ] && grep -q '^q4: .*: not judged, because what it loses was not measured; give --tasks or --text' <<<"$out"
ok 'no verdict without a measure of loss'
refuses 'a gain that says nothing' 2 'lamina: --min-gain 0, --max-loss 1: the first must be above 0, the second not below it' \
    "$lamina" bench "$model" --min-gain 0
go "$lamina" bench "$model" --memory 1MiB -t 1 -p 0 -n 2 -r 1
smallest=$(grep -o -- '--memory [0-9]*MiB' <<<"$out" | head -n 1 | cut -d' ' -f2)
go "$lamina" bench "$model" --matrix "memory=$smallest,64MiB" -t 1 -p 0 -n 2 -r 1 --text "$root/README.md" --chunks 1 -o "$to/m.json"
[ "$status" -eq 0 ] && grep -q -- '--text of planes: left to a later cell of this codec: a budget of .* is too small' <<<"$err" &&
    python3 -c 'import json,sys; a,b=json.load(open(sys.argv[1]))["rows"]; assert a["ppl"] == b["ppl"] > 1' "$to/m.json"
ok 'a text is measured in the memory of a cell, of the first that is large enough'
head -c 200 "$root/README.md" >"$scratch/short"
go "$lamina" bench "$model" --matrix codec=planes --text "$scratch/short" --memory 24MiB -p 0 -n 2 -r 1
[ "$status" -eq 10 ] && [ "$(grep -c 'needed\|needs' <<<"$out$err")" -gt 0 ]
ok 'a text shorter than a chunk: the row fails, and the reason is said'

# ---- stores and storage ----

mkdir "$scratch/a" "$scratch/b"
go "$lamina" bench "$model" --matrix "storage=$scratch/a,$scratch/b" --codec planes --memory 24MiB -p 0 -n 2 -r 1
[ "$status" -eq 0 ] && [ "$(grep -c '| tg2 ' <<<"$out")" -eq 2 ] && ! grep -q '| pp' <<<"$out" &&
    [ "$(grep -c "^Choose $scratch/[ab]: tg2 " <<<"$out")" -eq 2 ] &&
    [ -e "$scratch"/a/lamina-bench/*-planes.store/lamina.json ] && [ -e "$scratch"/b/lamina-bench/*-planes.store/lamina.json ]
ok 'each storage gets its store and its choice; -p 0 leaves the prompt out'
store=$(echo "$scratch"/a/lamina-bench/*-planes.store)
go "$lamina" bench "$store" --memory 24MiB -p 16 -n 0 -r 1
[ "$status" -eq 0 ] && grep -q '^| planes | *[^|]* | pp16 ' <<<"$out" && grep -q 'store given' <<<"$out" &&
    grep -q '^Choose planes: pp16 ' <<<"$out"
ok 'MODEL may be a store'
go "$lamina" bench "$store" --matrix codec=raw --memory 24MiB -p 16 -n 0 -r 1
[ "$status" -eq 10 ] && grep -q 'is a store of codec planes and stays so; give its checkpoint to have one of codec raw' <<<"$out"
ok 'a store has one codec'
go "$lamina" bench "$store" --matrix "storage=$scratch/b" --memory 24MiB -p 16 -n 0 -r 1
[ "$status" -eq 10 ] && grep -q 'is a store and stays where it is' <<<"$out" && grep -q '^No configuration can be chosen' <<<"$out" &&
    [ "$(grep -c '^| ---' <<<"$out")" -eq 1 ]
ok 'a store has one place'
go "$lamina" bench "$model" --matrix codec=zebra --keep-stores "$scratch/kept" -p 16 -n 0 -r 1
[ "$status" -eq 10 ] && grep -q 'codec "zebra" is not supported' <<<"$out"
ok 'an unknown codec is refused by the splitter, and its row says so'
finish
