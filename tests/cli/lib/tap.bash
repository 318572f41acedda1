# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scripts of tests/cli share: cases as TAP, one scratch folder, one small checkpoint. Sourced, never run.
set -u
lamina=${LAMINA_PROGRAM:-build/lamina}
root=${LAMINA_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/lamina-cli.XXXXXX") || exit 1
trap 'rm -rf "$scratch"' EXIT
export LAMINA_HOME=${LAMINA_HOME:-$scratch/home}
cases=0
status=0 out='' err=''

# Runs a command with stdin from the variable `input`, keeps status, stdout, stderr. The final newline of stdout is lost.
input=''
go() {
    printf '%s' "$input" | "$@" >"$scratch/stdout" 2>"$scratch/stderr"
    status=$?
    out=$(cat "$scratch/stdout")
    err=$(cat "$scratch/stderr")
}

ok() { # ok NAME: passes when the command before succeeded
    local good=$?
    cases=$((cases + 1))
    if [ "$good" -eq 0 ]; then
        echo "ok $cases - $1"
    else
        printf '%s\n' "status $status" "stdout: ${out:0:600}" "stderr: ${err:0:600}" | sed 's/^/# /'
        echo "not ok $cases - $1"
    fi
}

skip() { # skip NAME REASON
    cases=$((cases + 1))
    echo "ok $cases - $1 # SKIP $2"
}

# refuses NAME STATUS STDERR COMMAND...: this exit status, nothing on stdout, exactly this on stderr.
refuses() {
    local name=$1 want=$2 text=$3
    shift 3
    go "$@"
    [ "$status" -eq "$want" ] && [ -z "$out" ] && [ "$err" = "$text" ]
    ok "$name"
}

# fails NAME STATUS PATTERN COMMAND...: this exit status, nothing on stdout, stderr matches the extended pattern.
fails() {
    local name=$1 want=$2 pattern=$3
    shift 3
    go "$@"
    [ "$status" -eq "$want" ] && [ -z "$out" ] && grep -Eq -- "$pattern" "$scratch/stderr"
    ok "$name"
}

# prints NAME STDOUT COMMAND...: exit 0 and exactly this on stdout.
prints() {
    local name=$1 want=$2
    shift 2
    go "$@"
    [ "$status" -eq 0 ] && [ "$out" = "$want" ]
    ok "$name"
}

make_model() { python3 "$root/tests/cli/mkmodel.py" "$@"; }
finish() { echo "1..$cases"; }
