# SPDX-License-Identifier: Apache-2.0
"""Packed tiles of a lamina store, written from docs/FORMAT.md ("Packed matrices", "Matrices in steps") and nothing else."""

import array
import math
import struct

from lamina_values import need

KINDS = ((8, 7, (8,)), (5, 10, (8, 2, 1)), (4, 3, (4,)), (5, 2, (2, 1)))  # bits of exponent, of fraction, raw planes
WHOLE, BYTES, ALL = 4, 12, 18                      # then whole numbers of 0 to 7 raw bits; then bytes of 0 to 5
TYPES = {"BF16_PL": ("BF16", 0), "F16_PL": ("F16", 1), "STEPS": ("STEPS", WHOLE)}


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


def form_of(kind):
    """Bits of symbols, bits below them, raw planes."""
    if kind < WHOLE:
        return KINDS[kind]
    raw = kind - (WHOLE if kind < BYTES else BYTES)
    return 8 if kind < BYTES else 8 - raw, raw, tuple(width for width in (1, 2, 4) if raw & width)


def size_of(kind):
    """Bytes of a value."""
    return 1 if kind in (2, 3) or kind >= BYTES else 2


def whole_of_bf16(bits):
    (value,) = struct.unpack("<f", struct.pack("<I", bits << 16))
    need(math.isfinite(value) and value == int(value) and bits != 0x8000, "a value is not a whole number")
    return int(value)


def whole(value):
    """A whole number that BF16 has: what stands below its first 8 bits is 0."""
    beyond = max(abs(value).bit_length() - 8, 0)
    need(value >> beyond << beyond == value, "a whole number has more than 8 significant bits")
    return value


def block(data, entry, count, kind, widths, tables):
    """The values of a block, as integers (whole numbers: themselves), and where it ends."""
    exponent, fraction, raws = form_of(kind)
    begin, *more = struct.unpack_from("<I4H", data, entry)
    at = begin * 64
    size, is_whole = size_of(kind), WHOLE <= kind < BYTES
    if more[0] == 0xFFFF:
        need(not any(more[1:]), "counts of a block that is not coded")
        end = at + up(count * size)
        need(len(data) >= end and not any(data[at + count * size:end]), "a block is not filled up with zeros")
        values = list(struct.unpack_from("<%d%s" % (count, "BH"[size - 1]), data, at))
        if is_whole:
            known = {bits: whole_of_bf16(bits) for bits in set(values)}
            values = [known[bits] for bits in values]
        return values, end
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
    need(len(symbols) == left and not any(data[at + left:at + up(left)]), "symbols are not filled up with zeros")
    end = at + up(left)
    for codes, width, table in zip(reversed(levels), reversed(widths), reversed(tables)):
        deeper = iter(symbols)
        last = (1 << width) - 1
        symbols = [next(deeper) if code == last else table[code] for code in codes]
    if kind >= BYTES:
        need(all(s >> exponent == 0 for s in symbols), "a symbol of a byte is too large")
        return [s << fraction | r for r, s in zip(raw, symbols)], end
    if is_whole:
        pairs = [s << fraction | r for r, s in zip(raw, symbols)]
        known = {pair: whole(pair - (128 << fraction)) for pair in set(pairs)}
        return [known[pair] for pair in pairs], end
    low = (1 << fraction) - 1
    return [r & low | s << fraction | r >> fraction << (fraction + exponent) for r, s in zip(raw, symbols)], end


def values_of(data, kinds, counts):
    """The values of a tile whose blocks have `counts`; what follows the tile must be zeros."""
    stated, levels = data[0], data[1]
    need(stated in kinds, "a packed tile is of another kind")
    need(1 <= levels <= 4 and not any(data[2 + levels:6]), "the head of a packed tile is wrong")
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
        values, end = block(data, 64 + 12 * i, count, stated, widths, tables)
        out += values
    need(not any(data[end:]) and 64 <= len(data) - end < 64 + 4096, "a packed tile ends elsewhere")
    return out


