# SPDX-License-Identifier: Apache-2.0
"""Reads small checkpoints (safetensors, torch pickles) and writes GGUF files, in plain Python, for run_gguf.py.

A tensor here is a shape and a flat array of floats with the name of the type it had; converting is choosing rows, turning, and
stacking. Nothing is quantised, but MXFP4 blocks are carried over as they are.
"""
import array
import collections
import glob
import json
import math
import os
import pickle
import struct
import zipfile

TYPES = {"F32": 0, "F16": 1, "BF16": 30, "MXFP4": 39}
U32, F32, BOOL, TEXT, ARRAY = 4, 6, 7, 8, 9


class Tensor:
    def __init__(self, shape, data, kind):
        self.shape, self.data, self.kind = list(shape), data, kind

    def width(self):
        """Elements of one of the first axis."""
        return math.prod(self.shape[1:])

    def rows(self, numbers):
        width, out = self.width(), array.array("f")
        for n in numbers:
            out += self.data[n * width:(n + 1) * width]
        return Tensor([len(out) // width] + self.shape[1:], out, self.kind)

    def turned(self):
        """The last two axes exchanged."""
        *front, rows, cols = self.shape
        out = array.array("f")
        for plane in range(math.prod(front)):
            part = self.data[plane * rows * cols:(plane + 1) * rows * cols]
            for c in range(cols):
                out += part[c::cols]
        return Tensor(front + [cols, rows], out, self.kind)

    def shaped(self, *shape):
        return Tensor(shape, self.data, self.kind)

    def mapped(self, function):
        """Each element changed; no longer in the type it was stored in."""
        return Tensor(self.shape, array.array("f", map(function, self.data)), "F32")


def joined(tensors):
    """Along the first axis."""
    data = array.array("f")
    for t in tensors:
        data += t.data
    return Tensor([sum(t.shape[0] for t in tensors)] + tensors[0].shape[1:], data, tensors[0].kind)


def stacked(tensors):
    return joined([t.shaped(1, *t.shape) for t in tensors])


# ---- reading ----

def floats(raw, kind):
    out = array.array("f")
    if kind == "BF16":
        words = array.array("H", raw)
        out.frombytes(array.array("I", (w << 16 for w in words)).tobytes())
    elif kind == "F16":
        out.extend(struct.unpack(f"<{len(raw) // 2}e", raw))
    elif kind == "F32":
        out.frombytes(raw)
    elif kind == "F8_E4M3":
        out.extend(map(e4m3, raw))
    else:
        out.extend(raw)  # U8: codes
    return out


def e4m3(code):
    exponent, fraction = code >> 3 & 15, code & 7
    value = fraction * 2.0 ** -9 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7)
    return -value if code & 128 else value


def read_safetensors(path):
    with open(path, "rb") as f:
        raw = f.read()
    size = struct.unpack("<Q", raw[:8])[0]
    for name, entry in json.loads(raw[8:8 + size]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            yield name, Tensor(entry["shape"], floats(raw[8 + size + begin:8 + size + end], entry["dtype"]), entry["dtype"])


class Storage:
    KINDS = {"HalfStorage": "F16", "BFloat16Storage": "BF16", "FloatStorage": "F32"}


class Reader(pickle.Unpickler):
    """torch.save's zip: storages by persistent id, tensors as calls with a storage, an offset and a shape."""

    def __init__(self, file, archive, root):
        super().__init__(file)
        self.archive, self.root = archive, root

    def persistent_load(self, pid):
        return self.archive.read(f"{self.root}/data/{pid[2]}"), Storage.KINDS.get(pid[1])

    def find_class(self, module, name):
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, stride, *_: self.tensor(storage, offset, shape)
        if name == "_rebuild_parameter":
            return lambda tensor, *_: tensor
        if name == "OrderedDict":
            return collections.OrderedDict
        return name  # storage classes

    @staticmethod
    def tensor(storage, offset, shape):
        raw, kind = storage
        if kind is None:
            return None
        size = 4 if kind == "F32" else 2
        raw = raw[offset * size:(offset + math.prod(shape)) * size]
        return Tensor(shape, floats(raw, kind), kind)

    @classmethod
    def read(cls, path):
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            with archive.open(name) as f:
                return cls(f, archive, name[:-len("/data.pkl")]).load().items()


def read_checkpoint(folder):
    """Name -> Tensor. FP8 codes are multiplied out."""
    tensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        tensors.update(read_safetensors(path))
    for path in sorted(glob.glob(os.path.join(folder, "*.bin"))):
        tensors.update((n, t) for n, t in Reader.read(path) if t is not None)
    for name in [n for n in tensors if tensors[n].kind == "F8_E4M3"]:
        codes, scales = tensors[name], tensors.pop(name + "_scale_inv")
        cols, blocks = codes.shape[1], scales.shape[1]
        tensors[name] = Tensor(codes.shape, array.array("f", (
            v * scales.data[i // cols // 128 * blocks + i % cols // 128] for i, v in enumerate(codes.data))), "F32")
    return tensors


# ---- writing ----

def encoded(tensor, kind):
    """Bytes of a tensor, which must not lose anything in `kind`."""
    if kind == "F32":
        return tensor.data.tobytes()
    if kind == "F16":
        return struct.pack(f"<{len(tensor.data)}e", *tensor.data)
    words = array.array("I", tensor.data.tobytes())
    if any(w & 0xFFFF for w in words):
        raise ValueError("not bf16")
    return array.array("H", (w >> 16 for w in words)).tobytes()


def mxfp4_blocks(blocks, scales):
    """[.., groups, 16] bytes of neighbours -> 17 bytes a group: the exponent, and codes i and i + 16 in one byte."""
    out = bytearray()
    for g, scale in enumerate(scales.data):
        nibbles = []
        for byte in blocks.data[g * 16:(g + 1) * 16]:
            nibbles += [int(byte) & 15, int(byte) >> 4]
        out += bytes([int(scale)] + [nibbles[i] | nibbles[i + 16] << 4 for i in range(16)])
    return bytes(out)


def packed_text(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def packed_value(value):
    """Type number and bytes."""
    if isinstance(value, bool):
        return BOOL, struct.pack("<B", value)
    if isinstance(value, int):
        return U32, struct.pack("<I", value)
    if isinstance(value, float):
        return F32, struct.pack("<f", value)
    if isinstance(value, str):
        return TEXT, packed_text(value)
    items = [packed_value(v) for v in value]
    return ARRAY, struct.pack("<IQ", items[0][0], len(items)) + b"".join(raw for _, raw in items)


def write_gguf(path, metadata, tensors):
    """`tensors`: list of (name, shape slowest first, type name, bytes)."""
    align = 32
    head, infos, data = bytearray(), bytearray(), bytearray()
    for key, value in metadata.items():
        number, raw = packed_value(value)
        head += packed_text(key) + struct.pack("<I", number) + raw
    for name, shape, kind, raw in tensors:
        data += bytes(-len(data) % align)
        infos += packed_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), TYPES[kind], len(data))
        data += raw
    data += bytes(-len(data) % align)
    front = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + head + infos
    with open(path, "wb") as f:
        f.write(front + bytes(-len(front) % align) + data)
