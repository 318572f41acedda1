#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Storage that is slowed down: what is refused, where it cannot be done, that the drive's rate stays below the limit, and that no
# control group is left behind. Only the rate from above is asserted, nothing about how fast anything was.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
model=$root/demo/model
mkdir "$scratch/dir" "$scratch/slow:x"
cell=("$model" --codec raw --memory 32MiB --no-pin -p 0 -n 6 -r 2)
groups() { # those whose process is gone: another bench may be running
    find /sys/fs/cgroup -maxdepth 2 -name 'lamina-bench-*' 2>/dev/null | while read -r group; do
        [ -e "/proc/${group##*-}" ] || echo "$group"
    done
}

# ---- what is refused ----

for value in slow: slow:200MB slow:200MB/s/ "slow:fast/s:$scratch/dir" "slow:999KB/s:$scratch/dir" "slow:0/s"; do
    refuses "$value" 2 "lamina: --matrix storage: \"$value\" is not slow:RATE/s:DIR, like slow:200MB/s:/mnt/disk, with at least \
1MB/s; a directory of such a name can be given as ./$value" "$lamina" bench "$model" --matrix "storage=$value"
done
refuses 'a directory that is not there' 3 "lamina: --matrix storage: $scratch/none: No such file or directory" \
    "$lamina" bench "$model" --matrix "storage=slow:20MB/s:$scratch/none"
cd "$scratch" || exit 1
go "$(realpath "$OLDPWD/$lamina" 2>/dev/null || echo "$lamina")" bench "${cell[@]}" --matrix storage=./slow:x
[ "$status" -eq 0 ] && [ "$(find "$scratch/slow:x/lamina-bench" -name lamina.json | wc -l)" -eq 1 ]
ok 'a directory of such a name'
cd - >/dev/null || exit 1

# ---- where it cannot be done ----

if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] && mkdir "/dev/shm/lamina-slow-$$"; then
    go "$lamina" bench "${cell[@]}" --matrix "storage=slow:20MB/s:/dev/shm/lamina-slow-$$" --json
    rm -r "/dev/shm/lamina-slow-$$"
    [ "$status" -eq 10 ] && grep -q 'lies on tmpfs, which has no block device of its own whose reads could be slowed down' <<<"$out"
    ok 'memory is no drive: the row says why'
else
    skip 'memory is no drive' '/dev/shm is no tmpfs that can be written'
fi

# ---- that it is done ----

go "$lamina" bench "${cell[@]}" --matrix "storage=$scratch/dir,slow:20MB/s:$scratch/dir" -o "$scratch/x.json" -o "$scratch/x.html"
why=$(grep -o 'failed: .*' <<<"$out" | head -n 1 | cut -c 1-300)
rest=('the rate stays below the limit' 'a store that is there' 'Ctrl-C' 'a killed child' 'a kill' 'after a kill')
if [ "$status" -eq 10 ] && grep -Eq 'reads cannot be slowed down|has no block device' <<<"$why"; then
    for name in "${rest[@]}"; do
        skip "$name" "$why"
    done
    finish
    exit
fi
[ "$status" -eq 0 ] && [ -z "$(groups)" ] && python3 - "$scratch/x.json" <<'P'
import json, sys
fast, slow = json.load(open(sys.argv[1]))["rows"]
assert "throttle_bytes_per_s" not in fast and slow["throttle_bytes_per_s"] == 20e6 and slow["store"] == fast["store"]
assert slow["disk_limit_bytes_per_s"] <= 20e6 and slow["split"] == "unslowed" and slow["cold_start_s"] is None
assert slow["bytes_read"] > 20e6, "too little is read to tell"
for rate in slow["disk_bytes_per_s_all"]:
    assert 0 < rate <= 1.15 * 20e6, rate
P
ok "${rest[0]}"
store=$(echo "$scratch"/dir/lamina-bench/*-raw.store)
go "$lamina" bench "$store" --memory 32MiB --no-pin -p 0 -n 3 -r 1 --matrix storage=default,slow:20MB/s --json
[ "$status" -eq 0 ] && [ -z "$(groups)" ] && python3 - "$scratch/stdout" <<'P'
import json, sys
fast, slow = json.load(open(sys.argv[1]))["rows"]
assert fast["split"] == slow["split"] == "given" and slow["disk_bytes_per_s"] <= 1.15 * 20e6
P
ok "${rest[1]}"

# ---- that nothing is left ----

two=("${cell[@]}" -n 20 --matrix "storage=$scratch/dir,slow:4MB/s:$scratch/dir")
end() { # end WHO STATUS NAME: no group is left, or one after a kill
    go python3 "$root/tests/cli/lib/bench_check.py" kill "SLOW-$1" "$scratch/$1.csv.journal" "$lamina" bench "${two[@]}" -o "$scratch/$1.csv"
    [ "$status" -eq 0 ] && [ "$out" = "$2" ] && [ "$(groups | wc -l)" -eq "$([ "$1" = SIGKILL ] && echo 1 || echo 0)" ]
    ok "$3"
}
end SIGINT 130 "${rest[2]}"
end CHILD 10 "${rest[3]}"
end SIGKILL -9 "${rest[4]}"
go "$lamina" bench "$store" --memory 32MiB -p 0 -n 2 -r 1
[ "$status" -eq 0 ] && [ -z "$(groups)" ]
ok "${rest[5]}"
finish
