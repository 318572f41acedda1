#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""lamina chat as a person has it: on a terminal. TAP on stdout.

usage: run_chat.py LAMINA [TESTDATA, not needed]

The program runs on a pseudo-terminal whose screen is looked at (screen.py). Answers are compared with those that the same messages
get through a pipe. Nothing depends on how fast anything is: every step waits for what it needs to see.
"""
import codecs
import fcntl
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from screen import Screen  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LAMINA = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.environ.get("LAMINA_PROGRAM", "build/lamina")
MODEL = str(ROOT / "demo" / "model")
WORK = pathlib.Path(tempfile.mkdtemp(prefix="lamina-chat."))
# A drive that takes its time, so that an answer can be interrupted and the live line be seen.
SLOW = ["--io", "sim", "--sim", "latency_us=20000", "--no-pin", "--no-read-ahead", "--ignore-eos", "-n", "60"]
PATIENCE = 90
cases = failed = 0


def ok(good, name, why=""):
    global cases, failed
    cases += 1
    failed += not good
    if not good:
        print("\n".join("# " + line for line in str(why)[:3000].splitlines()))
    print(f"{'ok' if good else 'not ok'} {cases} - {name}", flush=True)


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("LAMINA_") and k not in ("COLUMNS", "NO_COLOR", "CLICOLOR_FORCE")}
    env.update(LAMINA_HOME=str(WORK / "home"), LC_ALL="C.UTF-8", TERM="xterm", HOME=str(WORK), LAMINA_THREADS="1")
    env.update(more)
    return {k: v for k, v in env.items() if v is not None}


def piped(text, *words, model=MODEL):
    done = subprocess.run([LAMINA, "chat", model, "--temp", "0", "-q", *words], input=text, capture_output=True, text=True,
                          env=environment(), timeout=PATIENCE)
    return done.stdout


class Terminal:
    """A chat on a pseudo-terminal; with `out` its stdout is a pipe."""

    def __init__(self, *words, columns=60, rows=12, out=False, model=MODEL, **env):
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        pipe = os.pipe() if out else None

        def begin():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.child = subprocess.Popen([LAMINA, "chat", model, "--temp", "0", *words], stdin=slave, stdout=pipe[1] if out else slave,
                                      stderr=slave, env=environment(**env), preexec_fn=begin, close_fds=True)
        os.close(slave)
        if out:
            os.close(pipe[1])
        self.master, self.pipe = master, pipe[0] if out else None
        self.screen, self.raw, self.out = Screen(columns, rows), "", b""
        self.decode = codecs.getincrementaldecoder("utf-8")()

    def pump(self, seconds):
        """Takes what there is; False at the end."""
        ready, _, _ = select.select([f for f in (self.master, self.pipe) if f is not None], [], [], seconds)
        more = True
        for f in ready:
            try:
                data = os.read(f, 65536)
            except OSError:
                data = b""
            if f == self.pipe:
                self.out += data
                if not data:
                    os.close(self.pipe)
                    self.pipe = None
            elif not data:
                more = False
            else:
                text = self.decode.decode(data)
                self.raw += text
                self.screen.feed(text)
        return more

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            if (not self.pump(0.05) or time.monotonic() > end) and not condition():
                raise RuntimeError(f"waited for {what}; the screen:\n" + "\n".join(self.screen.text()))

    def at_prompt(self, words="> "):
        """The editor waits: it shows its prompt first and takes the terminal over then."""
        shown = "".join(self.screen.rows[self.screen.y]).rstrip() == words.rstrip() and self.screen.x == len(words)
        return shown and not termios.tcgetattr(self.master)[3] & termios.ICANON

    def prompt(self, words="> "):
        self.wait(lambda: self.at_prompt(words), "a prompt")

    def shows(self, words):
        self.wait(lambda: words in "\n".join(self.screen.text()), repr(words))

    def type(self, text):
        os.write(self.master, text.encode())

    def ask(self, text):
        """A line, and until the next prompt."""
        before = len(self.raw)
        self.type(text + "\r")
        self.wait(lambda: len(self.raw) > before + len(text) and self.at_prompt(), f"the answer to {text!r}")

    def end(self):
        """The exit status, after all that comes was read."""
        end = time.monotonic() + PATIENCE
        while self.child.poll() is None and time.monotonic() < end:
            self.pump(0.05)
        while self.pump(0) and select.select([self.master], [], [], 0)[0]:
            pass
        while self.pipe is not None:
            self.pump(0.1)
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
            raise RuntimeError("it does not end; the screen:\n" + "\n".join(self.screen.text()))
        os.close(self.master)
        return self.child.returncode


def case(name):
    def run(body):
        try:
            why = body()
            ok(why is None, name, why)
        except (RuntimeError, ValueError, OSError, KeyError, IndexError, AssertionError, subprocess.TimeoutExpired) as e:
            ok(False, name, f"{type(e).__name__}: {e}")
    return run


def contains(lines, wanted):
    """Do these rows stand on the screen, one below the other?"""
    return any(lines[i:i + len(wanted)] == wanted for i in range(len(lines) - len(wanted) + 1))


FRANCE, JAPAN = "What is the capital of France?", "What is the capital of Japan?"
ANSWERS = piped(f"{FRANCE}\n{JAPAN}\n").splitlines()
ok(len(ANSWERS) == 2 and "Paris" in ANSWERS[0] and "Tokyo" in ANSWERS[1], "the answers through a pipe", ANSWERS)


@case("two questions, typed; Ctrl-D ends")
def _():
    t = Terminal()
    t.prompt()
    t.ask(FRANCE)
    t.ask(JAPAN)
    t.type("\x04")
    status = t.end()
    lines = t.screen.text()
    good = status == 0 and contains(lines, ["> " + FRANCE, ANSWERS[0]]) and contains(lines, ["> " + JAPAN, ANSWERS[1]])
    return None if good else f"exit {status}\n" + "\n".join(lines)


@case("a line is edited: left, insert, delete, home, kill")
def _():
    t = Terminal()
    t.prompt()
    t.type("xxWhat is the capital of Frace?")
    t.type("\x1b[D" * 3 + "n")       # n before "ce?"
    t.type("\x01" + "\x04\x04")      # home, two characters away
    t.type("\x05 and more" + "\x17\x17" + "\x7f")
    t.type("\r")
    t.shows(ANSWERS[0])
    t.prompt()
    t.type("/quit\r")
    status = t.end()
    return None if status == 0 and "> " + FRANCE in t.screen.text() else f"exit {status}\n" + "\n".join(t.screen.text())


@case("letters of several bytes are edited as one")
def _():
    t = Terminal()
    t.prompt()
    t.type("/nosuchäöß\x7f\x7fé\r")
    t.shows('"/nosuchäé" is not a command')
    t.prompt()
    t.type("\x04")
    return None if t.end() == 0 else "exit"


@case("history: of this chat and of the one before, in a private file")
def _():
    file = WORK / "home" / "chat_history"
    first = Terminal()
    first.prompt()
    first.ask("/tokens")
    first.ask(FRANCE)
    first.type("\x1b[A\x1b[A\r")
    first.wait(lambda: first.raw.count("2 messages, ") == 1, "/tokens again")
    first.prompt()
    first.type("\x04")
    first.end()
    mode = stat.S_IMODE(os.stat(file).st_mode)
    second = Terminal()
    second.prompt()
    second.type("\x1b[A\x1b[A\r")
    second.shows(ANSWERS[0])
    second.prompt()
    second.type("\x04")
    second.end()
    return None if mode == 0o600 else f"mode {mode:o}"


@case("history: two chats at once keep the lines of both")
def _():
    both = [Terminal(), Terminal()]
    for t, words in zip(both, ("/nosuchone", "/nosuchtwo")):
        t.prompt()
        t.ask(words)
    for t in both:
        t.type("\x04")
        t.end()
    kept = (WORK / "home" / "chat_history").read_text()
    return None if "/nosuchone" in kept and "/nosuchtwo" in kept else kept


@case("messages of several lines: a backslash, and three quotes")
def _():
    session = WORK / "lines.json"
    t = Terminal("--session", str(session))
    t.prompt()
    t.type("What is the capital\\\r")
    t.prompt("... ")
    t.ask("of France?")
    t.type('"""one\r')
    t.prompt("... ")
    t.type("two\r")
    t.shows("... two")
    t.prompt("... ")
    t.ask('three"""')
    t.type("\x04")
    t.end()
    said = [m["content"] for m in json.load(open(session))["messages"] if m["role"] == "user"]
    return None if said == ["What is the capital\nof France?", "one\ntwo\nthree"] else said


