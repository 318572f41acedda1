#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The link lock: rooms 0..N, linked alone as a shared object, leave no undefined symbol, for every N bottom up. So a room
# cannot lean on a room above it, not even through an undeclared extern. Also: no room holds a mutable global.
#     tools/check_links.sh BUILD_DIR
set -u
build=${1:-build}
root=$(cd "$(dirname "$0")/.." && pwd)
cc=${CC:-cc}
[ -d "$build/src" ] || { echo "check_links: $build is not a build directory" >&2; exit 2; }
libs="-lpthread -lm"
for package in libxxhash libcrypto oniguruma libutf8proc liburing; do
    libs="$libs $(pkg-config --libs "$package" 2>/dev/null)"
done
rooms=$(sed -n 's/^\([a-z]*\) *:.*/\1/p' "$root/tools/layers.txt" | grep -v -e '^app$' -e '^pure$' -e '^os$' -e '^globals$')
spared=" $(sed -n 's/^globals *: *//p' "$root/tools/layers.txt") "
faults=0 linked=0 globals=0 archives=()
out=$(mktemp) || exit 2
trap 'rm -f "$out" "$out".*' EXIT
touch "$out.said" "$out.more"

for room in $rooms; do
    own=()
    for archive in "$build/src/liblamina_$room.a" "$build/src/liblamina_${room}"_avx*.a; do
        [ -f "$archive" ] && own+=("$archive")
    done
    if [ ${#own[@]} -eq 0 ]; then
        if [ -n "$(find "$root/src/$room" -name '*.c' 2>/dev/null | head -n 1)" ]; then
            echo "room $room has sources but no library in $build"
            faults=$((faults + 1))
        fi
        continue
    fi
    archives+=("${own[@]}")
    # shellcheck disable=SC2086
    if ! $cc -shared -o "$out.so" -Wl,-z,defs -Wl,--whole-archive "${archives[@]}" -Wl,--no-whole-archive $libs 2>"$out"; then
        faults=$((faults + 1))
        echo "rooms up to $room do not link alone"
        # What a lower room lacks is missing again above it; each name is said once.
        grep -o 'undefined reference to .*' "$out" | sort -u | grep -v -x -F -f "$out.said" | tee -a "$out.more"
        cat "$out.more" >>"$out.said"
        grep -v 'undefined reference\|in function\|ld returned' "$out" | head -5
    fi
    linked=$((linked + 1))
    for archive in "${own[@]}"; do
        # Symbols of objects in .data or .bss (constant tables with relocations live in .data.rel.ro and are fine).
        objdump -t "$archive" 2>/dev/null | awk '$0 ~ / O (\.data|\.bss|\.tdata|\.tbss)[^.r]/ || $0 ~ / O \*COM\*/ {print $NF}' >"$out.objects"
        while read -r name; do
            # A static inside a function is named name.123.
            [ "${spared#* "${name%.*}" }" = "$spared" ] || continue
            echo "$(basename "$archive"): mutable global $name"
            faults=$((faults + 1)) globals=$((globals + 1))
        done <"$out.objects"
    done
done
echo "link lock: $linked rooms linked bottom up, $globals mutable globals, $faults faults"
[ "$faults" -eq 0 ] && [ "$linked" -gt 0 ]
