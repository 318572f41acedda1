#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An independent reader of lamina stores, written from docs/FORMAT.md and nothing else, with the standard library alone.

    lamina_store.py check STORE CHECKPOINT   every weight of the store against the safetensors files of a directory, or a GGUF file:
                                             plain numbers and GGUF's blocks bit for bit, other codes by the float32 that they
                                             stand for, whole steps by whether they are the nearest; models of Llama's shape
    lamina_store.py values STORE             a line a matrix: file, role, expert, type, rows, columns, and the FNV-1a (64 bits) of
                                             its values in the order of rows, as little-endian float32, every NaN as 7fc00000
    lamina_store.py dump STORE               what the store holds

It shares no code with the program, so that the format is what the document says, not what one program happens to do: here files
and tiles, in lamina_values.py what codes stand for, in lamina_source.py checkpoints. Checksums (XXH3) are verified too where the
Python module `xxhash` is installed; comparing weights needs no module.
Exit status: 0 everything agrees, 1 something differs or is damaged, 2 wrong usage.
"""

import array
import json
import os
import re
import struct
import sys

import lamina_planes
from lamina_source import PLAIN, open_source
from lamina_values import BLOCKS, FNV_START, Bad, Blocks, Groups, bits_of, fnv, need, numbers

try:
    import xxhash
except ImportError:
    xxhash = None

PAGE, VERSION = 4096, 3
MAGIC = b"LAMINAWF"
PANEL_ROWS, GROUP_ROWS, BLOCK_COLS = 16, 64, 256
SMALL_TILE = 1 << 20
VECTOR_ALIGN = 16
ELEMENT = {**PLAIN, "STEPS": 2}
ROUNDED = re.compile(r"q8|q4|q(?:[2-7]\.\d\d|8\.00)")  # codecs of matrices in steps
EXACT_ROLES = ("router", "shared_router", "decay_a", "decay", "beta")
GROUP_FIELDS = ("bits", "code", "scale", "shift", "ordered", "phased", "group", "nested", "lead_bytes", "record_bytes")


def text_field(raw):
    name = raw.split(b"\0", 1)[0]
    need(raw[len(name):].strip(b"\0") == b"", "a name is not padded with zeros")
    return name.decode("ascii")


def check64(data, stated, what):
    if xxhash is not None:
        need(xxhash.xxh3_64_intdigest(data) == stated, what + ": checksum differs")


class WeightFile:
    """Head, tiles and tail of one file: sections "Head", "Tail" and "Tiles" of the format."""

    def __init__(self, path, name):
        self.name = name
        with open(path, "rb") as f:
            self.data = f.read()
        d = self.data
        need(len(d) >= 2 * PAGE and len(d) % PAGE == 0, name + ": wrong size")
        need(d[:8] == MAGIC, name + ": wrong first bytes")
        version, kind, head_pages, tail_pages, count, tiles = struct.unpack_from("<6I", d, 8)
        (self.floats,) = struct.unpack_from("<Q", d, 32)
        need(version == VERSION and kind in (0, 1), name + ": unknown version or kind")
        head, tail = head_pages * PAGE, tail_pages * PAGE
        need(head + tail <= len(d), name + ": cut short")
        (head_sum,) = struct.unpack_from("<Q", d, head - 8)
        check64(d[:head - 8], head_sum, name + ": head")
        begin = len(d) - tail
        bound, tail_sum = struct.unpack_from("<QQ", d, len(d) - 16)
        check64(d[begin:len(d) - 8], tail_sum, name + ": tail")
        need(bound == head_sum, name + ": head and tail do not belong together")
        self.kind = kind
        self.tiles = []
        page = head_pages
        for i in range(tiles):
            digest, offset, pages = struct.unpack_from("<QII", d, begin + 16 * i)
            need(offset == page, "%s: tile %d is not where it should be" % (name, i))
            check64(d[offset * PAGE:(offset + pages) * PAGE], digest, "%s: tile %d" % (name, i))
            self.tiles.append((offset * PAGE, pages * PAGE))
            page += pages
        need((page + tail_pages) * PAGE == len(d), name + ": tiles do not fill the file")
        size = 32 if kind else 96
        need(head_pages == -(-(72 + count * size) // PAGE), name + ": a head of another size")
        need(not any(d[40:64]) and not any(d[64 + count * size:head - 8]), name + ": reserved bytes are not zero")
        need(tail_pages == -(-(16 + 16 * tiles) // PAGE), name + ": a tail of another size")
        need(not any(d[begin + 16 * tiles:len(d) - 16]), name + ": reserved bytes are not zero")
        self.records = [self.record(64 + i * size) for i in range(count)]
        if kind == 0:
            need(self.floats == 0, name + ": floats in a file of matrices")
            self.check_records()

    def record(self, at):
        d = self.data
        if self.kind == 1:
            layer, length, offset = struct.unpack_from("<iIQ", d, at + 16)
            return {"role": text_field(d[at:at + 16]), "layer": layer, "len": length, "offset": offset}
        layout, flags, rows, cols, first, tiles, per_tile, parts, blocks, expert = struct.unpack_from("<IIQQIIIIII", d, at + 24)
        m = {
            "role": text_field(d[at:at + 16]), "dtype": text_field(d[at + 16:at + 24]), "layout": layout,
            "flags": flags, "rows": rows, "cols": cols, "first_tile": first, "tiles": tiles,
            "groups_per_tile": per_tile, "parts_per_group": parts, "blocks_per_part": blocks, "expert": expert,
        }
        need(layout <= 1 and flags <= 3, self.name + ": unknown layout or flags")
        m["type"] = m["dtype"]
        m["dtype"], m["packed"] = lamina_planes.TYPES.get(m["dtype"], (m["dtype"], None))
        need(m["packed"] is None or (layout == 0 and rows * cols >= 16384 and cols > 1), self.name + ": this cannot be packed")
        rounded = m["dtype"] == "STEPS"
        need(not rounded or (cols >= 32 and m["role"] not in EXACT_ROLES and self.name.startswith("layers/")),
             self.name + ": this cannot be in steps")
        fields = d[at + 72:at + 88]
        m["coding"] = Groups(fields, cols) if m["dtype"] == "GROUPS" else Blocks(m["dtype"], cols) if m["dtype"] in BLOCKS else None
        need(m["coding"] or m["dtype"] in ELEMENT, "%s: unknown type %s" % (self.name, m["dtype"]))
        m["packed_codes"] = flags >= 2
        need(not m["packed_codes"] or (m["coding"] and m["coding"].code_bits and layout == 0 and rows * cols >= 16384 and cols > 1),
             self.name + ": these codes cannot be packed")
        need(m["dtype"] == "GROUPS" or not any(fields), self.name + ": fields of groups where there are none")
        need(not any(d[at + 88:at + 96]), self.name + ": reserved bytes are not zero")
        return m

    def check_records(self):
        """Matrices follow each other without a gap; tiles have the sizes that the format chooses."""
        first = 0
        for m in self.records:
            need(m["first_tile"] == first, "%s: %s begins at another tile" % (self.name, m["role"]))
            found = tuple(m[k] for k in ("tiles", "groups_per_tile", "parts_per_group", "blocks_per_part"))
            need(found == tiling(m), "%s: %s has %s, expected %s" % (self.name, m["role"], found, tiling(m)))
            covered = min(m["groups_per_tile"] * GROUP_ROWS, -(-m["rows"] // PANEL_ROWS) * PANEL_ROWS) * m["cols"]
            need(not m["packed_codes"] or covered <= 4 << 20, self.name + ": these codes cannot be packed")
            first += m["tiles"]
        need(first == len(self.tiles), self.name + ": tiles that belong to no matrix")

    def packed_tile(self, matrix, i, counts):
        begin, length = self.tiles[matrix["first_tile"] + i]
        return lamina_planes.decode(self.data[begin:begin + length], matrix["packed"], counts)

    def steps_tile(self, matrix, i, rows16, counts):
        begin, length = self.tiles[matrix["first_tile"] + i]
        return lamina_planes.decode_steps(self.data[begin:begin + length], rows16, counts)

    def coded_tile(self, matrix, i, size):
        """A tile of codes as it is, or, where it takes fewer pages than that, packed."""
        begin, length = self.tiles[matrix["first_tile"] + i]
        if not matrix["packed_codes"] or length >= -(-size // PAGE) * PAGE:
            return self.tile(matrix, i, size)
        coding = matrix["coding"]
        rows = (size - coding.lead_bytes) // coding.record_bytes
        out = lamina_planes.decode_codes(self.data[begin:begin + length], coding, matrix["cols"], rows)
        need(len(out) == size, "%s: tile %d of %s has another size" % (self.name, i, matrix["role"]))
        return out

    def tile(self, matrix, i, size):
        """The bytes of a tile; behind them there is less than a page, of zeros."""
        begin, length = self.tiles[matrix["first_tile"] + i]
        need(0 <= length - size < PAGE, "%s: tile %d of %s has another size" % (self.name, i, matrix["role"]))
        need(not any(self.data[begin + size:begin + length]), self.name + ": padding is not zero")
        return self.data[begin:begin + size]


def tiling(m):
    """Tiles, groups in a tile, parts of a group, column blocks in a part: section "Tiles of a matrix"."""
    coding, rows16 = m["coding"], -(-m["rows"] // PANEL_ROWS) * PANEL_ROWS
    cols2 = m["cols"] + m["cols"] % 2
    blocks = -(-cols2 // BLOCK_COLS)
    if m["layout"] == 1:
        panels = 1
        while coding and panels < 16:
            size = coding.lead_bytes + panels * PANEL_ROWS * coding.record_bytes
            if -size % PAGE <= size / 64:
                break
            panels *= 2
        return -(-rows16 // (PANEL_ROWS * panels)), panels, 1, blocks
    groups, rows = -(-rows16 // GROUP_ROWS), min(rows16, GROUP_ROWS)
    if coding:
        group_bytes = coding.lead_bytes + rows * coding.record_bytes
        need(group_bytes <= 4 << 20, "coded rows too long for a tile")
    else:
        group_bytes = rows * cols2 * ELEMENT[m["dtype"]]
    if group_bytes <= 4 << 20:
        wanted = (2 if m["dtype"] == "STEPS" else 1) << 20
        per_tile = min(-(-wanted // group_bytes), groups)
        return -(-groups // per_tile), per_tile, 1, blocks
    parts = -(-blocks * rows * BLOCK_COLS * ELEMENT[m["dtype"]] // (4 << 20))
    per_part = -(-blocks // parts)
    parts = -(-blocks // per_part)
    return groups * parts, 1, parts, per_part


def panels_of(matrix):
    """Yields (tile, byte offset in the tile, first row, first column, columns with padding) in the order of the file."""
    size, panels, cols = ELEMENT[matrix["dtype"]], -(-matrix["rows"] // PANEL_ROWS), matrix["cols"] + matrix["cols"] % 2
    blocks = -(-cols // BLOCK_COLS)
    if matrix["layout"] == 1:  # GATHERED: a tile is one panel over all columns
        for p in range(panels):
            yield p, 0, p * PANEL_ROWS, 0, cols
        return
    per_tile, parts, per_part = matrix["groups_per_tile"], matrix["parts_per_group"], matrix["blocks_per_part"]
    in_group = GROUP_ROWS // PANEL_ROWS
    groups = -(-panels // in_group)
    for tile in range(matrix["tiles"]):
        first_group = tile // parts * per_tile
        first_block = tile % parts * per_part
        at = 0
        for group in range(first_group, min(first_group + per_tile, groups)):
            for block in range(first_block, min(first_block + per_part, blocks)):
                width = min(BLOCK_COLS, cols - block * BLOCK_COLS)
                for panel in range(group * in_group, min((group + 1) * in_group, panels)):
                    yield tile, at, panel * PANEL_ROWS, block * BLOCK_COLS, width
                    at += PANEL_ROWS * width * size


def counts_of(places, tile):
    """Values of the blocks of a tile: panels side by side over the same columns, of the same group."""
    counts = {}
    for number, _, row, col, width in places:
        if number == tile:
            key = row // GROUP_ROWS, col
            counts[key] = counts.get(key, 0) + PANEL_ROWS * width
    return list(counts.values())


def rows_of(places):
    """Of every tile its first row and how many it has, padding rows included."""
    found = {}
    for tile, _, row, _, _ in places:
        first, count = found.get(tile, (row, 0))
        found[tile] = first, max(count, row + PANEL_ROWS - first)
    return found


def lay_out(f, matrix, places, tiles, code):
    """Rows of a matrix from its tiles, which are arrays. Padding must be zeros."""
    size, rows, cols = ELEMENT[matrix["dtype"]], matrix["rows"], matrix["cols"]
    lines = [array.array(code, bytes(size * (cols + cols % 2))) for _ in range(-(-rows // PANEL_ROWS) * PANEL_ROWS)]
    for tile, at, row, col, width in places:
        got = tiles[tile][at // size:at // size + PANEL_ROWS * width]
        for r in range(PANEL_ROWS):
            # Row r of the panel: elements 2r and 2r+1 of every 32.
            lines[row + r][col:col + width:2] = got[2 * r::32]
            lines[row + r][col + 1:col + width:2] = got[2 * r + 1::32]
    odd = cols % 2 and any(line[cols] for line in lines)
    need(not odd and not any(any(line) for line in lines[rows:]), "%s: padding of %s is not zero" % (f.name, matrix["role"]))
    return [line[:cols] for line in lines[:rows]]


def places_of(f, matrix):
    places = list(panels_of(matrix))
    used = {tile: at + PANEL_ROWS * width * ELEMENT[matrix["dtype"]] for tile, at, _, _, width in places}
    need(len(used) == matrix["tiles"], "%s: %s has %d tiles" % (f.name, matrix["role"], matrix["tiles"]))
    return places, used


def plain_lines(f, matrix):
    """Rows of bytes of a matrix of plain numbers."""
    places, used = places_of(f, matrix)
    code = "I" if PLAIN[matrix["dtype"]] == 4 else "H"
    if matrix["packed"] is None:
        tiles = {tile: array.array(code, f.tile(matrix, tile, end)) for tile, end in used.items()}
    else:
        tiles = {tile: array.array(code, f.packed_tile(matrix, tile, counts_of(places, tile))) for tile in used}
    return [line.tobytes() for line in lay_out(f, matrix, places, tiles, code)]


def steps_lines(f, matrix):
    """The scale of every row of a matrix in steps, and rows of whole numbers."""
    places, _ = places_of(f, matrix)
    scales, tiles = {}, {}
    for tile, (first, count) in rows_of(places).items():
        found, tiles[tile] = f.steps_tile(matrix, tile, count, counts_of(places, tile))
        need(scales.setdefault(first, found) == found, "%s: parts of %s have other scales" % (f.name, matrix["role"]))
    by_row = [scale for first in sorted(scales) for scale in scales[first]]
    need(not any(by_row[matrix["rows"]:]), "%s: padding rows of %s have scales" % (f.name, matrix["role"]))
    lines = lay_out(f, matrix, places, tiles, "h")
    need(all(scale or not any(line) for scale, line in zip(by_row, lines)), "%s: steps without a scale" % f.name)
    return by_row[:matrix["rows"]], lines


def coded_lines(f, matrix):
    """Records of a coded matrix. All tiles must begin with the same lead, which the matrix's coding then uses."""
    coding, lines = matrix["coding"], []
    lead = f.coded_tile(matrix, 0, coded_bytes(matrix, 0))[:coding.lead_bytes]
    for i in range(matrix["tiles"]):
        data = f.coded_tile(matrix, i, coded_bytes(matrix, i))
        need(data[:coding.lead_bytes] == lead, "%s: tile %d of %s has another lead" % (f.name, i, matrix["role"]))
        lines += [data[at:at + coding.record_bytes] for at in range(coding.lead_bytes, len(data), coding.record_bytes)]
    need(len(lines) == matrix["rows"], f.name + ": another number of rows")
    if matrix["dtype"] == "GROUPS":
        coding.use(lead)
    return lines