LONG = piped(FRANCE + "\n", *SLOW)


@case("the live line stands below the text and leaves no trace in it, on a small screen that scrolls")
def _():
    plain = Screen(37, 400)
    plain.feed(LONG.replace("\n", "\r\n"))
    t = Terminal(*SLOW, columns=37, rows=7)
    t.prompt()
    t.ask(FRANCE)
    t.type("\x04")
    t.end()
    lines = t.screen.text()
    if not (t.screen.drawn_below > 5 and "tokens/s" in t.raw and "pass " in t.raw):
        return f"no live line was seen ({t.screen.drawn_below} drawings)"
    return None if contains(lines, plain.text()) else "\n".join(["screen:", *lines, "wanted:", *plain.text()])


@case("stdout has the answer alone, whatever stderr shows")
def _():
    t = Terminal(*SLOW, out=True)
    t.prompt()
    t.ask(FRANCE)
    t.type("\x04")
    status = t.end()
    good = status == 0 and t.out.decode() == LONG and "tokens/s" in t.raw
    return None if good else f"exit {status}: {t.out!r}, wanted {LONG!r}"


@case("neither live line nor facts with --quiet, and no colour with NO_COLOR")
def _():
    t = Terminal(*SLOW, "-q")
    t.prompt()
    t.ask(FRANCE)
    t.type("\x04")
    t.end()
    u = Terminal(NO_COLOR="1")
    u.prompt()
    u.ask(FRANCE)
    u.type("\x04")
    u.end()
    if "tokens" in t.raw.replace(LONG, ""):
        return "with --quiet: " + t.raw
    return "with NO_COLOR: " + repr(u.raw) if "\x1b[2m" in u.raw or "\x1b[1;" in u.raw else None


