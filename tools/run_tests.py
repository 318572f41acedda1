#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds lamina in every way it is tested, runs all tests, counts their cases.

Stages run in the order of STAGES; --only NAME[,NAME] picks some, --list names them, --fuzz-seconds N sets the length of
the search per fuzz target. Every test program speaks TAP (cmocka does when asked), and each of its cases counts as one;
a program that crashes, runs too long or prints fewer cases than it announced adds a failure. A skip is printed with its
reason. The last line is "N passed, N failed" (", N skipped"); the exit status is 0 when nothing failed and something
passed. Writes only under build/.
"""
import argparse
import concurrent.futures
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
TIMEOUT_S = 900
CORES = len(os.sched_getaffinity(0))
THREADED = re.compile(r"sys_thread|pthread|io_open|lamina_model_open|exec_open|store_split|lamina_split|dev_cpu|team_")


class Score:
    """What happened so far; one per run of this program."""

    def __init__(self):
        self.passed = 0
        self.failures = []
        self.skips = []

    def ok(self):
        self.passed += 1

    def fail(self, name, why):
        self.failures.append((name, why))
        print(f"FAILED  {name}: {why}", flush=True)

    def skip(self, name, why):
        self.skips.append((name, why))
        print(f"skipped {name}: {why}", flush=True)


SCORE = Score()


def environment(**more):
    """The environment of every test: own home, own temporary folder, no flags of the caller, nothing from the net."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("LAMINA_") or k == "LAMINA_TESTDATA"}
    if not env.get("LAMINA_TESTDATA"):
        env["LAMINA_TESTDATA"] = str(ROOT.parent / "shared" / "testdata")
    env.update(LAMINA_HOME=str(BUILD / "test-home"), TMPDIR=str(BUILD / "tmp"), CMOCKA_MESSAGE_OUTPUT="TAP",
               HF_HUB_OFFLINE="1", PYTHONDONTWRITEBYTECODE="1", LC_ALL="C.UTF-8", TERM="dumb",
               LAMINA_PROGRAM=str(BUILD / "lamina"), LAMINA_ROOT=str(ROOT))
    env.update({k: str(v) for k, v in more.items()})
    os.makedirs(env["TMPDIR"], exist_ok=True)
    return env


def run(command, timeout=TIMEOUT_S, env=None, cwd=ROOT):
    """(exit status or None for a time-out, output); kills the whole process group when time is up."""
    with subprocess.Popen(command, cwd=cwd, env=env or environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, start_new_session=True) as child:
        try:
            out, _ = child.communicate(timeout=timeout)
            status = child.returncode
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
            status = None
    return status, out.decode("utf-8", errors="replace")


def tail(text, lines=15):
    return "\n".join("        " + line for line in text.strip().splitlines()[-lines:])


def ending(status):
    if status is None:
        return "ran too long"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def count_tap(group, status, output):
    """Adds the cases of one program's output to the score."""
    planned, seen, failed, said = None, 0, 0, ""
    for line in output.splitlines():
        match = re.match(r"^(not )?ok\b\s*(\d+)?\s*-?\s*(.*)$", line)
        if re.match(r"^1\.\.\d+", line):
            planned = (planned or 0) + int(re.match(r"^1\.\.(\d+)", line).group(1))
        elif match:
            seen += 1
            text = match.group(3).strip()
            skip = re.search(r"#\s*skip\b:?\s*(.*)$", text, re.I)
            if skip:
                name = text[:skip.start()].strip(" -") or skip.group(1)
                why = skip.group(1) if text[:skip.start()].strip() else said
                SCORE.skip(f"{group}: {name}", why or "no reason given")
            elif match.group(1):
                failed += 1
                SCORE.fail(f"{group}: {text}", said or "see the output below")
            else:
                SCORE.ok()
            said = ""
        elif line.strip() and not line.startswith("# "):
            said = line.strip()
    if planned is not None and seen < planned:
        SCORE.fail(group, f"announced {planned} cases, ran {seen}; {ending(status)}")
        failed += 1
    if seen == 0 and planned != 0:
        SCORE.fail(group, f"no test case ran; {ending(status)}")
        failed += 1
    elif status != 0 and failed == 0:
        SCORE.fail(group, ending(status))
        failed += 1
    if failed:
        print(tail(output, 40), flush=True)