def coded_bytes(matrix, tile):
    rows = matrix["groups_per_tile"] * (GROUP_ROWS if matrix["layout"] == 0 else PANEL_ROWS)
    return matrix["coding"].lead_bytes + min(rows, matrix["rows"] - tile * rows) * matrix["coding"].record_bytes


def values_of(f, matrix):
    """Yields rows of float32."""
    if matrix["dtype"] == "STEPS":
        for scale, line in zip(*steps_lines(f, matrix)):
            yield array.array("f", [k * scale for k in line])
        return
    if matrix["coding"] is None:
        for line in plain_lines(f, matrix):
            yield array.array("f", numbers(matrix["dtype"], line))
        return
    for record in coded_lines(f, matrix):
        yield matrix["coding"].row(record)


def differing(got, want, code):
    return 0 if got == want else sum(a != b for a, b in zip(array.array(code, got), array.array(code, want)))


def off_by(weight, whole, scale):
    """How much further from k steps a weight is than rounding explains: half a step, half a unit of what 8 significant bits leave
    out, and what float32 loses in a division."""
    unit = 1 << max(abs(whole).bit_length() - 8, 0)
    most = 0.5 + (unit / 2 if unit > 1 else 0) + abs(whole) * 2.0 ** -21 + 2.0 ** -20
    return abs(weight - whole * scale) - most * scale


