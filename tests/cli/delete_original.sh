#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# --delete-original stopped after the store was complete: the same command deletes the rest, and nothing that it cannot prove
# to be in the store.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
make_model "$scratch/model" --layers 8 --shards 9 --tokenizer
go "$lamina" split "$scratch/model" -o "$scratch/store" -q
[ "$status" -eq 0 ]
ok 'a complete store'
first=model-00001-of-00009.safetensors
last=model-00009-of-00009.safetensors

fresh() { # a copy of the checkpoint and of its store
    rm -rf "$scratch/source" "$scratch/copy"
    cp -r "$scratch/model" "$scratch/source"
    cp -r "$scratch/store" "$scratch/copy"
}

weights() { find "$scratch/source" -name '*.safetensors' | wc -l; }
whole() { # the store of before, and no lock beside it
    [ ! -e "$scratch/copy.lock" ] && diff -r "$scratch/store" "$scratch/copy" >"$scratch/diff" &&
        "$lamina" verify "$scratch/copy" -q >/dev/null 2>&1
}
delete() { go "$lamina" split "$scratch/source" -o "$scratch/copy" --delete-original -q; }

# What a kill between the first removal and the second leaves.
fresh
rm "$scratch/source/$first"
delete
[ "$status" -eq 0 ] && [ "$out" = "$scratch/copy" ] && [ "$(weights)" -eq 0 ] && whole
ok 'one file was gone: the others are deleted'
delete
[ "$status" -eq 0 ] && [ "$(weights)" -eq 0 ] && [ -f "$scratch/source/config.json" ] && whole
ok 'all were gone: nothing to do, the small files stay'

fresh
rm "$scratch/source/$first"
go "$lamina" split "$scratch/source" -o "$scratch/copy" -q
[ "$status" -eq 0 ] && [ "$(weights)" -eq 8 ] && whole
ok 'without the flag nothing is deleted'

# A real kill, as soon as one file is gone.
killed=0
for _ in 1 2 3 4 5 6; do
    fresh
    "$lamina" split "$scratch/source" -o "$scratch/copy" --delete-original -q >/dev/null 2>&1 &
    child=$!
    while [ -e "$scratch/source/$first" ] && [ -e "$scratch/source/$last" ] && kill -0 "$child" 2>/dev/null; do :; done
    kill -KILL "$child" 2>/dev/null && killed=$((killed + 1))
    wait "$child" 2>/dev/null
    left=$(weights)
    delete
    if [ "$status" -ne 0 ] || [ "$(weights)" -ne 0 ] || ! whole; then
        break
    fi
done
[ "$status" -eq 0 ] && [ "$left" -le 8 ] && [ "$(weights)" -eq 0 ] && whole
ok "killed while deleting ($killed of 6 times): the same command finishes"

# What is left must be what the store was made from.
fresh
rm "$scratch/source/$first"
printf x | dd of="$scratch/source/$last" bs=1 seek=4000 conv=notrunc 2>/dev/null
delete
[ "$status" -eq 2 ] && [ "$(weights)" -eq 8 ] && grep -q "$last differs" <<<"$err"
ok 'a file that is not what the store was made from stops it; all that is left stays'

# And the store must be right.
fresh
rm "$scratch/source/$first"
printf x | dd of="$scratch/copy/layers/00003.bin" bs=1 seek=9000 conv=notrunc 2>/dev/null
delete
[ "$status" -eq 8 ] && [ "$(weights)" -eq 8 ] && grep -q 'layers/00003.bin' <<<"$err"
ok 'a damaged store deletes nothing'
finish