def run_tap(jobs, workers=CORES):
    """jobs: (group name, command, environment). Programs run side by side, results are counted in order."""
    def timed(command, env):
        began = time.monotonic()
        return (*run(command, TIMEOUT_S, env), time.monotonic() - began)

    with concurrent.futures.ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [(group, pool.submit(timed, command, env)) for group, command, env in jobs]
        for group, future in futures:
            status, output, took = future.result()
            count_tap(group, status, output)
            if took > TIMEOUT_S / 4:
                print(f"        {group}: {took:.0f} s of {TIMEOUT_S}", flush=True)


def check(name, command, timeout=TIMEOUT_S, env=None):
    """One case: the command succeeds."""
    status, output = run(command, timeout, env)
    if status == 0:
        SCORE.ok()
        last = output.strip().splitlines()[-1] if output.strip() else "done"
        print(f"        {name}: {last}", flush=True)
        return True
    SCORE.fail(name, ending(status))
    print(tail(output, 40), flush=True)
    return False


def meson_build(name, folder, options, env=None):
    """Configures (once) and builds; one case. Options change only through a fresh folder."""
    path = ROOT / folder
    stamp = path / "options.txt"
    wanted = " ".join(options) + " " + (env or {}).get("CC", "")
    env = environment(**(env or {}))
    if (path / "build.ninja").exists() and (not stamp.exists() or stamp.read_text() != wanted):
        status, output = run(["meson", "setup", "--wipe", str(path), *options], env=env)
    elif not (path / "build.ninja").exists():
        status, output = run(["meson", "setup", str(path), *options], env=env)
    else:
        status, output = 0, ""
    if status != 0:
        SCORE.fail(name, "meson setup: " + ending(status))
        print(tail(output, 30), flush=True)
        return False
    stamp.write_text(wanted)
    status, output = run(["ninja", "-C", str(path)], timeout=1500, env=env)
    if status != 0:
        SCORE.fail(name, "build: " + ending(status))
        print(tail(re.sub(r"(?m)^\[\d+/\d+\].*\n", "", output), 40), flush=True)
        return False
    SCORE.ok()
    return True


# ---- stages ----------------------------------------------------------------------------------------------------------

def stage_build(_):
    return meson_build("build: gcc, warnings are errors", "build", ["-Dwerror=true"])


def stage_locks(_):
    check("include lock", ["python3", "tools/check_layers.py"])
    if (BUILD / "src").is_dir():
        check("link lock", ["bash", "tools/check_links.sh", "build"])
        check("exports of the library", ["bash", "tools/check_exports.sh", "build"])


def unit_tests(folder):
    return sorted(p for p in glob.glob(str(ROOT / folder / "tests" / "test_*")) if os.access(p, os.X_OK) and os.path.isfile(p))


def run_units(folder, label, env=None, chosen=None):
    programs = [p for p in unit_tests(folder) if chosen is None or os.path.basename(p) in chosen]
    if not programs:
        SCORE.fail(label, "no unit test was built")
        return
    run_tap([(f"{label}/{os.path.basename(p)}", [p], environment(**(env or {}))) for p in programs])


def stage_kcheck(_):
    program = BUILD / "kcheck"
    if not program.exists():
        SCORE.fail("kcheck", "was not built")
        return
    status, output = run([str(program)], env=environment())
    count_kcheck("kcheck", status, output)


def count_kcheck(group, status, output):
    """One case per level: lines like "avx2   1234 passed    0 failed". Levels of other machines are other stages' work."""
    failed, seen = 0, 0
    for line in output.splitlines():
        match = re.match(r"^(\S.*?)\s+(\d+) passed\s+(\d+) failed", line)
        if match:
            seen += 1
            if match.group(3) != "0" or match.group(2) == "0":
                failed += 1
                SCORE.fail(f"{group}: {match.group(1)}", f"{match.group(3)} of {match.group(2)} comparisons differ")
            else:
                SCORE.ok()
    if seen == 0 or (status != 0 and failed == 0):
        SCORE.fail(group, "no kernel was compared" if seen == 0 else ending(status))
        failed += 1
    if failed:
        print(tail(output, 40), flush=True)
    else:
        print(f"        {group}: {output.strip().splitlines()[-1]}", flush=True)


def stage_unit(_):
    run_units("build", "unit")


SANITIZER_ENV = {
    # gcc 12 aligns the fake frames of detect_stack_use_after_return to 32 bytes only: vectors of 64 bytes then fault.
    "ASAN_OPTIONS": "abort_on_error=0:exitcode=99:detect_stack_use_after_return=0:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "exitcode=98:halt_on_error=0:second_deadlock_stack=1",
}


