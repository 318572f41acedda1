#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An independent reader of lamina stores, written from docs/FORMAT.md and nothing else, with the standard library alone.

    lamina_store.py check STORE CHECKPOINT   every weight of the store against the safetensors files, bit for bit
    lamina_store.py dump STORE               what the store holds

It shares no code with the program, so that the format is what the document says, not what one program happens to do.
Checksums (XXH3) are verified too where the Python module `xxhash` is installed; comparing weights needs no module.
Exit status: 0 everything agrees, 1 something differs or is damaged, 2 wrong usage.
"""

import array
import json
import os
import struct
import sys

try:
    import xxhash
except ImportError:
    xxhash = None

PAGE = 4096
MAGIC = b"LAMINAWF"
SIZE = {"F32": 4, "F16": 2, "BF16": 2}
PANEL_ROWS, GROUP_PANELS, BLOCK_COLS = 16, 4, 256
SMALL_TILE = 1 << 20
VECTOR_ALIGN = 16

# docs/FORMAT.md, "Roles": name in a store -> name in a checkpoint.
LLAMA_NAMES = {
    "embed": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "final_norm": "model.norm.weight",
    "q": "model.layers.{}.self_attn.q_proj.weight",
    "k": "model.layers.{}.self_attn.k_proj.weight",
    "v": "model.layers.{}.self_attn.v_proj.weight",
    "o": "model.layers.{}.self_attn.o_proj.weight",
    "gate": "model.layers.{}.mlp.gate_proj.weight",
    "up": "model.layers.{}.mlp.up_proj.weight",
    "down": "model.layers.{}.mlp.down_proj.weight",
    "attn_norm": "model.layers.{}.input_layernorm.weight",
    "mlp_norm": "model.layers.{}.post_attention_layernorm.weight",
    "q_bias": "model.layers.{}.self_attn.q_proj.bias",
    "k_bias": "model.layers.{}.self_attn.k_proj.bias",
    "v_bias": "model.layers.{}.self_attn.v_proj.bias",
    "o_bias": "model.layers.{}.self_attn.o_proj.bias",
    "gate_bias": "model.layers.{}.mlp.gate_proj.bias",
    "up_bias": "model.layers.{}.mlp.up_proj.bias",
    "down_bias": "model.layers.{}.mlp.down_proj.bias",
}


class Bad(Exception):
    """The store or the checkpoint is not what it should be."""


def need(condition, text):
    if not condition:
        raise Bad(text)


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
        need(version == 2 and kind in (0, 1), name + ": unknown version or kind")
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
        self.records = [self.record(64 + i * (32 if kind else 80)) for i in range(count)]

    def record(self, at):
        d = self.data
        if self.kind == 1:
            layer, length, offset = struct.unpack_from("<iIQ", d, at + 16)
            return {"role": text_field(d[at:at + 16]), "layer": layer, "len": length, "offset": offset}
        layout, flags, rows, cols, first, tiles, per_tile, parts, blocks, expert = struct.unpack_from("<IIQQIIIIII", d, at + 24)
        need(d[at + 72:at + 80] == bytes(8), self.name + ": reserved bytes are not zero")
        return {
            "role": text_field(d[at:at + 16]), "dtype": text_field(d[at + 16:at + 24]), "layout": layout,
            "flags": flags, "rows": rows, "cols": cols, "first_tile": first, "tiles": tiles,
            "groups_per_tile": per_tile, "parts_per_group": parts, "blocks_per_part": blocks, "expert": expert,
        }


def panels_of(matrix):
    """Yields (tile, byte offset in the tile, first row, first column, columns with padding) in the order of the file."""
    size = SIZE[matrix["dtype"]]
    panels = -(-matrix["rows"] // PANEL_ROWS)
    cols = matrix["cols"] + matrix["cols"] % 2
    blocks = -(-cols // BLOCK_COLS)
    if matrix["layout"] == 1:  # GATHERED: a tile is one panel over all columns
        for p in range(panels):
            yield p, 0, p * PANEL_ROWS, 0, cols
        return
    groups = -(-panels // GROUP_PANELS)
    per_tile, parts, per_part = matrix["groups_per_tile"], matrix["parts_per_group"], matrix["blocks_per_part"]
    for tile in range(matrix["tiles"]):
        first_group = tile // parts * per_tile
        first_block = tile % parts * per_part
        at = 0
        for group in range(first_group, min(first_group + per_tile, groups)):
            for block in range(first_block, min(first_block + per_part, blocks)):
                width = min(BLOCK_COLS, cols - block * BLOCK_COLS)
                for panel in range(group * GROUP_PANELS, min((group + 1) * GROUP_PANELS, panels)):
                    yield tile, at, panel * PANEL_ROWS, block * BLOCK_COLS, width
                    at += PANEL_ROWS * width * size


def compare_matrix(f, matrix, source):
    """Counts weights of `matrix` that differ from the row-major bytes `source`, and padding that is not zero."""
    size, rows, cols = SIZE[matrix["dtype"]], matrix["rows"], matrix["cols"]
    code = "I" if size == 4 else "H"
    want = array.array(code)
    want.frombytes(source)
    wrong, used = 0, {}
    for tile, at, row, col, width in panels_of(matrix):
        begin, length = f.tiles[matrix["first_tile"] + tile]
        need(at + PANEL_ROWS * width * size <= length, "%s: a tile is too short" % f.name)
        got = array.array(code)
        got.frombytes(f.data[begin + at:begin + at + PANEL_ROWS * width * size])
        used[tile] = at + PANEL_ROWS * width * size
        real = min(width, cols - col)
        for r in range(PANEL_ROWS):
            # Row r of the panel: elements 2r and 2r+1 of every 32.
            line = array.array(code, bytes(width * size))
            line[0::2] = got[2 * r::32]
            line[1::2] = got[2 * r + 1::32]
            if row + r < rows:
                start = (row + r) * cols + col
                expected = want[start:start + real]
                if line[:real] != expected:
                    wrong += sum(1 for a, b in zip(line, expected) if a != b)
                rest = line[real:]
            else:
                rest = line
            wrong += sum(1 for v in rest if v != 0)
    need(len(used) == matrix["tiles"], "%s: %s has %d tiles, %d expected" % (f.name, matrix["role"], matrix["tiles"], len(used)))
    for tile, end in used.items():
        begin, length = f.tiles[matrix["first_tile"] + tile]
        need(0 <= length - end < PAGE and not any(f.data[begin + end:begin + length]), f.name + ": padding is not zero")
    return wrong


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


def compare_fp8(f, matrix, codes, grid):
    """Counts rows of a coded matrix whose record is not the source's codes and its scales per 128 columns."""
    dtype, shape, data = grid
    rows, cols = matrix["rows"], matrix["cols"]
    need(matrix["layout"] == 0 and matrix["parts_per_group"] == 1, f.name + ": wrong layout of a coded matrix")
    need(shape == [-(-rows // 128), -(-cols // 128)], f.name + ": scales of another shape")
    scales = struct.pack("<%dI" % (shape[0] * shape[1]), *widen(dtype, data))
    line = shape[1] * 4
    record = cols + line
    per_tile = matrix["groups_per_tile"] * PANEL_ROWS * GROUP_PANELS
    wrong = 0
    for tile in range(matrix["tiles"]):
        begin, length = f.tiles[matrix["first_tile"] + tile]
        first = tile * per_tile
        count = min(per_tile, rows - first)
        need(count > 0 and 0 <= length - count * record < PAGE, f.name + ": a tile has another size")
        for i in range(count):
            row = first + i
            want = codes[row * cols:(row + 1) * cols] + scales[row // 128 * line:(row // 128 + 1) * line]
            wrong += f.data[begin + i * record:begin + (i + 1) * record] != want
        need(not any(f.data[begin + count * record:begin + length]), f.name + ": padding is not zero")
    return wrong


class Checkpoint:
    def __init__(self, path):
        self.path = path
        self.tensors = {}
        index = os.path.join(path, "model.safetensors.index.json")
        if os.path.exists(os.path.join(path, "model.safetensors")):
            names = ["model.safetensors"]
        else:
            with open(index, encoding="utf-8") as f:
                names = sorted(set(json.load(f)["weight_map"].values()))
        for name in names:
            with open(os.path.join(path, name), "rb") as f:
                (length,) = struct.unpack("<Q", f.read(8))
                for tensor, entry in json.loads(f.read(length)).items():
                    if tensor != "__metadata__":
                        self.tensors[tensor] = (name, 8 + length, entry)
        self.used = set()

    def read(self, tensor):
        need(tensor in self.tensors, "the checkpoint has no " + tensor)
        name, base, entry = self.tensors[tensor]
        begin, end = entry["data_offsets"]
        with open(os.path.join(self.path, name), "rb") as f:
            f.seek(base + begin)
            data = f.read(end - begin)
        self.used.add(tensor)
        return entry["dtype"], entry["shape"], data


class Store:
    def __init__(self, path):
        self.path = path
        with open(os.path.join(path, "lamina.json"), "rb") as f:
            raw = f.read()
        need(raw.endswith(b'"\n}\n') and raw[-36 - 14:-36] == b'\n"checksum": "', "lamina.json: wrong ending")
        if xxhash is not None:
            need(xxhash.xxh3_128_hexdigest(raw[:-36]).encode() == raw[-36:-4], "lamina.json: checksum differs")
        self.manifest = json.loads(raw)
        need(self.manifest["format"] == "lamina-store" and self.manifest["version"] == 2, "unknown format")
        need(self.manifest["codec"] == "raw", "unknown codec")
        self.sizes = {f["name"]: f for f in self.manifest["files"]}
        self.layers = self.manifest["layers"]

    def open(self, name):
        entry = self.sizes[name]
        f = WeightFile(os.path.join(self.path, name), name)
        need(len(f.data) == entry["size"], name + ": size differs from the manifest")
        if xxhash is not None:
            need(xxhash.xxh3_128_hexdigest(f.data) == entry["xxh3_128"], name + ": checksum differs")
        return f


def check_file(store, checkpoint, name, layer, counts):
    f = store.open(name)
    need(f.kind == 0, name + ": not a file of matrices")
    for matrix in f.records:
        need(matrix["flags"] == 0, name + ": unknown flags")
        tensor = LLAMA_NAMES[matrix["role"]].format(layer)
        dtype, shape, data = checkpoint.read(tensor)
        need({"F8_E4M3": "FP8"}.get(dtype, dtype) == matrix["dtype"] and shape == [matrix["rows"], matrix["cols"]],
             "%s is %s %s in the checkpoint, %s %s in the store"
             % (tensor, dtype, shape, matrix["dtype"], [matrix["rows"], matrix["cols"]]))
        if dtype == "F8_E4M3":
            wrong = compare_fp8(f, matrix, data, checkpoint.read(tensor + "_scale_inv"))
        else:
            wrong = compare_matrix(f, matrix, data)
        counts["matrices"] += 1
        counts["weights"] += matrix["rows"] * matrix["cols"]
        if wrong:
            counts["wrong"] += wrong
            print("%s (%s): %d weights differ" % (tensor, name, wrong))


def check_small(store, checkpoint, counts):
    f = store.open("small.bin")
    need(f.kind == 1, "small.bin: not a file of vectors")
    data = b"".join(f.data[a:a + n] for a, n in f.tiles)
    need(len(data) >= f.floats * 4 and not any(data[f.floats * 4:]), "small.bin: padding is not zero")
    for i in range(len(f.tiles) - 1):
        need(f.tiles[i][1] == SMALL_TILE, "small.bin: tile %d is short" % i)
    at = 0
    for v in f.records:
        tensor = LLAMA_NAMES[v["role"]].format(v["layer"])
        dtype, shape, source = checkpoint.read(tensor)
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
        with open(os.path.join(checkpoint.path, entry["name"]), "rb") as f:
            theirs = f.read()
        counts["texts"] += 1
        if ours != theirs or len(ours) != entry["size"]:
            counts["wrong"] += 1
            print("tokenizer/%s differs" % entry["name"])


def check(store_path, checkpoint_path):
    store, checkpoint = Store(store_path), Checkpoint(checkpoint_path)
    counts = dict.fromkeys(("matrices", "vectors", "weights", "texts", "wrong"), 0)
    check_file(store, checkpoint, "embed.bin", "", counts)
    if "head.bin" in store.sizes:
        check_file(store, checkpoint, "head.bin", "", counts)
    for layer, name in enumerate(store.layers):
        check_file(store, checkpoint, name, layer, counts)
    check_small(store, checkpoint, counts)
    check_texts(store, checkpoint, counts)
    left = sorted(t for t in checkpoint.tensors if t not in checkpoint.used and not t.endswith("rotary_emb.inv_freq"))
    if left and not (left == ["lm_head.weight"] and "head.bin" not in store.sizes):
        counts["wrong"] += len(left)
        print("not in the store: " + ", ".join(left))
    print("%(matrices)d matrices, %(vectors)d vectors, %(weights)d weights, %(texts)d text files, %(wrong)d differences" % counts
          + ("" if xxhash is not None else " (checksums not verified: no xxhash module)"))
    return 1 if counts["wrong"] else 0


def dump(path):
    store = Store(path)
    print(json.dumps({k: v for k, v in store.manifest.items() if k in ("format", "version", "codec", "model", "bits")}, indent=1))
    for name in store.sizes:
        f = store.open(name)
        print("%s: %d bytes, %d tiles" % (name, len(f.data), len(f.tiles)))
        for r in f.records:
            print("    " + ", ".join("%s %s" % (k, v) for k, v in r.items()))
    print("layers: " + " ".join(store.layers))
    return 0


def main(argv):
    if len(argv) == 4 and argv[1] == "check":
        work = lambda: check(argv[2], argv[3])
    elif len(argv) == 3 and argv[1] == "dump":
        work = lambda: dump(argv[2])
    else:
        sys.stderr.write(__doc__)
        return 2
    try:
        return work()
    except (Bad, OSError, KeyError, ValueError, struct.error) as e:
        print("%s: %s" % (type(e).__name__, e))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
