#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `meson install` puts where, and that it works from there: program, library, header, pkg-config, manual pages, completion.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"

export LAMINA_HOME=$scratch/home # what ls shows is then known
build=$(cd "$(dirname "$lamina")" && pwd)
if [ ! -f "$build/build.ninja" ] || [ ! -w "$build/meson-logs" ] || ! command -v meson >/dev/null 2>&1; then
    skip 'installation' "$build is no build folder that one may write to, or meson is missing"
    finish
    exit 0
fi
dest=$scratch/dest
go env DESTDIR="$dest" meson install -C "$build" --no-rebuild
[ "$status" -eq 0 ]
ok 'meson install'
prefix=$(meson introspect "$build" --buildoptions |
    python3 -c 'import json, sys; print({o["name"]: o["value"] for o in json.load(sys.stdin)}["prefix"])')
top=$dest$prefix
lib=$(dirname "$(find "$top" -name lamina.pc | head -n 1)")/..
man=$(dirname "$(find "$top" -name lamina.1 | head -n 1)")
for file in "$top/bin/lamina" "$top/bin/lamina-inflate" "$top/include/lamina/lamina.h" "$top/include/lamina/status.h" \
    "$lib/liblamina.so" "$lib/liblamina.so.0" "$lib/pkgconfig/lamina.pc" "$top/share/man/man1/lamina.1" \
    "$top/share/bash-completion/completions/lamina" "$top/share/zsh/site-functions/_lamina" \
    "$top/share/fish/vendor_completions.d/lamina.fish"; do
    [ -s "$file" ]
    ok "${file#"$top/"} is installed"
done
stray=$(cd "$top" && find . -type f -o -type l | grep -Ev '^\./(bin/lamina(-inflate)?|include/lamina/[a-z]+\.h|lib.*/(liblamina\.so[.0-9]*|pkgconfig/lamina\.pc)|share/man/man1/lamina[a-z-]*\.1|share/(bash-completion/completions|zsh/site-functions|fish/vendor_completions\.d)/_?lamina(\.fish)?)$')
out=$stray
[ -z "$stray" ]
ok 'and nothing else'
prints 'the installed program runs' 'lamina 0.1.0' "$top/bin/lamina" version

# ---- the library for others ----
if command -v cc >/dev/null 2>&1 && command -v pkg-config >/dev/null 2>&1 && ! nm -D "$lib/liblamina.so" 2>/dev/null | grep -q __asan_; then
    export PKG_CONFIG_LIBDIR=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$dest
    # shellcheck disable=SC2046
    go cc -o "$scratch/ask" "$root/examples/ask.c" $(pkg-config --cflags --libs lamina)
    [ "$status" -eq 0 ]
    ok 'a program is built by pkg-config alone'
    unset PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR
    go env LD_LIBRARY_PATH="$lib" ldd "$scratch/ask"
    [ "$status" -eq 0 ] && grep -q "liblamina.so.0 => $dest" <<<"$out" && ! grep -q 'not found' <<<"$out"
    ok 'and finds the installed library'
else
    skip 'a program is built by pkg-config alone' 'no cc, no pkg-config, or the library is instrumented'
fi

# ---- manual pages ----
commands=$("$lamina" --help | sed -n 's/^  \([a-z-]*\) .*/\1/p')
missing='' words=''
for command in $commands; do
    page=$man/lamina-$command.1
    [ -s "$page" ] || { missing="$missing $command"; continue; }
    flags=$("$lamina" "$command" --help | grep -oE '^ +(-[a-z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+')
    for flag in $flags; do
        grep -qF -- "\\fB${flag//-/\\-}\\fR" "$page" || words="$words $command:$flag"
    done
done
out="$missing$words"
[ -n "$commands" ] && [ -z "$missing$words" ]
ok 'every command has a page, and each page its options'
[ "$(find "$man" -name '*.1' | wc -l)" -eq $((1 + $(wc -w <<<"$commands"))) ]
ok 'there is no page of something else'
wrong=''
for code in 0 1 2 3 4 5 6 7 8 9 10 11 12 75 130 143; do
    grep -q "^.fB$code.fR$" "$man/lamina.1" || wrong="$wrong $code"
    grep -q "^.fB$code.fR$" "$man/lamina-run.1" || wrong="$wrong run:$code"