def decode(data, kind, counts):
    """The decoded bytes of a tile of BF16 or F16."""
    values = values_of(data, (kind,), counts)
    return struct.pack("<%dH" % len(values), *values)


def decode_steps(data, rows16, counts):
    """Of a tile of whole numbers the scales of its rows, padding rows included, and the numbers."""
    lead = up(2 * rows16)
    scales = struct.unpack("<%df" % rows16, b"".join(b"\0\0" + data[at:at + 2] for at in range(0, 2 * rows16, 2)))
    need(not any(data[2 * rows16:lead]), "scales are not filled up with zeros")
    need(all(map(math.isfinite, scales)), "a scale is not a number")
    return scales, array.array("h", values_of(data[lead:], range(WHOLE, BYTES), counts))


CODES = (2, 3) + tuple(range(BYTES, ALL))  # kinds of bytes


def rest_of_rows(data, form, runs, rows, size):
    """The scales of each row, where the codes begin, and whether it is known where the part ends: a list of bytes."""
    if form == 0:
        at = up(rows * size)
        need(not any(data[rows * size:at]), "scales are not filled up with zeros")
        return [data[r * size:(r + 1) * size] for r in range(rows)], at
    if form == 1:
        at = up(2 * rows)
        which = struct.unpack_from("<%dH" % rows, data)
        steps = [b - a for a, b in zip(which, which[1:])]
        need(which[0] == 0 and which[-1] + 1 == runs and set(steps) <= {0, 1}, "runs of scales do not follow each other")
        end = up(at + runs * size)
        need(not any(data[2 * rows:at]) and not any(data[at + runs * size:end]), "runs are not filled up with zeros")
        return [data[at + i * size:at + (i + 1) * size] for i in which], end
    need(64 * size <= 65536, "the scales of 64 rows are too many to be packed")
    each = size_of(data[0])
    need(size % each == 0, "scales of another size")
    counts = []
    for first in range(0, rows, 64):
        left = min(64, rows - first) * size // each
        counts += [min(16384, left - at) for at in range(0, left, 16384)]
    values = values_of(data, (0, 1) + CODES, counts)
    raw = struct.pack("<%d%s" % (len(values), "BH"[each - 1]), *values)
    return [raw[r * size:(r + 1) * size] for r in range(rows)], len(data)


def decode_codes(data, coding, cols, rows):
    """A packed tile of codes as it would be without: the lead, then the records of so many rows."""
    codes, form, zero, runs, begin = struct.unpack_from("<BBHII", data)
    need(codes <= 1 and form <= 2 and zero == 0 and (form == 1 or runs == 0) and not any(data[12:64]), "the head of a packed tile")
    lead, at = data[64:64 + coding.lead_bytes], 64 + up(coding.lead_bytes)
    need(not any(data[64 + coding.lead_bytes:at]), "a lead is not filled up with zeros")
    bits, code_bytes = coding.code_bits, coding.code_bytes
    rest, length = rest_of_rows(data[at:64 * begin], form, runs, rows, coding.record_bytes - code_bytes)
    need(at + length == 64 * begin, "codes begin elsewhere")
    data = data[64 * begin:]
    if codes == 0:
        end = rows * code_bytes
        need(len(data) >= end and not any(data[end:]), "codes are not filled up with zeros")
        return lead + b"".join(coding.join(rest[r], data[r * code_bytes:(r + 1) * code_bytes]) for r in range(rows))
    widths = [min(256, cols - col) for col in range(0, cols, 256)]
    values = values_of(data, CODES, [min(64, rows - first) * width for first in range(0, rows, 64) for width in widths])
    need(max(values) >> bits == 0, "a code has too many bits")
    out, at = [b""] * rows, 0
    for first in range(0, rows, 64):
        for width in widths:
            for r in range(first, min(first + 64, rows)):
                out[r] += bytes(values[at:at + width])
                at += width
    return lead + b"".join(coding.join(rest[r], coding.pack(out[r])) for r in range(rows))
