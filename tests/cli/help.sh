#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Help goes to stdout with exit 0 and names every command, every flag it takes, and every exit code.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"

commands='run chat serve pull split plan verify show ls rm ps bench families doctor logits ppl kl tokenize detokenize template completion
    version'
flags_run='model prompt file memory predict ctx-size temp top-k top-p min-p repeat-penalty seed stop ignore-eos raw kv numerics
    chat-template threads prompt-rows io sim isa no-read-ahead no-pin report profile home json color quiet verbose help'
flags_serve='memory ctx-size parallel host port uds api-key alias allowed-host cors-origin max-connections queue keep-alive hold-open
    grace kv threads chat-template home quiet'
flags_chat='model system session predict ctx-size memory temp top-k top-p min-p repeat-penalty seed stop ignore-eos kv chat-template
    chat-template-kwargs threads prompt-rows io isa no-read-ahead no-pin home json color quiet verbose help'
flags_logits='ids predict ctx-size kv memory numerics threads json report isa io'
flags_ppl='memory ctx-size chunks kv numerics threads prompt-rows io isa json report home quiet'
flags_kl='reference save memory ctx-size chunks kv numerics threads prompt-rows io isa json report home quiet'
flags_plan='memory ctx-size json kv threads'
flags_split='output codec quant fit delete-original home json'
flags_verify='source home json'
flags_show='home json'
flags_pull='revision include exclude dry-run connections piece stream codec quant home json quiet'
flags_ls='home json quiet'
flags_rm='dry-run home json quiet'
flags_ps='home json quiet'
flags_bench='matrix tasks text chunks raw n-prompt predict repeats output format keep-stores min-gain max-loss again memory threads codec
    no-read-ahead io kv chat-template home json'
flags_families='json color quiet verbose help'
flags_doctor='again home json'
flags_tokenize='no-special json'
flags_detokenize='skip-special'
flags_template='no-generation-prompt tools chat-template chat-template-kwargs'
flags_completion='help'
flags_version='json'

go "$lamina" --help
whole=$out
for command in $commands; do
    grep -q "^  $command " <<<"$whole"
    ok "help names $command"
done
for code in 0 1 2 3 6 7 8 9 10 11 75 130; do
    grep -Eq "^ +$code  [a-z]" <<<"$whole"
    ok "help names exit code $code"
done
for command in $commands; do
    go "$lamina" "$command" --help
    flags=flags_$command
    missing=
    for flag in ${!flags}; do
        grep -Eq -- "--$flag([ ,]|\$)" <<<"$out" || missing="$missing $flag"
    done
    [ "$status" -eq 0 ] && [ -z "$missing" ] && [ -z "$err" ]
    ok "help of $command names its flags$missing"
    help=$out
    go "$lamina" help "$command"
    [ "$status" -eq 0 ] && [ "$out" = "$help" ]
    ok "lamina help $command says the same"
    # Every flag that help names is one the parser takes: a value that is missing is another error than an unknown flag.
    unknown=
    for flag in $(grep -oE '^ +(-[a-z], )?--[a-z-]+' <<<"$help" | grep -oE -- '--[a-z-]+'); do
        go "$lamina" "$command" "$flag"
        [ "$status" -lt 100 ] && ! grep -q 'is not an option' <<<"$err" || unknown="$unknown $flag"
    done
    [ -n "$help" ] && [ -z "$unknown" ]
    ok "flags of $command are known to it$unknown"
done
! grep -q bench-cell <<<"$whole"
ok "help leaves out what is part of another command"
for shell in bash zsh fish; do
    go "$lamina" completion "$shell"
    [ "$status" -eq 0 ] && grep -q memory <<<"$out" && grep -q tokenize <<<"$out" && ! grep -q bench-cell <<<"$out"
    ok "completion for $shell"
    if command -v "$shell" >/dev/null 2>&1; then
        printf '%s\n' "$out" >"$scratch/completion"
        [ -n "$out" ] && "$shell" -n "$scratch/completion" 2>"$scratch/stderr"
        ok "$shell takes it"
    fi
done
go "$lamina" version
[ "$status" -eq 0 ] && [ "$out" = 'lamina 0.1.0' ]
ok 'version'
finish
