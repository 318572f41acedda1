#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a file's bytes as a C array: embed.py FILE NAME OUT.c"""
import sys

source, name, out = sys.argv[1:]
data = open(source, "rb").read()
rows = [", ".join(str(b) for b in data[i:i + 32]) for i in range(0, len(data), 32)]
with open(out, "w", encoding="utf-8") as f:
    f.write("#include <stddef.h>\n"
            f"extern const unsigned char {name}[];\nextern const size_t {name}_len;\n"
            f"const unsigned char {name}[] = {{\n" + ",\n".join(rows) + f"\n}};\nconst size_t {name}_len = {len(data)};\n")
