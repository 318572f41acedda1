#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The shared library shows exactly the functions that include/lamina declares with LAMINA_API, no more and no fewer.
#     tools/check_exports.sh BUILD_DIR
set -u
build=${1:-build}
root=$(cd "$(dirname "$0")/.." && pwd)
library=$build/liblamina.so
[ -e "$library" ] || { echo "check_exports: $library is missing" >&2; exit 2; }
declared=$(cat "$root"/include/lamina/*.h | tr '\n' ' ' | grep -o 'LAMINA_API [^;(]*(' | grep -o 'lamina_[a-z_0-9]*(' | tr -d '(' | sort)
exported=$(nm -D --defined-only "$library" | awk '{print $3}' | sort)
missing=$(comm -23 <(echo "$declared") <(echo "$exported"))
extra=$(comm -13 <(echo "$declared") <(echo "$exported"))
# shellcheck disable=SC2086 # one word per name is the point
[ -z "$missing" ] || printf 'declared but not exported: %s\n' $missing
# shellcheck disable=SC2086
[ -z "$extra" ] || printf 'exported but not declared: %s\n' $extra
echo "exports: $(echo "$exported" | wc -l) functions"
[ -z "$missing$extra" ]