def stage_asan(_):
    options = ["-Dwerror=true", "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Db_pie=true", "-Doptimization=1"]
    if meson_build("build: address and undefined behaviour sanitizers", "build/asan", options):
        run_units("build/asan", "asan", SANITIZER_ENV)
        corpora = ROOT / "tests" / "fuzz" / "corpus"
        for program in sorted(glob.glob(str(BUILD / "asan" / "tests" / "fuzz_*"))):
            if os.path.isfile(program) and os.access(program, os.X_OK):
                name = os.path.basename(program)
                corpus = corpora / name[len("fuzz_"):]
                arguments = [str(corpus)] if corpus.is_dir() else []
                check(f"fuzz regression {name}", [program, *arguments], env=environment(**SANITIZER_ENV))


def stage_tsan(_):
    """Only tests whose source shows threads; the others would prove nothing here."""
    chosen = {p.stem for p in (ROOT / "tests" / "unit").glob("test_*.c") if THREADED.search(p.read_text())}
    options = ["-Dwerror=true", "-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1"]
    if chosen and meson_build("build: thread sanitizer", "build/tsan", options):
        run_units("build/tsan", "tsan", SANITIZER_ENV, chosen)


def stage_cli(_):
    program = BUILD / "lamina"
    if not program.exists():
        SCORE.fail("cli", "build/lamina was not built")
        return
    scripts = sorted((ROOT / "tests" / "cli").glob("*.sh"))
    # One home each, so that scripts do not meet in a store.
    run_tap([(f"cli/{s.stem}", ["bash", str(s)], environment(LAMINA_HOME=BUILD / "test-home" / s.stem)) for s in scripts])


def stage_python(_):
    """Programs in Python that speak TAP: the oracle comparison, the independent store decoder, and the like."""
    env = environment()
    jobs = []
    for script in sorted((ROOT / "tests").glob("*/run_*.py")):
        jobs.append((f"{script.parent.name}/{script.stem}", ["python3", str(script), env["LAMINA_PROGRAM"],
                                                             env["LAMINA_TESTDATA"]], env))
    for script in sorted((ROOT / "tests").glob("*/test_*.py")):
        jobs.append((f"{script.parent.name}/{script.stem}", ["python3", str(script)], env))
    run_tap(jobs)


def stage_clang(args):
    """Every source under clang's warnings, as libFuzzer programs; then a short search per target."""
    clang = shutil.which("clang")
    if clang is None:
        SCORE.skip("build: clang", "clang is not installed")
        return
    probe = BUILD / "tmp" / "probe.c"
    environment()
    probe.write_text("int LLVMFuzzerTestOneInput(const unsigned char *d, unsigned long n) { return (int)(n * 0 + (d == 0) * 0); }\n")
    status, _ = run([clang, "-fsanitize=fuzzer,address", str(probe), "-o", str(probe.with_suffix(""))])
    if status != 0:
        SCORE.skip("libFuzzer", "clang has no libFuzzer runtime here")
        meson_build("build: clang, warnings are errors", "build/clang", ["-Dwerror=true", "-Dtests=disabled"], {"CC": "clang"})
        return
    options = ["-Dwerror=true", "-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=1"]
    if not meson_build("build: clang, libFuzzer, warnings are errors", "build/fuzz", options, {"CC": "clang"}):
        return
    targets = sorted(p for p in glob.glob(str(BUILD / "fuzz" / "tests" / "fuzz_*")) if os.path.isfile(p) and os.access(p, os.X_OK))
    with concurrent.futures.ThreadPoolExecutor(max_workers=CORES) as pool:
        for name, status, output in pool.map(lambda t: search(t, args.fuzz_seconds), targets):
            if status == 0:
                SCORE.ok()
            else:
                SCORE.fail(f"fuzz {name}", ending(status))
                print(tail(output, 40), flush=True)


def search(target, seconds):
    name = os.path.basename(target)
    found = BUILD / "fuzz" / "found" / name
    found.mkdir(parents=True, exist_ok=True)
    corpus = ROOT / "tests" / "fuzz" / "corpus" / name[len("fuzz_"):]
    places = [str(found)] + ([str(corpus)] if corpus.is_dir() else [])
    command = [target, f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=0",
               f"-artifact_prefix={found}/crash-", *places]
    status, output = run(command, timeout=seconds + 120, env=environment(**SANITIZER_ENV))
    return name, status, output