done
for name in LAMINA_HOME HF_TOKEN HF_HUB_CACHE NO_COLOR OMP_NUM_THREADS; do
    grep -qF "$name" "$man/lamina.1" || wrong="$wrong $name"
done
grep -q 'LAMINA_CTX_SIZE' "$man/lamina-run.1" || wrong="$wrong LAMINA_CTX_SIZE"
out=$wrong
[ -z "$wrong" ]
ok 'exit codes and the environment stand in the pages'

lint() { # lint NAME COMMAND...: says nothing about any page
    local name=$1 page
    shift
    out=''
    for page in "$man"/*.1; do
        out="$out$("$@" "$page" 2>&1 | grep -v 'missing date, using')"
    done
    [ -z "$out" ]
    ok "$name has nothing to say about the pages"
}
checked=''
command -v mandoc >/dev/null 2>&1 && lint mandoc mandoc -Tlint -Wwarning && checked=1
command -v groff >/dev/null 2>&1 && groff -man -Tutf8 -z /dev/null 2>/dev/null && lint groff groff -man -Tutf8 -ww -z && checked=1
[ -n "$checked" ] || skip 'the pages are formatted' 'neither mandoc nor groff is here'

# ---- completion ----
mkdir -p "$LAMINA_HOME/kept" "$scratch/there/sub dir" "$scratch/hub/models--org--demo/snapshots/1" "$scratch/hub/models--org--demo/refs"
echo '{}' >"$LAMINA_HOME/kept/lamina.json"
: >"$scratch/there/text.txt"
cat >"$scratch/complete.bash" <<'EOF'
# complete.bash SCRIPT WORD...: what is proposed in the place of the last word
. "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
compopt() { :; }
_lamina
printf '%s\n' "${COMPREPLY[@]}"
EOF
proposes() { # proposes NAME EXPECTED WORD...: exactly these, sorted, blank separated
    local name=$1 want=$2
    shift 2
    go env -C "$scratch/there" HF_HUB_CACHE="$scratch/hub" bash "$scratch/complete.bash" "$top/share/bash-completion/completions/lamina" \
        "$top/bin/lamina" "$@"
    out=$(sort <<<"$out" | tr '\n' ' ')
    [ "$status" -eq 0 ] && [ -z "$err" ] && [ "$out" = "$want " ]
    ok "completion: $name"
}
proposes 'commands by their beginning' 'verify version' ver
proposes 'options of a command' '--temp --temperature' run --tem
proposes 'no option of another command' '' plan --tem
proposes 'values' 'f16 f32' run --kv f
proposes 'values behind =' 'threads' run --io = th
proposes 'nothing typed behind =' 'auto sim threads uring' run --io =
proposes 'codecs' 'planes raw' split --codec ''
proposes 'rates' 'q4 q8' split --quant q
proposes 'files where a file is wanted' 'text.txt' run m -f te
proposes 'directories alone where a directory is wanted' 'sub dir' plan m --home ''
proposes 'models of the hub' 'org/demo' run o
proposes 'stores' "$LAMINA_HOME/kept" run "$LAMINA_HOME/k"
proposes 'files in the place of the model' 'text.txt' run te
proposes 'the second place behind options' 'text.txt' ppl --memory 1GiB org/demo te
proposes 'nothing where text is free' '' run org/demo ''
proposes 'shells' 'bash fish zsh' completion ''
proposes 'commands behind help' 'plan ppl ps pull' help p
prints 'ls -q: names alone' "$LAMINA_HOME/kept" env HF_HUB_CACHE="$scratch/nohub" "$lamina" ls -q
for shell in bash zsh fish; do
    file=$(find "$top/share" \( -path '*bash-completion*' -o -path '*zsh*' -o -path '*fish*' \) -type f | grep "$shell")
    "$lamina" completion "$shell" | cmp -s - "$file"
    ok "lamina completion $shell prints what is installed"
done
if command -v zsh >/dev/null 2>&1; then
    go zsh -f -c "fpath=($top/share/zsh/site-functions \$fpath); autoload -Uz compinit; compinit -u -D; (( \$+functions[_lamina] )) && print ok"
    [ "$out" = ok ]
    ok 'zsh finds its completion'
fi
if command -v fish >/dev/null 2>&1; then
    go env HOME="$scratch" fish --no-config -c "source $top/share/fish/vendor_completions.d/lamina.fish; complete -C 'lamina run m --kv '"
    [ "$(cut -f 1 <<<"$out" | tr '\n' ' ')" = 'f16 f32 ' ]
    ok 'fish proposes values'
fi

# ---- --json, -q, NO_COLOR ----
wrong=''
for command in $commands; do
    "$lamina" "$command" --help | grep -q -- '--quiet' || wrong="$wrong $command:quiet"
    [ "$command" = completion ] || "$lamina" "$command" --help | grep -q -- '--json' || wrong="$wrong $command:json"
done
out=$wrong
[ -z "$wrong" ]
ok 'every command knows -q, and all that print figures or text --json'
make_model "$scratch/model" --tokenizer --layers 2
input='[{"role":"user","content":"a \"b\""}]'
go "$lamina" template "$scratch/model" --json
[ "$status" -eq 0 ] && python3 -c 'import json, sys; assert "a \"b\"" in json.loads(sys.argv[1])["prompt"]' "$out" 2>"$scratch/stderr"
ok 'template --json'
input='abc'
go "$lamina" tokenize "$scratch/model" --no-special
input=$out
go "$lamina" detokenize "$scratch/model" --json
[ "$status" -eq 0 ] && python3 -c 'import json, sys; assert json.loads(sys.argv[1]) == {"text": "abc"}, sys.argv' "$out" 2>"$scratch/stderr"
ok 'detokenize --json'
input=''
for command in "run $scratch/model abc -n 2" "plan $scratch/model" "verify $scratch/model" "split $scratch/model" "show $scratch/model" \
    "families $scratch/model" doctor ls version "logits $scratch/model --ids 1,2"; do
    # shellcheck disable=SC2086
    go "$lamina" $command --json -q
    [ "$status" -eq 0 ] && [ -z "$err" ] && python3 -c 'import json, sys; json.loads(sys.argv[1])' "$out" 2>"$scratch/stderr"
    ok "${command%% *} --json -q: one JSON value, and nothing on stderr"
done
esc=$(printf '\033')
go env CLICOLOR_FORCE=1 "$lamina" run "$scratch/none" x
grep -q "$esc" <<<"$err"
ok 'CLICOLOR_FORCE colours what is wrong'
go env CLICOLOR_FORCE=1 NO_COLOR=1 "$lamina" run "$scratch/none" x
[ "$status" -eq 3 ] && [ -n "$err" ] && ! grep -q "$esc" <<<"$err"
ok 'NO_COLOR is stronger'
go env NO_COLOR=1 "$lamina" run "$scratch/none" x --color always
grep -q "$esc" <<<"$err"
ok '--color always is stronger still'
if command -v script >/dev/null 2>&1; then
    out=$(NO_COLOR=1 TERM=xterm script -qec "'$lamina' run '$scratch/none' x" /dev/null </dev/null)
    [ -n "$out" ] && ! grep -q "$esc\\[[0-9;]*m" <<<"$out"
    ok 'NO_COLOR on a terminal'
fi

# ---- doctor ----
go "$lamina" doctor "$scratch/none"
[ "$status" -eq 3 ]
ok 'doctor of what is not there'
go env LAMINA_ISA=scalar "$lamina" doctor --json -q
[ "$status" -eq 0 ] && python3 - "$out" 2>"$scratch/stderr" <<'EOF'
import json, sys
d = json.loads(sys.argv[1])
words = ("set ", "raise", "lamina ", "apt-get", "echo ", "leave ", "end ")
for advice in d["advice"]:
    assert any(word in advice for word in words), "no step: " + advice
assert "memory_limit_bytes" in d and isinstance(d["advice"], list)
EOF
ok 'doctor names a step for each thing it finds'
finish
