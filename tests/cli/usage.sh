#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Wrong usage: exit 2 and exactly these words; nothing is opened, nothing goes to stdout.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"

size='is not a size like 4GiB, 512M or 1500000000'
fails 'no command' 2 '^lamina: a command is missing$' "$lamina"
refuses 'unknown command' 2 'lamina: "fly" is not a command; see: lamina --help' "$lamina" fly
refuses 'unknown flag' 2 'lamina: --bogus is not an option of this command; see: lamina run --help' "$lamina" run m t --bogus
refuses 'unknown short flag' 2 'lamina: -z is not an option of this command; see: lamina run --help' "$lamina" run m t -z
refuses 'flag of another command' 2 'lamina: --temp is not an option of this command; see: lamina plan --help' \
    "$lamina" plan m --temp 1
refuses 'missing model' 2 'lamina: an argument is missing; usage: lamina run MODEL [TEXT] [options]' "$lamina" run
refuses 'too many arguments' 2 'lamina: "c" is one argument too many; usage: lamina run MODEL [TEXT] [options]' "$lamina" run a b c
refuses 'missing value' 2 'lamina: --memory needs a value; see: lamina run --help' "$lamina" run m t --memory
refuses 'flag with a value it does not take' 2 'lamina: --json=3 is not an option of this command; see: lamina run --help' \
    "$lamina" run m t --json=3
for budget in abc '' -1 0 1.2.3GiB 4QiB 99999999999999999999; do
    refuses "budget \"$budget\"" 2 "lamina: --memory: \"$budget\" $size" "$lamina" run m t --memory "$budget"
done
refuses 'budget of plan' 2 "lamina: --memory: \"lots\" $size" "$lamina" plan m --memory lots
refuses 'tokens' 2 'lamina: -n: "many" is not a whole number' "$lamina" run m t -n many
refuses 'negative tokens' 2 'lamina: -n: "-1" is not a whole number' "$lamina" run m t -n -1
refuses 'tokens beyond 32 bits' 2 'lamina: --predict: "4294967296" is not a whole number' "$lamina" run m t --predict 4294967296
refuses 'temperature' 2 'lamina: --temp: "hot" is not a number of at least 0' "$lamina" run m t --temp hot
refuses 'negative temperature' 2 'lamina: --temp: "-0.5" is not a number of at least 0' "$lamina" run m t --temp -0.5
refuses 'kv type' 2 'lamina: --kv: "f8" is none of f16|f32' "$lamina" run m t --kv f8
refuses 'io engine' 2 'lamina: --io: "magic" is none of auto|uring|threads|sim' "$lamina" run m t --io magic
refuses 'isa' 2 'lamina: --isa: "mmx" is none of auto|scalar|avx2|avx512|neon' "$lamina" run m t --isa mmx
refuses 'numerics that do not exist yet' 9 \
    'lamina: --numerics fast: this version computes in class exact only; leave it out' "$lamina" run m t --numerics fast
refuses 'sim options without sim' 2 'lamina: --sim says how --io sim misbehaves; give --io sim too' "$lamina" run m t --sim short=1
refuses 'text given twice' 2 'lamina: the text is given twice; use one of TEXT, --prompt and --file' "$lamina" run m t --prompt u
refuses 'file that is not there' 3 "lamina: cannot open $scratch/none: No such file or directory" "$lamina" run m -f "$scratch/none"
refuses 'chat without a model' 2 'lamina: an argument is missing; usage: lamina chat MODEL [options]' "$lamina" chat
refuses 'context of chat' 2 'lamina: --ctx-size: "all" is not a whole number' "$lamina" chat m --context all
refuses 'logits without ids' 2 'lamina: --ids is missing; see: lamina logits --help' "$lamina" logits m
refuses 'ids that are none' 2 'lamina: --ids: "x" is no token id; expected whole numbers like 1,2,3' "$lamina" logits m --ids 1,x,3
refuses 'id beyond 32 bits' 2 'lamina: --ids: "4294967296" is no token id; expected whole numbers like 1,2,3' \
    "$lamina" logits m --ids 4294967296
refuses 'empty ids' 2 'lamina: --ids is empty' "$lamina" logits m --ids ,
refuses 'ids beyond the context' 2 'lamina: 3 ids and -n 4 need -c 6, but -c is 5' "$lamina" logits m --ids 1,2,3 -n 4 -c 5
refuses 'context of plan' 2 'lamina: -c 0 leaves no context to plan for' "$lamina" plan m -c 0
refuses 'unknown shell' 2 'lamina: "tcsh" is none of bash, zsh, fish' "$lamina" completion tcsh

refuses 'environment twin is checked' 2 "lamina: LAMINA_MEMORY: \"5q\" $size" env LAMINA_MEMORY=5q "$lamina" run m t
refuses 'environment twin of a switch is checked' 2 'lamina: LAMINA_JSON: "maybe" is not 1 or 0' env LAMINA_JSON=maybe "$lamina" run m t
refuses 'a flag wins over its twin' 2 'lamina: -n: "q" is not a whole number' env LAMINA_PREDICT=3 "$lamina" run m t -n q
prints 'a twin works' '{"version":"0.1.0"}' env LAMINA_JSON=1 "$lamina" version
prints 'an empty or false twin is off' 'lamina 0.1.0' env LAMINA_JSON=0 "$lamina" version
go env NO_COLOR=1 "$lamina" fly
[ "$status" -eq 2 ] && ! grep -q "$(printf '\033')" "$scratch/stderr"
ok 'no colour without a terminal'
go "$lamina" fly --color always
[ "$status" -eq 2 ]
ok 'unknown command with flags'
finish
