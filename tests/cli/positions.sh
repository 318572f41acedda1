#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A model with a table of learned positions has none beyond it: what needs more is refused, an answer ends there.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
source=${LAMINA_TESTDATA:-/nonexistent}/oracle/gpt2
if [ ! -d "$source" ]; then
    skip 'learned positions' 'no test data'
    finish
    exit 0
fi
cp -r "$source" "$scratch/model" && chmod -R u+w "$scratch/model"
python3 -c "import sys; sys.path.insert(0, '$root/tests/cli'); import mkmodel; mkmodel.write_tokenizer('$scratch/model')"
model=$scratch/model # 48 positions

ids() { seq -s, 1 "$1"; }
go "$lamina" logits "$model" --ids "$(ids 48)"
[ "$status" -eq 0 ]
ok 'a prompt of all positions'
fails 'a prompt of one more' 2 '49 tokens after 0 are more than the 48 positions that this model has learned' \
    "$lamina" logits "$model" --ids "$(ids 49)"
fails 'tokens that would go beyond' 2 '1 tokens after 48 are more than the 48' "$lamina" logits "$model" --ids "$(ids 47)" -n 3
go "$lamina" run "$model" 'Hi there' --raw -n 100 -c 200 --ignore-eos --temp 0 --json
[ "$status" -eq 0 ] && grep -q '"stop_reason": "length", "prompt_tokens": 8, "new_tokens": 41' <<<"$out"
ok 'an answer ends at the last one'
finish
