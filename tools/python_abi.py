#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes python/lamina/_abi.py: the structs, enums, callbacks and functions of include/lamina as ctypes sees them.

    tools/python_abi.py           writes the file
    tools/python_abi.py --check   says whether it is the one that the headers give (exit 1 when not)

The headers are plain enough to be read by patterns; what this program does not understand it refuses, so that nothing is left out
silently. tests/python/run_python.py compares sizes and offsets with those of the compiler.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = ("include/lamina/status.h", "include/lamina/lamina.h")
OUTPUT = ROOT / "python" / "lamina" / "_abi.py"
WIDTH = 120

PLAIN = {"int": "c_int", "bool": "c_bool", "float": "c_float", "double": "c_double", "size_t": "c_size_t", "uint8_t": "c_uint8",
         "uint32_t": "c_uint32", "uint64_t": "c_uint64", "char": "c_char", "lamina_status": "c_int", "void": "None"}


class Header:
    def __init__(self):
        text = "\n".join((ROOT / path).read_text() for path in HEADERS)
        self.version = re.search(r'#define LAMINA_VERSION "([^"]+)"', text).group(1)
        self.statuses = re.findall(r'^\s*X\((\w+), (\d+), +"([^"]+)"\)', text, re.M)
        text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", "", text, flags=re.M)
        text = re.sub(r'extern "C" \{', "", text)
        self.text = text
        self.opaque = set(re.findall(r"\bstruct (\w+);", text))
        self.structs = {}
        self.enums = {name: [word.strip() for word in body.split(",") if word.strip()]
                      for name, body in re.findall(r"\benum (\w+) \{([^}]*)\};", text)}
        for name, body in re.findall(r"\bstruct (\w+) \{(.*?)\n\};", text, re.S):
            self.structs[name] = [field for line in self.split(body, ";") for field in self.fields(line)]
        self.functions = []
        for result, name, args in re.findall(r"LAMINA_API\s+([^;(]*?)(\w+)\((.*?)\);", text, re.S):
            self.functions.append((name, self.kind(result, False), self.arguments(args, False)))

    @staticmethod
    def split(text, at):
        """Parts of `text` between the separators that stand outside brackets, blanks made plain."""
        parts, depth, part = [], 0, ""
        for char in text:
            depth += (char in "([") - (char in ")]")
            if char == at and depth == 0:
                parts.append(part)
                part = ""
            else:
                part += char
        return [" ".join(p.split()) for p in parts + [part] if p.strip()]

    def kind(self, words, text_has_length):
        """The ctypes name of a C type without its identifier."""
        stars = words.count("*")
        words = re.sub(r"\*|\bconst\b", " ", words)
        words = " ".join(words.split())
        if words.startswith("enum "):
            base = "c_int"
            if words[5:] not in self.enums:
                raise SystemExit(f"python_abi: unknown {words}")
        elif words.startswith("struct "):
            name = words[7:]
            if name in self.opaque and name not in self.structs:
                base, stars = "c_void_p", stars - 1
            elif name in self.structs or name == "lamina_error":
                base = name
            else:
                raise SystemExit(f"python_abi: unknown {words}")
        elif words in PLAIN:
            base = PLAIN[words]
        else:
            raise SystemExit(f"python_abi: cannot read the type \"{words}\"")
        if stars > 0 and base == "None":
            base, stars = "c_void_p", stars - 1
        if stars == 1 and base == "c_char":
            return "c_void_p" if text_has_length else "c_char_p"
        if stars == 2 and base == "c_char":
            # The library's own memory comes back as an address, so that it can be freed.
            return "POINTER(c_void_p)"
        return "POINTER(" * stars + base + ")" * stars

    def arguments(self, text, in_callback):
        """Types of a parameter list. A text that a callback gets together with its length may hold zeros: an address."""
        names = []
        args = [a for a in self.split(text, ",") if a != "void"]
        for i, arg in enumerate(args):
            callback = re.match(r"^(.*?)\(\*(\w+)\)\((.*)\)$", arg)
            if callback:
                names.append(self.callback(callback.group(1), callback.group(3)))
                continue
            declared = re.match(r"^(.*?)(\w+)(\[\d*\])?$", arg)
            has_length = in_callback and i + 1 < len(args) and args[i + 1] == "size_t len"
            names.append(self.kind(declared.group(1) + ("*" if declared.group(3) else ""), has_length))
        return names

    def callback(self, result, args):
        return f"CFUNCTYPE({', '.join([self.kind(result, False), *self.arguments(args, True)])})"

    def fields(self, line):
        callback = re.match(r"^(.*?)\(\*(\w+)\)\((.*)\)$", line)
        if callback:
            return [(callback.group(2), self.callback(callback.group(1), callback.group(3)))]
        first = re.match(r"^((?:const )?(?:struct |enum )?\w+)\s*(.*)$", line)
        if not first:
            raise SystemExit(f"python_abi: cannot read the field \"{line}\"")
        found = []
        for declarator in self.split(first.group(2), ","):
            parts = re.match(r"^((?:\*\s*(?:const\s*)?|const\s+)*)(\w+)((?:\[\d+\])*)$", declarator)
            if not parts:
                raise SystemExit(f"python_abi: cannot read the field \"{line}\"")
            kind = self.kind(first.group(1) + " " + parts.group(1), False)
            if parts.group(1).count("*") == 2 and kind == "POINTER(c_void_p)":
                kind = "POINTER(c_char_p)"
            for length in re.findall(r"\d+", parts.group(3)):
                kind = f"{kind} * {length}"
            found.append((parts.group(2), kind))
        return found


