#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What chooses the coding of a store (--codec, --quant, --fit), and which store a later run uses.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
demo=$root/demo/model
size_of() { find "$1" -type f -printf '%s\n' | awk '{all += $1} END {print all}'; }
codec_of() { "$lamina" show "$1" --json | grep -oE '"codec": "[^"]*"' | head -1 | cut -d'"' -f4; }
bits_of() { "$lamina" show "$1" --json | grep -oE '"(weight_bytes|weights)": [0-9]+' | awk 'NR == 1 {b = $2} NR == 2 {print int(800 * b / $2)}'; }

# ---- one way to choose, and what it is called ----
for pair in '--codec q8 --quant 4' '--codec raw --fit 8MB' '--quant q8 --fit 8MB' '--codec raw --quant q4 --fit 8MB'; do
    # shellcheck disable=SC2086
    fails "$pair is refused" 2 '^lamina: --codec, --quant and --fit each choose the coding: give one of them' "$lamina" split "$demo" $pair
done
for bits in 1.99 8.01 9 0 -3 q5 4x nan inf '' ' 4' 1e1; do
    fails "--quant '$bits' is refused" 2 '^lamina: --quant: ".*" is not q8, q4, or a number of bits from 2 to 8, like 3.5' \
        "$lamina" split "$demo" --quant "$bits"
done
for codec in zip Q8 q1.00 q8.01 q4.0 q q4.000 q44.00; do
    fails "--codec $codec is refused" 9 "codec \"$codec\" is not supported \(raw, planes, q8, q4 and q2.00 to q8.00 are\)" \
        "$lamina" split "$demo" --codec "$codec"
done
[ ! -e "$LAMINA_HOME" ] || [ -z "$(find "$LAMINA_HOME" -name lamina.json)" ]
ok 'what was refused has made nothing'

# ---- a raw store that is there serves: no second one is made ----
go "$lamina" split "$demo" --codec raw -q
raw=$out
[ "$status" -eq 0 ] && [ "$(codec_of "$raw")" = raw ]
ok 'raw'
go "$lamina" logits "$demo" --ids 1,2,3 -q
want=$out
[ "$status" -eq 0 ] && [ "$(find "$LAMINA_HOME" -name lamina.json | wc -l)" -eq 1 ]
ok 'a run without --codec uses the raw store'

# ---- each coding has its place; planes is the default ----
stores=$raw
for form in '' '--quant q8' '--quant q4' '--quant 3.5' '--quant 6.25' '--codec q2.00'; do
    # shellcheck disable=SC2086
    go "$lamina" split "$demo" $form -q
    case $form in '') name=planes ;; *' q'*) name=${form##* } ;; *) name=q$(printf '%.2f' "${form##* }") ;; esac
    [ "$status" -eq 0 ] && [ "$(codec_of "$out")" = "$name" ] && ! grep -qxF "$out" <<<"$stores"
    ok "split $form makes a store of $name in a place of its own"
    stores+=$'\n'$out
    last=$out
    # shellcheck disable=SC2086
    prints "split $form finds it again" "$last" "$lamina" split "$demo" $form -q
done
prints '--quant 8 is q8.00, not q8' 'q8.00' codec_of "$("$lamina" split "$demo" --quant 8 -q)"
prints '--quant 4 and 4.00 are the same store' "$("$lamina" split "$demo" --quant 4 -q)" "$lamina" split "$demo" --quant 4.00 -q
prints 'planes gives the bits of raw' "$want" "$lamina" logits "$(sed -n 2p <<<"$stores")" --ids 1,2,3 -q
fails 'another coding is not written over a store' 2 'already holds the complete store of something else \(another codec\)' "$lamina" split "$demo" --quant q4 -o "$(sed -n 3p <<<"$stores")" -q
before=0
for name in 2.00 3.5 q4 6.25 q8; do
    bits=$(bits_of "$("$lamina" split "$demo" --quant $name -q)")
    [ "$bits" -gt "$before" ]
    ok "--quant $name takes more than the ones before: $bits hundredths of a bit over all weights"
    before=$bits
done

# ---- --fit: never more than asked, and as fine as that allows ----
planes=$(size_of "$(sed -n 2p <<<"$stores")")
go "$lamina" split "$demo" --fit $((planes + planes / 20)) -v
[ "$status" -eq 0 ] && [ "$(codec_of "$out")" = planes ] && grep -q '^lamina: codec planes is the finest that fits$' <<<"$err"
ok '--fit takes planes where they fit'
for size in 6MB 5500000 5MB 4500kB 4MB 3500000; do
    bytes=$(sed 's/MB/000000/; s/kB/000/' <<<$size)
    go "$lamina" split "$demo" --fit $size -v
    took=$(size_of "$out")
    [ "$status" -eq 0 ] && [ "$took" -le "$bytes" ] && [ "$took" -ge $((bytes * 95 / 100)) ] &&
        grep -Eq '^lamina: codec q[2-7]\.[0-9]{2} is the finest that fits$' <<<"$err"
    ok "--fit $size: $took bytes"
done
fails 'less than the smallest' 7 '^lamina: the store does not fit 1000000 bytes: the smallest takes [0-9]+$' "$lamina" split "$demo" --fit 1MB
least=$(grep -oE '[0-9]+$' <<<"$err")
go "$lamina" split "$demo" --fit "$least" -q
[ "$status" -eq 0 ] && [ "$(codec_of "$out")" = q2.10 ] && [ "$(size_of "$out")" -le "$least" ]
ok "the smallest, $least bytes, is what it says"
fails 'a byte less is not' 7 "the smallest takes $least" "$lamina" split "$demo" --fit $((least - 2))
fails '--fit of a model that is not there' 3 'gone' "$lamina" split "$scratch/gone" --fit 1MB

# Weights of more than 16 bits are not packed, but they are rounded.
make_model "$scratch/uniform" --hidden 256 --ffn 512 --layers 2 --dtype F32
go "$lamina" split "$scratch/uniform" --fit 1MB -q
[ "$status" -eq 0 ] && [ "$(size_of "$out")" -le 1000000 ]
ok 'F32 weights are rounded to fit too'

# Rounding cannot hide what is not a number.
python3 - "$scratch/uniform/model.safetensors" <<'P'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
head = struct.unpack("<Q", data[:8])[0]
tensors = json.loads(data[8:8 + head])
at = 8 + head + tensors["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0] + 4 * 700
data[at:at + 4] = struct.pack("<I", 0x7fc00001)
open(sys.argv[1], "wb").write(data)
P
fails 'NaN is not rounded' 9 'hold NaN or infinite values, which cannot be rounded to steps; split with codec planes or raw' \
    "$lamina" split "$scratch/uniform" --quant q8 -o "$scratch/nan"
[ ! -e "$scratch/nan/lamina.json" ]
ok 'and leaves no store'
finish
