#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lamina chat through a pipe: a message a line, commands, sessions in files with what was computed of them and without. What a person
# has on a terminal is tests/chat/run_chat.py.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
model=$root/demo/model
chat() { go "$lamina" chat "$model" --temp 0 "$@"; }
said() { grep -Fq -- "$1" "$scratch/stderr"; }
france='What is the capital of France?'
japan='What is the capital of Japan?'
peru='What is the capital of Peru?'

input="$france"
chat -q
paris=$out
[ "$status" -eq 0 ] && [ "$paris" = 'The capital of France is Paris.' ] && [ -z "$err" ]
ok 'one question; stdout has the answer, stderr nothing with -q'
go "$lamina" run "$model" "$france" --temp 0 -q
[ "$out" = "$paris" ]
ok 'run says the same'
input="$france
$japan
$peru"
chat -q
whole=$out
[ "$(wc -l <<<"$whole")" -eq 3 ] && [ "${whole%%$'\n'*}" = "$paris" ]
ok 'three questions, three answers'
for rows in 1 7; do
    chat -q --prompt-rows $rows --memory none
    [ "$out" = "$whole" ]
    ok "the same in chunks of $rows"
done
input=$'\n  \n'"$france"$'\r\n'
chat -q
[ "$out" = "$paris" ]
ok 'empty lines are left out, and a carriage return'
input=''
chat -q
[ "$status" -eq 0 ] && [ -z "$out" ]
ok 'nothing said, nothing answered'
input="$france"
chat --json -q
[ "$out" = '{"text": "The capital of France is Paris.", "stop_reason": "eos", "prompt_tokens": 14, "new_tokens": 9}' ]
ok 'an answer as JSON'

# Sessions: an interrupted conversation is one that was not.
first="${whole%$'\n'*}" last="${whole##*$'\n'}"
input="$france
$japan"
chat -q --session "$scratch/s.json"
[ "$out" = "$first" ] && [ -s "$scratch/s.json.kv" ] && [ "$(stat -c %a "$scratch/s.json" "$scratch/s.json.kv" | sort -u)" = 600 ]
ok 'a session in two private files'
python3 - "$scratch/s.json" <<'P'
import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(d["format"] != "lamina-chat" or [m["role"] for m in d["messages"]] != ["user", "assistant"] * 2)
P
ok 'its messages are JSON'
cp "$scratch/s.json" "$scratch/t.json"
cp "$scratch/s.json.kv" "$scratch/keep.kv"
input="$peru"
chat --session "$scratch/s.json"
[ "$out" = "$last" ] && said 'tokens of them computed'
ok 'resumed with what was computed: the answer of the uninterrupted chat'
chat --session "$scratch/t.json"
[ "$out" = "$last" ] && said 'computed again'
ok 'resumed without: the same answer, with a note'
damage() { # damage NAME WORDS [OPTION...]: what was computed does not fit; the answer is right all the same
    local name=$1 words=$2
    shift 2
    input='/undo
'"$peru"
    chat --session "$scratch/t.json" "$@"
    [ "$status" -eq 0 ] && [ "$out" = "$last" ] && said "$words" && said 'computed again'
    ok "$name"
}
printf 'x' | dd of="$scratch/t.json.kv" bs=1 seek=5000 conv=notrunc status=none
damage 'a changed byte' 'do not have their checksum'
truncate -s 9999 "$scratch/t.json.kv"
damage 'cut short' 'it has 9999 bytes'
printf 'hello' >"$scratch/t.json.kv"
damage 'something else' 'no saved session'
chat --session "$scratch/t.json" --kv f32 </dev/null
damage 'another precision' '--kv'  --kv f16
make_model "$scratch/random" --tokenizer --vocab 259
input='Hi'
go "$lamina" chat "$scratch/random" -q --temp 0 -n 3 --session "$scratch/r.json"
cp "$scratch/r.json.kv" "$scratch/t.json.kv"
damage 'another model' 'another model'
cp "$scratch/keep.kv" "$scratch/t.json.kv"
input='/undo
'"$peru"
chat --session "$scratch/t.json"
[ "$out" = "$last" ] && said '6 messages'
ok 'an older file of the same conversation: its part is used'
input="$peru"
printf 'not json' >"$scratch/u.json"
fails 'a session file that is none' 8 'u.json' "$lamina" chat "$model" --session "$scratch/u.json"
[ "$(cat "$scratch/u.json")" = 'not json' ]
ok 'is left as it is'
printf '{"format": "lamina-chat", "version": 7, "messages": []}' >"$scratch/u.json"
fails 'a later version' 9 'version 7' "$lamina" chat "$model" --session "$scratch/u.json"
printf '{"format": "lamina-chat", "version": 1, "messages": [{"role": "user"}]}' >"$scratch/u.json"
fails 'a message without content' 8 'needs a role' "$lamina" chat "$model" --session "$scratch/u.json"
chat --session "$scratch/none/s.json"
[ "$status" -eq 0 ] && [ "$out" = 'The capital of Peru is Lima.' ] && said 'is not kept'
ok 'a session that cannot be written is said, and the chat goes on'
input="$france"
go bash -c 'touch "$1.tmp-$$" && exec "${@:2}"' _ "$scratch/left.json" \
    "$lamina" chat "$model" --temp 0 -q --session "$scratch/left.json"