def not_nearest(f, matrix, source):
    wrong = 0
    for scale, wholes, line in zip(*steps_lines(f, matrix), source.lines):
        weights = numbers(source.dtype, line)
        # No scale: what is there is as good as nothing.
        wrong += sum((off_by(w, k, scale) if scale else abs(w) - 2e-32) > 0 for w, k in zip(weights, wholes))
    return wrong


def compare_matrix(f, matrix, source):
    """Counts weights that differ; of blocks, bytes."""
    if matrix["dtype"] == "STEPS":
        return not_nearest(f, matrix, source)
    if matrix["dtype"] == "GROUPS":
        return sum(differing(bits_of(got), bits_of(want), "I") for got, want in zip(values_of(f, matrix), source.lines))
    lines = coded_lines(f, matrix) if matrix["coding"] else plain_lines(f, matrix)
    code = {4: "I", 2: "H"}.get(PLAIN.get(matrix["dtype"]), "B")
    return sum(differing(got, want, code) for got, want in zip(lines, source.lines))


def widen(dtype, source):
    """fp32 bit patterns of a vector."""
    if dtype == "F32":
        return list(struct.unpack("<%dI" % (len(source) // 4), source))
    halves = struct.unpack("<%dH" % (len(source) // 2), source)
    if dtype == "BF16":
        return [h << 16 for h in halves]
    out = []
    for h in halves:
        sign, exponent, fraction = h >> 15, h >> 10 & 31, h & 1023
        if exponent == 31:
            out.append(sign << 31 | 0xFF << 23 | fraction << 13)
        elif exponent:
            out.append(sign << 31 | exponent + 112 << 23 | fraction << 13)
        else:
            out.append(sign << 31 | struct.unpack("<I", struct.pack("<f", fraction * 2.0 ** -24))[0])
    return out


class Store:
    def __init__(self, path):
        self.path = path
        with open(os.path.join(path, "lamina.json"), "rb") as f:
            raw = f.read()
        need(raw.endswith(b'"\n}\n') and raw[-36 - 14:-36] == b'\n"checksum": "', "lamina.json: wrong ending")
        if xxhash is not None:
            need(xxhash.xxh3_128_hexdigest(raw[:-36]).encode() == raw[-36:-4], "lamina.json: checksum differs")
        self.manifest = json.loads(raw)
        need(self.manifest["format"] == "lamina-store" and self.manifest["version"] == VERSION, "unknown format")
        self.codec = self.manifest["codec"]
        need(self.codec in ("raw", "planes") or ROUNDED.fullmatch(self.codec), "unknown codec")
        self.sizes = {f["name"]: f for f in self.manifest["files"]}
        self.layers = self.manifest["layers"]

    def open(self, name):
        entry = self.sizes[name]
        f = WeightFile(os.path.join(self.path, name), name)
        need(len(f.data) == entry["size"], name + ": size differs from the manifest")
        if xxhash is not None:
            need(xxhash.xxh3_128_hexdigest(f.data) == entry["xxh3_128"], name + ": checksum differs")
        types = {m["type"] for m in f.records if "type" in m}
        need(self.codec != "raw" or not types & set(lamina_planes.TYPES), name + ": packed, which codec raw is not")
        need(ROUNDED.fullmatch(self.codec) or "STEPS" not in types, name + ": in steps, which codec %s is not" % self.codec)
        return f


def check_file(store, checkpoint, name, layer, counts):
    f = store.open(name)
    need(f.kind == 0, name + ": not a file of matrices")
    for matrix in f.records:
        need(matrix["flags"] == 0 and matrix["expert"] == 0, name + ": flags or experts, which are not compared here")
        source = checkpoint.matrix(matrix["role"], layer)
        fits = source.dtype in PLAIN if matrix["dtype"] == "STEPS" else source.dtype == matrix["dtype"]
        need(fits and source.shape == [matrix["rows"], matrix["cols"]],
             "%s is %s %s in the checkpoint, %s %s in the store"
             % (source.name, source.dtype, source.shape, matrix["dtype"], [matrix["rows"], matrix["cols"]]))
        wrong = compare_matrix(f, matrix, source)
        counts["matrices"] += 1
        counts["weights"] += matrix["rows"] * matrix["cols"]
        if wrong:
            counts["wrong"] += wrong
            print("%s (%s): %d %s differ" % (source.name, name, wrong, "bytes" if matrix["dtype"] in BLOCKS else "weights"))


def check_small(store, checkpoint, counts):
    f = store.open("small.bin")
    need(f.kind == 1, "small.bin: not a file of vectors")
    data = b"".join(f.data[a:a + n] for a, n in f.tiles)
    need(len(data) >= f.floats * 4 and not any(data[f.floats * 4:]), "small.bin: padding is not zero")
    for i in range(len(f.tiles) - 1):
        need(f.tiles[i][1] == SMALL_TILE, "small.bin: tile %d is short" % i)
    at = 0
    for v in f.records:
        tensor = "%s of layer %d" % (v["role"], v["layer"])
        dtype, shape, source = checkpoint.vector(v["role"], v["layer"])
        need(v["offset"] == at and shape == [v["len"]], "small.bin: %s is misplaced" % tensor)
        got = list(struct.unpack_from("<%dI" % v["len"], data, 4 * at))
        wrong = sum(1 for a, b in zip(got, widen(dtype, source)) if a != b)
        at += -(-v["len"] // VECTOR_ALIGN) * VECTOR_ALIGN
        need(not any(data[4 * (v["offset"] + v["len"]):4 * at]), "small.bin: padding is not zero")
        counts["vectors"] += 1
        counts["weights"] += v["len"]
        if wrong:
            counts["wrong"] += wrong
            print("%s (small.bin): %d values differ" % (tensor, wrong))
    need(at == f.floats, "small.bin: wrong number of floats")


def check_texts(store, checkpoint, counts):
    for entry in store.manifest["tokenizer"]:
        with open(os.path.join(store.path, "tokenizer", entry["name"]), "rb") as f:
            ours = f.read()
        theirs = checkpoint.text(entry["name"])
        counts["texts"] += 1
        if len(ours) != entry["size"] or theirs not in (ours, None):
            counts["wrong"] += 1
            print("tokenizer/%s differs" % entry["name"])


def check(store_path, checkpoint_path):
    store, checkpoint = Store(store_path), open_source(checkpoint_path)
    counts = dict.fromkeys(("matrices", "vectors", "weights", "texts", "wrong"), 0)
    check_file(store, checkpoint, "embed.bin", "", counts)
    if "head.bin" in store.sizes:
        check_file(store, checkpoint, "head.bin", "", counts)
    for layer, name in enumerate(store.layers):
        check_file(store, checkpoint, name, layer, counts)
    check_small(store, checkpoint, counts)
    check_texts(store, checkpoint, counts)
    left = list(checkpoint.left())
    if left and not (left == ["lm_head.weight"] and "head.bin" not in store.sizes):
        counts["wrong"] += len(left)
        print("not in the store: " + ", ".join(left))
    print("%(matrices)d matrices, %(vectors)d vectors, %(weights)d weights, %(texts)d text files, %(wrong)d differences" % counts
          + ("" if xxhash is not None else " (checksums not verified: no xxhash module)"))
    return 1 if counts["wrong"] else 0


def values(path):
    store = Store(path)
    for name in store.sizes:
        f = store.open(name)
        for m in f.records if f.kind == 0 else []:
            h = FNV_START
            for row in values_of(f, m):
                h = fnv(h, bits_of(row))
            print("%s %s %d %s %d %d %016x" % (name, m["role"], m["expert"], m["dtype"], m["rows"], m["cols"], h))
    return 0


def dump(path):
    store = Store(path)
    print(json.dumps({k: v for k, v in store.manifest.items() if k in ("format", "version", "codec", "model", "bits")}, indent=1))
    for name in store.sizes:
        f = store.open(name)
        print("%s: %d bytes, %d tiles" % (name, len(f.data), len(f.tiles)))
        for r in f.records:
            print("    " + ", ".join("%s %s" % (k, v) for k, v in r.items() if k != "coding"))
            if r.get("dtype") == "GROUPS":
                print("        " + ", ".join("%s %s" % (k, getattr(r["coding"], k)) for k in GROUP_FIELDS))
    print("layers: " + " ".join(store.layers))
    return 0


def main(argv):
    if len(argv) == 4 and argv[1] == "check":
        work = lambda: check(argv[2], argv[3])
    elif len(argv) == 3 and argv[1] in ("dump", "values"):
        work = lambda: (dump if argv[1] == "dump" else values)(argv[2])
    else:
        sys.stderr.write(__doc__)
        return 2
    try:
        return work()
    except (Bad, OSError, KeyError, IndexError, ValueError, struct.error) as e:
        print("%s: %s" % (type(e).__name__, e))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
