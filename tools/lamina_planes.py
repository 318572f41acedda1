# SPDX-License-Identifier: Apache-2.0
"""Packed tiles of a lamina store, written from docs/FORMAT.md ("Packed matrices") and nothing else."""

import struct

from lamina_values import need

KINDS = ((8, 7, (8,)), (5, 10, (8, 2, 1)), (4, 3, (4,)), (5, 2, (2, 1)))  # bits of exponent, of fraction, raw planes
TYPES = {"BF16_PL": ("BF16", 0), "F16_PL": ("F16", 1)}


def up(size):
    return -(-size // 64) * 64


def plane(data, at, count, width):
    """`count` fields of a plane that begins at `at`, and where it ends."""
    per_unit, mask, out = 512 // width, (1 << width) - 1, []
    while len(out) < count:
        unit = data[at:at + 64]
        need(len(unit) == 64, "a plane is cut short")
        fields = [byte >> shift & mask for shift in range(0, 8, width) for byte in unit]
        need(not any(fields[count - len(out):]), "a plane is not filled up with zeros")
        out += fields[:count - len(out)]
        at += 64
    return out, at


def block(data, entry, count, kind, widths, tables):
    """The values of a block, as integers, and where it ends."""
    exponent, fraction, raws = KINDS[kind]
    begin, *more = struct.unpack_from("<I4H", data, entry)
    at = begin * 64
    size = (1 + exponent + fraction) // 8
    if more[0] == 0xFFFF:
        need(not any(more[1:]), "counts of a block that is not coded")
        return list(struct.unpack_from("<%d%s" % (count, "BH"[size - 1]), data, at)), at + up(count * size)
    need(not any(more[len(widths):]), "counts of levels that there are not")
    raw = [0] * count
    shift = 0
    for width in raws:
        fields, at = plane(data, at, count, width)
        raw = [r | f << shift for r, f in zip(raw, fields)]
        shift += width
    levels, left = [], count
    for width, goes_on in zip(widths, more):
        codes, at = plane(data, at, left, width)
        need(codes.count((1 << width) - 1) == goes_on, "another number of values goes on")
        levels.append(codes)
        left = goes_on
    symbols = list(data[at:at + left])
    for codes, width, table in zip(reversed(levels), reversed(widths), reversed(tables)):
        deeper = iter(symbols)
        last = (1 << width) - 1
        symbols = [next(deeper) if code == last else table[code] for code in codes]
    low = (1 << fraction) - 1
    return [r & low | s << fraction | r >> fraction << (fraction + exponent) for r, s in zip(raw, symbols)], at + up(left)


def decode(data, kind, counts):
    """The decoded bytes of a tile of which the blocks have `counts` values; what follows the tile must be zeros."""
    stated, levels = data[0], data[1]
    need(stated == kind and 1 <= levels <= 4 and not any(data[2 + levels:6]), "the head of a packed tile is wrong")
    widths = data[2:2 + levels]
    blocks, ranked, zero = struct.unpack_from("<HBB", data, 6)
    need(all(w in (2, 4) for w in widths) and blocks == len(counts) and zero == 0, "the head of a packed tile is wrong")
    tables, at = [], 10
    for width in widths:
        tables.append(data[at:at + (1 << width) - 1])
        at += (1 << width) - 1
    need(at - 10 == ranked <= 54 and not any(data[at:64]), "the table of a packed tile is wrong")
    end = 64 + up(12 * blocks)
    need(not any(data[64 + 12 * blocks:end]), "the directory of a packed tile is not filled up with zeros")
    out = []
    for i, count in enumerate(counts):
        need(struct.unpack_from("<I", data, 64 + 12 * i)[0] * 64 == end, "blocks do not follow each other")
        values, end = block(data, 64 + 12 * i, count, kind, widths, tables)
        out += values
    need(not any(data[end:]) and 64 <= len(data) - end < 64 + 4096, "a packed tile ends elsewhere")
    return struct.pack("<%dH" % len(out), *out)