def listing(opening, items, closing):
    """`items` on lines of at most WIDTH columns."""
    lines, line = [], opening
    for item in items:
        piece = item + ","
        if len(line) + len(piece) + 1 > WIDTH:
            lines.append(line)
            line = "    " + ("    " if opening.startswith("    ") else "")
            line += piece
        else:
            line += (" " if not line.endswith(("[", "{", "(")) and line.strip() else "") + piece
    return "\n".join(lines + [line.rstrip(",") + closing])


def generate():
    h = Header()
    out = ['# SPDX-License-Identifier: Apache-2.0',
           '"""The C interface of lamina as ctypes sees it. Made by tools/python_abi.py from include/lamina: do not edit."""',
           "from ctypes import (CFUNCTYPE, POINTER, Structure, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_size_t, "
           "c_uint8,",
           "                    c_uint32, c_uint64, c_void_p)", "", f'VERSION = "{h.version}"', "",
           "# Name, number, meaning: the number is negative where a function returns it, and the exit code of a program.",
           listing("STATUSES = [", [f'("{n}", {c}, "{t}")' for n, c, t in h.statuses], "]"), ""]
    for name, words in h.enums.items():
        out.append(f"# enum {name}")
        out += [f"{word} = {i}" for i, word in enumerate(words)]
        out.append("")
    for name, fields in h.structs.items():
        out += ["", f"class {name}(Structure):", "    _fields_ = [", *[f'        ("{f}", {k}),' for f, k in fields], "    ]", ""]
    out += ["", "STRUCTS = [", *[f"    {name}," for name in h.structs], "]", "",
            "# Result and arguments by name.", "FUNCTIONS = {"]
    out += [f'    "{name}": ({result}, ({"".join(a + ", " for a in args).rstrip() if len(args) == 1 else ", ".join(args)})),'
            for name, result, args in h.functions]
    out += ["}", ""]
    return "\n".join(out)


def differences():
    """What is wrong with the file in the tree, as lines; nothing when it is the one that the headers give."""
    if not OUTPUT.is_file() or OUTPUT.read_text() != generate():
        return [f"{OUTPUT.relative_to(ROOT)}: is not what include/lamina gives; run tools/python_abi.py"]
    return []


def main():
    if sys.argv[1:] == ["--check"]:
        lines = differences()
        print("\n".join(lines), end="\n" if lines else "")
        return 1 if lines else 0
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    OUTPUT.write_text(generate())
    return 0


if __name__ == "__main__":
    sys.exit(main())