AARCH64_FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wall",
                 "-Wextra", "-Werror", "-Isrc", "-Iinclude"]
# Rooms that need no third-party library, and the files of api and cli that `lamina logits` consists of.
ENGINE_SOURCES = [f"src/{room}/*.c" for room in ("base", "sys", "io", "kern", "kern/ref", "kern/arm", "codec", "codec/arm", "model",
                                                 "format", "dev", "store", "state", "plan", "exec", "gen")]
ENGINE_SOURCES += [f"src/api/{name}.c" for name in ("machine", "model", "prepare")]
ENGINE_SOURCES += [f"src/app/cli/{name}.c" for name in ("cmd_logits", "input", "live", "options", "progress", "report", "settings",
                                                        "signals", "terminal")]
ENGINE_SOURCES += ["tests/qemu/*.c"]


def stage_aarch64(_):
    """The other architecture, under emulation: every kernel against its definition, then the whole engine."""
    cross, qemu = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64-static")
    if not cross or not qemu:
        for name in ("kcheck on aarch64", "engine on aarch64"):
            SCORE.skip(name, "needs aarch64-linux-gnu-gcc and qemu-aarch64-static")
        return
    out = BUILD / "aarch64"
    out.mkdir(parents=True, exist_ok=True)
    aarch64_kernels(cross, qemu, out)
    aarch64_engine(cross, qemu, out)


def aarch64_kernels(cross, qemu, out):
    sources = sorted(str(p) for p in (ROOT / "tests" / "kcheck").glob("*.c"))
    for room in ("sys", "kern", "codec"):
        sources += sorted(str(p) for p in (ROOT / "src" / room).rglob("*.c") if "/x86/" not in str(p))
    sources += [str(p) for p in (ROOT / "src" / "base").glob("*.c") if p.name != "hash.c"]
    if check("build: kcheck for aarch64",
             [cross, *AARCH64_FLAGS, "-static", *sources, "-o", str(out / "kcheck"), "-lpthread", "-lm"]):
        status, output = run(["timeout", "-s", "KILL", "900", qemu, str(out / "kcheck")], timeout=910)
        count_kcheck("kcheck-aarch64", status, output)


def aarch64_engine(cross, qemu, out):
    """`lamina logits` of small stores there and here (scalar: the definition): the same JSON, byte for byte."""
    status, folder = run(["pkg-config", "--variable=includedir", "libxxhash"])
    header = pathlib.Path(folder.strip() or "/usr/include") / "xxhash.h"
    if status != 0 or not header.exists():
        SCORE.skip("engine on aarch64", "needs the header xxhash.h, which serves any processor")
        return
    if not (BUILD / "lamina").exists():
        SCORE.fail("engine on aarch64", "build/lamina, to compare with, was not built")
        return
    shutil.copy(header, out)
    # The header alone is the whole of xxHash when asked so; tests/qemu/openssl says that there is no SHA-256.
    flags = [*AARCH64_FLAGS, "-DXXH_INLINE_ALL", "-Itests/qemu", f"-I{out}", "-ffunction-sections", "-fdata-sections"]
    sources = sorted(p for pattern in ENGINE_SOURCES for p in glob.glob(str(ROOT / pattern)))
    if not check("build: engine for aarch64", [cross, *flags, "-static", "-Wl,--gc-sections", *sources, "-o",
                                               str(out / "engine"), "-lpthread", "-lm"]):
        return
    models = [ROOT / "demo" / "model", pathlib.Path(environment()["LAMINA_TESTDATA"]) / "oracle" / "llama-gqa-llama3"]
    for model, codec in [(models[0], "planes"), *((model, "raw") for model in models)]:
        name = f"engine on aarch64: logits of {model.name}, {codec}"
        if model.is_dir():
            same_logits(name, qemu, out, model, codec)
        else:
            SCORE.skip(name, f"{model} is not there")