@case("a dumb terminal: no drawing, no escape sequences")
def _():
    t = Terminal(TERM="dumb")
    t.shows("\n>")
    t.type(FRANCE + "\r")
    t.shows(ANSWERS[0])
    t.type("\x04")
    status = t.end()
    return None if status == 0 and "\x1b" not in t.raw else repr(t.raw)


@case("Ctrl-C stops an answer, what was said is kept, and the chat goes on")
def _():
    session = WORK / "stopped.json"
    t = Terminal(*SLOW, "--session", str(session), columns=200, rows=30)
    t.prompt()
    t.type(FRANCE + "\r")
    t.shows(ANSWERS[0][:15])
    t.type("\x03")
    t.shows("what was said is kept")
    t.prompt()
    kept = json.load(open(session))["messages"]
    t.ask("/tokens")
    t.type("\x04")
    status = t.end()
    good = status == 0 and [m["role"] for m in kept] == ["user", "assistant"]
    good = good and 0 < len(kept[1]["content"]) < len(LONG.rstrip("\n")) and LONG.startswith(kept[1]["content"])
    return None if good else f"exit {status}: {kept}"


@case("Ctrl-C at the prompt: a word, then the end with 130; a line in between makes it a word again")
def _():
    t = Terminal()
    t.prompt()
    t.type("half a line\x03")
    t.shows("Ctrl-C once more")
    t.prompt()
    t.ask("/tokens")
    t.type("\x03")
    t.wait(lambda: t.raw.count("Ctrl-C once more") == 2, "the word again")
    t.prompt()
    t.type("\x03")
    status = t.end()
    return None if status == 130 else f"exit {status}"


@case("Ctrl-C while the prompt is read takes the message back")
def _():
    session = WORK / "back.json"
    t = Terminal("--io", "sim", "--sim", "latency_us=20000", "--no-pin", "--no-read-ahead", "--prompt-rows", "1", "--session", str(session),
                 columns=100)
    t.prompt()
    t.type(FRANCE + "\r")
    t.shows("reading the prompt")
    t.type("\x03")
    t.shows("the message is taken back")
    t.prompt()
    t.ask("/tokens")
    t.type("\x04")
    status = t.end()
    good = status == 0 and "0 messages, 0 tokens" in t.raw and not session.exists()
    return None if good else f"exit {status}\n" + "\n".join(t.screen.text())


@case("SIGTERM during an answer: what was said is kept on disk, exit 143")
def _():
    session = WORK / "terminated.json"
    t = Terminal(*SLOW, "--session", str(session))
    t.prompt()
    t.type(FRANCE + "\r")
    t.shows(ANSWERS[0][:15])
    t.child.send_signal(signal.SIGTERM)
    status = t.end()
    kept = json.load(open(session))["messages"]
    return None if status == 143 and len(kept) == 2 and LONG.startswith(kept[1]["content"]) else f"exit {status}: {kept}"


@case("text from the model cannot command the terminal")
def _():
    # A model of random weights says any byte there is.
    model = WORK / "random"
    subprocess.run([sys.executable, str(ROOT / "tests" / "cli" / "mkmodel.py"), str(model), "--tokenizer", "--vocab", "259"], check=True)
    t = Terminal("--temp", "1", "--seed", "5", "-n", "300", "--ignore-eos", model=str(model), rows=40)
    t.prompt()
    t.ask("Hi")
    t.type("\x04")
    t.end()
    stray = [c for c in t.raw if ord(c) < 32 and c not in "\r\n\t\b\x1b\x07" or 0x7f <= ord(c) < 0xa0]
    return None if not stray else f"{stray}"


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    print(f"1..{cases}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