[ "$status" -eq 0 ] && [ -s "$scratch/left.json" ] && [ -z "$err" ]
ok 'what a killed process of the same number has left is in nobody'"'"'s way'

# Commands.
input="$france
/save $scratch/v.json
/undo
/tokens
$japan
/load $scratch/v.json
/tokens
$japan"
chat
[ "$out" = "$(printf '%s\n%s\n%s' "$paris" 'The capital of Japan is Tokyo.' "$(sed -n 2p <<<"$whole")")" ] && said '0 messages, 0 tokens' &&
    said '2 messages, 24 tokens'
ok '/save, /undo, /tokens, /load'
input=$'/system Be brief. \t\n'"$france"$'\n/save '"$scratch/blank.json"$' \t\n/clear \n/quit '
chat -q
[ "$status" -eq 0 ] && [ -z "$err" ] && grep -Fq '"content": "Be brief."' "$scratch/blank.json"
ok 'blanks behind a command are no part of it'
input="$france
/regen
/clear
/regen
$japan"
chat
[ "$out" = "$(printf '%s\n%s\n%s' "$paris" "$paris" 'The capital of Japan is Tokyo.')" ] && said 'the temperature is 0' && said 'no message to answer'
ok '/regen answers again, /clear forgets'
input="$france
/stats"
chat -n 3
[ "$out" = 'The capital of' ] && said 'the 3 tokens that -n allows' && said '14 + 3 tokens'
ok '-n and /stats'
input="/set predict 3
/set top_k 40
/set
$france
/set temp hot
/set colour red
/set temp 0.7
/nonsense
/clear now
/save
/quit
$japan"
chat
[ "$status" -eq 0 ] && [ "$out" = 'The capital of' ] && said 'temp 0, top-k 40' && said 'temp: "hot" is not a number' && said '"colour" cannot be set' &&
    said '"/nonsense" is not a command' && said '/clear stands alone' && said '/save needs' && ! grep -q Tokyo "$scratch/stdout"
ok '/set, refusals, /quit'
input='/system Be brief.
'"$france"'
/save '"$scratch/w.json"
chat -q
grep -Fq '{"role": "system", "content": "Be brief."}' "$scratch/w.json"
ok '/system'
input="$france
/save $scratch/x.json"
chat -q --system 'Be brief.'
cmp -s "$scratch/w.json" "$scratch/x.json"
ok '--system is the same'
input='"""one
two"""
three\
four
//five
/save '"$scratch/y.json"
chat -q -n 2
python3 - "$scratch/y.json" <<'P'
import json, sys
said = [m["content"] for m in json.load(open(sys.argv[1]))["messages"] if m["role"] == "user"]
sys.exit(said != ["one\ntwo", "three\nfour", "/five"])
P
ok 'messages of several lines, and with a slash'
input='"""one'
chat
[ "$status" -eq 2 ] && said 'ends inside a message'
ok 'a message without its end'

# Sampling: seeds decide; an answer made again is another one.
input="Tell me.
/regen"
go "$lamina" chat "$scratch/random" -q --temp 1 --seed 3 -n 20 --json
sampled=$out
[ "$(sort -u <<<"$out" | wc -l)" -eq 2 ]
ok 'made again with the same seed, an answer differs'
go "$lamina" chat "$scratch/random" -q --temp 1 --seed 3 -n 20 --json
[ "$out" = "$sampled" ]
ok 'the same seed, the same chat'

# The context.
input="$france
$japan"
chat -c 30
[ "$status" -eq 10 ] && [ "$(head -1 <<<"$out")" = "$paris" ] && said 'the context holds 30' && said '-c 74' &&
    said '1 of 2 messages got no answer'
ok 'a conversation that is too long for the context; what runs it is told'
chat -c 20
[ "$status" -eq 10 ] && said 'the context of 20 tokens is full' && said '1 of 2 messages got no answer'
ok 'an answer that ends with the context'
make_model "$scratch/mute" --vocab 259
fails 'a model without a tokenizer' 3 'says nothing of how to talk' "$lamina" chat "$scratch/mute"
fails 'no model' 2 'an argument is missing' "$lamina" chat
fails 'an option of run' 2 'is not an option' "$lamina" chat "$model" --raw
finish