def same_logits(name, qemu, out, model, codec):
    vocab = json.loads((model / "config.json").read_text())["vocab_size"]
    ids = ",".join(str((7 * i + 1) % vocab) for i in range(70))
    store = out / f"{model.name}.{codec}"
    shutil.rmtree(store, ignore_errors=True)
    logits = [str(store), "--ids", ids, "-n", "6", "--json", "--memory", "1GiB", "--quiet"]
    here = [str(BUILD / "lamina"), "logits", *logits, "--isa", "scalar"]
    there = ["timeout", "-s", "KILL", "120", qemu, str(out / "engine"), *logits, "--no-pin", "--threads", "2",
             "--report", str(out / "report.json")]
    outputs = []
    for command in ([str(BUILD / "lamina"), "split", str(model), "-o", str(store), "--codec", codec, "--quiet"], here,
                    there):
        status, output = run(command)
        if status != 0:
            SCORE.fail(name, f"{' '.join(command[:5])} ...: {ending(status)}")
            print(tail(output), flush=True)
            return
        outputs.append(output)
    isa = json.loads((out / "report.json").read_text())["isa"]
    if isa != "neon":
        SCORE.fail(name, f"it computed with {isa}, neon was expected")
    elif outputs[1] != outputs[2] or '"logits_last"' not in outputs[1]:
        SCORE.fail(name, "the JSON differs from that of the scalar kernels here")
    else:
        SCORE.ok()
        print(f"        {name}: {len(outputs[1])} bytes of JSON are equal", flush=True)


def stage_unprivileged(_):
    """What an ordinary user in a container meets: no root, 64 KiB of lockable memory."""
    name = "as an unprivileged user"
    if os.geteuid() != 0:
        SCORE.skip(name, "needs root to become somebody else")
        return
    if not shutil.which("setpriv") or not shutil.which("prlimit"):
        SCORE.skip(name, "needs setpriv and prlimit")
        return
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
              "prlimit", "--memlock=65536:65536"]
    home = BUILD / "nobody"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    os.chown(home, 65534, 65534)
    status, output = run([*become, "sh", "-c", f"test -r {ROOT}/meson.build && touch {home}/probe"])
    if status != 0:
        SCORE.skip(name, "the checkout is not readable for another user")
        return
    env = environment(TMPDIR=home, LAMINA_HOME=home / "home", HOME=home)
    jobs = [(f"nobody/{os.path.basename(p)}", [*become, p], env) for p in unit_tests("build")
            if THREADED.search((ROOT / "tests" / "unit" / (os.path.basename(p) + ".c")).read_text())
            or "_sys_" in os.path.basename(p) or "_io" in os.path.basename(p)]
    for script in sorted((ROOT / "tests" / "cli").glob("*.sh")):
        own = environment(TMPDIR=home, LAMINA_HOME=home / f"home-{script.stem}", HOME=home)
        jobs.append((f"nobody/{script.stem}", [*become, "bash", str(script)], own))
    run_tap(jobs, workers=1)  # the memlock limit counts per user, not per process


STAGES = {
    "build": stage_build,
    "locks": stage_locks,
    "unit": stage_unit,
    "kcheck": stage_kcheck,
    "cli": stage_cli,
    "python": stage_python,
    "unprivileged": stage_unprivileged,
    "asan": stage_asan,
    "tsan": stage_tsan,
    "clang": stage_clang,
    "aarch64": stage_aarch64,
}


def main():
    parser = argparse.ArgumentParser(description="builds and runs all tests")
    parser.add_argument("--only", help="stages, comma separated")
    parser.add_argument("--list", action="store_true", help="name the stages")
    parser.add_argument("--fuzz-seconds", type=int, default=15, help="search per fuzz target (default 15)")
    args = parser.parse_args()
    if args.list:
        print("\n".join(STAGES))
        return 0
    chosen = args.only.split(",") if args.only else list(STAGES)
    unknown = [s for s in chosen if s not in STAGES]
    if unknown:
        parser.error(f"no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
    BUILD.mkdir(exist_ok=True)
    shutil.rmtree(BUILD / "test-home", ignore_errors=True)
    shutil.rmtree(BUILD / "tmp", ignore_errors=True)
    for name in chosen:
        begin = time.monotonic()
        before = SCORE.passed
        try:
            STAGES[name](args)
        except Exception as error:  # a broken stage is a failed test, not the end of the others
            SCORE.fail(f"stage {name}", f"{type(error).__name__}: {error}")
        print(f"{name:14} {SCORE.passed - before:5} passed in {time.monotonic() - begin:6.1f} s", flush=True)
    if SCORE.failures:
        print("\nfailed:")
        for name, why in SCORE.failures:
            print(f"  {name}: {why}")
    if SCORE.skips:
        print("\nskipped:")
        for name, why in SCORE.skips:
            print(f"  {name}: {why}")
    skipped = f", {len(SCORE.skips)} skipped" if SCORE.skips else ""
    print(f"\n{SCORE.passed} passed, {len(SCORE.failures)} failed{skipped}")
    return 0 if not SCORE.failures and SCORE.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
