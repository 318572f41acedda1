#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Ctrl-C once ends the run and keeps the text; twice ends the process at once. SIGTERM likewise, with its own status.
# shellcheck source=tests/cli/lib/tap.bash
. "$(dirname "$0")/lib/tap.bash"
make_model "$scratch/model" --tokenizer
go "$lamina" split "$scratch/model" -o "$scratch/store" -q
[ "$status" -eq 0 ]
ok 'a store to run'

# The simulated drive is slow, so that the run lasts for minutes unless it is stopped.
slow='--io sim --sim latency_us=30000 --no-pin --no-read-ahead -n 900 --ignore-eos --temp 0'

interrupt() { # interrupt SIGNAL TIMES
    # A shell's background jobs ignore SIGINT; Python hands the program its default.
    python3 - "$1" "$2" "$scratch" "$lamina" run "$scratch/store" Hi $slow <<'P'
import signal, subprocess, sys, time
number, times, scratch, command = getattr(signal, sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open(scratch + "/stdout", "wb") as out, open(scratch + "/stderr", "wb") as err:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and child.poll() is None and not open(scratch + "/stdout", "rb").read():
        time.sleep(0.02)
    for _ in range(times):
        if child.poll() is None:
            child.send_signal(number)
        time.sleep(0.002)
    try:
        sys.exit(child.wait(30) % 256)
    except subprocess.TimeoutExpired:
        child.kill()
        sys.exit(99)
P
    status=$?
    out=$(cat "$scratch/stdout")
    err=$(cat "$scratch/stderr")
}

interrupt SIGINT 1
[ "$status" -eq 130 ] && [ -n "$out" ] && grep -q 'stopped by you' <<<"$err"
ok 'Ctrl-C once keeps the text and says what the run took'
interrupt SIGTERM 1
[ "$status" -eq 143 ] && [ -n "$out" ]
ok 'SIGTERM once'
interrupt SIGINT 2
[ "$status" -eq 130 ] && [ -n "$out" ]
ok 'Ctrl-C twice'
go "$lamina" verify "$scratch/store"
[ "$status" -eq 0 ]
ok 'the store is whole afterwards'
finish
