#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Shows lamina at work without a download: installs what is missing, builds, inflates the small model of demo/model to the
# size of a 1B model (2 GB, same text), splits it and answers a question under a memory budget many times smaller.
# The answer is all that goes to stdout; the last line on stderr says what it took. Writes only under build/.
#     DEMO_BUDGET=256MiB  the memory budget         DEMO_PRESET=1b  1b, 8b, 70b or 405b
#     arguments           another question
set -u
cd "$(dirname "$0")" || exit 1
budget=${DEMO_BUDGET:-256MiB}
preset=${DEMO_PRESET:-1b}
question=${*:-What is the capital of the United States?}
say() { echo "demo: $*" >&2; }

# Bytes of the checkpoint; the store takes as much again.
case $preset in
    1b) checkpoint_mb=2100 ;;
    8b) checkpoint_mb=16500 ;;
    70b) checkpoint_mb=142000 ;;
    405b) checkpoint_mb=815000 ;;
    *) say "DEMO_PRESET=$preset: expected 1b, 8b, 70b or 405b"; exit 2 ;;
esac

tools/install_deps.sh build || exit 1
mkdir -p build/demo || exit 6
log=build/demo/build.log
if ! { { [ -f build/build.ninja ] || meson setup build; } && ninja -C build lamina lamina-inflate; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    say "the build failed; all of it is in $log"
    exit 1
fi

model=build/demo/model-$preset
export LAMINA_HOME=$PWD/build/demo/home
source_sum=$(cat demo/model/config.json demo/model/model.safetensors demo/model/tokenizer.json | cksum)
# config.json comes last into an inflated directory, so a directory that has one is complete.
have_checkpoint=0
if [ -f "$model/config.json" ] && [ "$(cat "$model.from" 2>/dev/null)" = "$source_sum" ]; then
    have_checkpoint=1
fi
need_mb=$((checkpoint_mb * 2))
if [ "$have_checkpoint" = 1 ]; then
    need_mb=$checkpoint_mb
    [ -z "$(find "$LAMINA_HOME" -name lamina.json -newer "$model/config.json" 2>/dev/null)" ] || need_mb=0
fi
free_mb=$(($(df -Pk build/demo | awk 'NR == 2 {print $4}') / 1024))
say "needs $((need_mb / 1000)).$((need_mb % 1000 / 100)) GB of disk under build/demo, $((free_mb / 1000)) GB are free"
if [ "$free_mb" -lt "$need_mb" ]; then
    say "not enough; free some, or move the checkout to a larger drive"
    exit 6
fi
if [ "$have_checkpoint" = 0 ]; then
    rm -rf "$model" "$model.from"
    say "inflating demo/model to the shape of a $preset model"
    build/lamina-inflate demo/model "$model" --preset "$preset" >&2 || exit
    echo "$source_sum" >"$model.from"
fi
exec build/lamina run "$model" "$question" --memory "$budget" --temp 0 -n "${DEMO_TOKENS:-24}"
