#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lamina ps: who holds a model is shown while it does, whatever ended it is gone afterwards, and none of it ever stops a run.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
export LAMINA_HOME=$scratch/ps
make_model "$scratch/model" --tokenizer
go "$lamina" split "$scratch/model" -o "$scratch/store" -q
[ "$status" -eq 0 ]
ok 'a store to run'

# The simulated drive is slow, so that the run lasts for minutes unless it is stopped.
slow='--io sim --sim latency_us=30000 --no-pin --no-read-ahead -n 900 --ignore-eos --temp 0 --memory 200MiB -q'
start() {
    # shellcheck disable=SC2086
    "$lamina" run "$scratch/store" Hi $slow >"$scratch/answer" 2>&1 </dev/null &
    pid=$!
    for _ in $(seq 300); do
        grep -q . "$scratch/answer" && return
        sleep 0.05
    done
}
shown() { # shown EXPRESSION over the list p
    "$lamina" ps --json | python3 -c 'import json, os, sys
p = json.load(sys.stdin)["processes"]
sys.exit(not eval(sys.argv[1]))' "$1"
}

prints 'nobody: no table' '' "$lamina" ps
prints 'nobody: an empty list' '{"processes": []}' "$lamina" ps --json
start
store=$(realpath "$scratch/store")
shown "len(p) == 1 and p[0]['pid'] == $pid and p[0]['command'] == 'run' and p[0]['model'] == '$store'"
ok 'a run is shown with its PID, command and model'
shown "1 << 20 < p[0]['memory_bytes'] <= p[0]['peak_memory_bytes'] < 220 << 20 and p[0]['memory_budget_bytes'] == 200 << 20"
ok 'with its memory and its budget'
go "$lamina" ps
[ "$status" -eq 0 ] && [[ $out == *MEMORY*BUDGET*$pid*run*200*MiB*"$store"* ]]
ok 'as a table'
kill -9 "$pid"
wait "$pid" 2>/dev/null
[ -e "$scratch/ps/run/$pid.json" ] && shown 'p == []' && [ ! -e "$scratch/ps/run/$pid.json" ]
ok 'killed: not shown, and what it left is swept up'
start
kill -TERM "$pid"
wait "$pid" 2>/dev/null
[ -z "$(ls "$scratch/ps/run")" ]
ok 'stopped: it takes its file along'
go "$lamina" run "$scratch/store" Hi -n 2 -q --temp 0
[ "$status" -eq 0 ] && [ -z "$(ls "$scratch/ps/run")" ]
ok 'ended: so too'
go "$lamina" run "$scratch/none" Hi -n 2 -q --temp 0
[ "$status" -ne 0 ] && [ -z "$(ls "$scratch/ps/run")" ]
ok 'failed: so too'
# A process that lives and never wrote it: the number was given to somebody else.
printf '{"pid": %d, "start": 1, "boot": "", "command": "run", "model": "/x", "memory_budget_bytes": 0, "port": 0}\n' $$ >"$scratch/ps/run/$$.json"
printf 'no json' >"$scratch/ps/run/7.json"
mkdir "$scratch/ps/run/8.json"
shown 'p == []' && [ ! -e "$scratch/ps/run/$$.json" ] && [ ! -e "$scratch/ps/run/7.json" ]
ok 'a file without its writer, and one that is no JSON: not shown'
rm -rf "$scratch/ps/run"
printf 'no folder' >"$scratch/ps/run"
go "$lamina" run "$scratch/store" Hi -n 2 -q --temp 0
[ "$status" -eq 0 ] && [ -n "$out" ]
ok 'where no file can be written the run goes on'
prints 'and nobody is shown' '' "$lamina" ps
finish
