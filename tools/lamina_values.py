# SPDX-License-Identifier: Apache-2.0
"""What coded rows of a store stand for, in float32: docs/FORMAT.md, "Coded matrices", written again with the standard library.

It must know nothing of files. Numbers are Python's, of double precision, in which a product, quotient, sum or difference of two
float32 is exact enough to be rounded to float32 once; array("f") rounds. It is slow, and meant to be read.
"""

import array
import math
import struct

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
# Of ggml's blocks of e2m1: doubled, and no minus zero.
DOUBLED = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


class Bad(Exception):
    """The store or the checkpoint is not what it should be."""


def need(condition, text):
    if not condition:
        raise Bad(text)


# ---- numbers ----

def rounded(values):
    """Each value rounded to float32 once."""
    return array.array("f", values)


def once(value):
    return rounded((value,))[0]


def little(code, raw):
    return struct.unpack("<%d%s" % (len(raw) // struct.calcsize(code), code), raw)


def small_float(byte, fraction_bits, bias):
    """Sign, exponent, fraction of one byte; no infinities."""
    exponent, fraction = (byte & 127) >> fraction_bits, byte & (1 << fraction_bits) - 1
    if exponent == 0:
        value = math.ldexp(fraction, 1 - bias - fraction_bits)
    else:
        value = math.ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits)
    return -value if byte & 128 else value


E4M3 = tuple(math.nan if b & 127 == 127 else small_float(b, 3, 7) for b in range(256))
E5M2 = tuple(struct.unpack("<e", bytes((0, b)))[0] for b in range(256))
E8M0 = tuple(math.nan if b == 255 else math.ldexp(1, b - 127) for b in range(256))
INT8 = tuple(b - 256 if b > 127 else b for b in range(256))


def numbers(dtype, raw):
    """A list of the numbers that bytes stand for."""
    if dtype == "BF16":
        return list(struct.unpack("<%df" % (len(raw) // 2), b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))))
    if dtype in ("F32", "F16"):
        return list(little("f" if dtype == "F32" else "e", raw))
    tables = {"F8_E4M3": E4M3, "F8_E5M2": E5M2, "F8_E8M0": E8M0, "I8": INT8}
    need(dtype in tables, "numbers of type %s" % dtype)
    return [tables[dtype][b] for b in raw]


def bits_of(values):
    """float32 values as bytes to compare: every NaN is the same one."""
    if any(v != v for v in values):
        words = array.array("I", array.array("f", values).tobytes())
        return array.array("I", (0x7FC00000 if w & 0x7FFFFFFF > 0x7F800000 else w for w in words)).tobytes()
    return array.array("f", values).tobytes()


def unpack(stream, bits, count):
    """Codes of a stream of bits, low bits first."""
    if bits == 8:
        return list(stream[:count])
    mask, out = (1 << bits) - 1, []
    for at in range(0, -(-count * bits // 8), bits):  # eight codes
        word = int.from_bytes(stream[at:at + bits], "little")
        out += [word >> shift & mask for shift in range(0, 8 * bits, bits)]
    return out[:count]


# ---- GGUF's blocks ----

def half(block, at):
    return struct.unpack_from("<e", block, at)[0]


def nibbles(codes):
    """Sixteen bytes (or 32, 64): all low halves, then all high ones."""
    return [b & 15 for b in codes] + [b >> 4 for b in codes]


def pairs_of_bits(low):
    """Two bits for each of 256 weights: 32 bytes hold those of 128, weight 32k + l in bits 2k of byte l."""
    return [b >> shift & 3 for at in (0, 32) for shift in (0, 2, 4, 6) for b in low[at:at + 32]]


def times(codes, d):
    return rounded([q * d for q in codes])


def times_plus(codes, d, m):
    return rounded([p + m for p in times(codes, d)])


def groupwise(codes, scales, minima=None):
    """As many codes for each scale."""
    out, each = array.array("f"), len(codes) // len(scales)
    for g, scale in enumerate(scales):
        part = codes[g * each:(g + 1) * each]
        out += times(part, scale) if minima is None else times_plus(part, scale, -minima[g])
    return out


def q4_0(b):
    return times([q - 8 for q in nibbles(b[2:])], half(b, 0))


def q4_1(b):
    return times_plus(nibbles(b[4:]), half(b, 0), half(b, 2))


def with_fifth(fifth, codes):
    """The fifth bit of weight j is bit j of a word."""
    word = int.from_bytes(fifth, "little")
    return [q | (word >> j & 1) << 4 for j, q in enumerate(nibbles(codes))]


def q5_0(b):
    return times([q - 16 for q in with_fifth(b[2:6], b[6:])], half(b, 0))


def q5_1(b):
    return times_plus(with_fifth(b[4:8], b[8:]), half(b, 0), half(b, 2))


def q8_0(b):
    return times([INT8[q] for q in b[2:]], half(b, 0))


def q2_k(b):
    d, least = half(b, 80), half(b, 82)
    return groupwise(pairs_of_bits(b[16:80]), rounded([d * (s & 15) for s in b[:16]]), rounded([least * (s >> 4) for s in b[:16]]))


def q3_k(b):
    """Six bits of 16 scales: low nibbles of eight bytes, high ones; the upper two in the last four bytes. Bit k of the 32 bytes
    in front adds 4 to those of weights 32k to 32k + 31."""
    high = [b[l] >> k & 1 for k in range(8) for l in range(32)]
    low_scales, upper = nibbles(b[96:104]), [s >> shift & 3 for shift in (0, 2, 4, 6) for s in b[104:108]]
    scales = rounded([half(b, 108) * ((l | u << 4) - 32) for l, u in zip(low_scales, upper)])
    return groupwise([q + 4 * h - 4 for q, h in zip(pairs_of_bits(b[32:96]), high)], scales)


def eight_pairs(s):
    """Eight scales and eight minima of six bits, in twelve bytes."""
    scales = [v & 63 for v in s[:4]] + [s[8 + i] & 15 | s[i] >> 6 << 4 for i in range(4)]
    minima = [v & 63 for v in s[4:8]] + [s[8 + i] >> 4 | s[4 + i] >> 6 << 4 for i in range(4)]
    return scales, minima


def k_of_nibbles(b, low, high):
    """32 bytes of `low` hold two groups of 32; bit g of the 32 bytes of `high` is the fifth of group g."""
    codes = [q for at in range(0, 128, 32) for q in nibbles(low[at:at + 32])]
    codes = [q | high[i % 32] >> i // 32 << 4 & 16 for i, q in enumerate(codes)]
    scales, minima = eight_pairs(b[4:16])
    return groupwise(codes, rounded([half(b, 0) * s for s in scales]), rounded([half(b, 2) * m for m in minima]))


def q4_k(b):
    return k_of_nibbles(b, b[16:], bytes(32))


def q5_k(b):
    return k_of_nibbles(b, b[48:], b[16:48])


def q6_k(b):
    low = nibbles(b[:64]) + nibbles(b[64:128])
    codes = [(q | u << 4) - 32 for q, u in zip(low, pairs_of_bits(b[128:192]))]
    return groupwise(codes, rounded([half(b, 208) * INT8[s] for s in b[192:208]]))


def iq4_nl(b):
    return times([IQ4[q] for q in nibbles(b[2:])], half(b, 0))


def iq4_xs(b):
    low = [n for s in b[4:8] for n in (s & 15, s >> 4)]
    (upper,) = struct.unpack_from("<H", b, 2)
    scales = rounded([half(b, 0) * ((l | (upper >> 2 * g & 3) << 4) - 32) for g, l in enumerate(low)])
    return groupwise([IQ4[q] for at in range(8, 136, 16) for q in nibbles(b[at:at + 16])], scales)


def tq1_0(b):
    """Bytes are fractions of 256 in base three: digit n of 32 bytes, digit n + 1, ...; then of 16 bytes; then of 4."""
    digits = [((q * 3 ** n & 255) * 3 >> 8) - 1 for at, many, count in ((0, 32, 5), (32, 16, 5), (48, 4, 4))
              for n in range(count) for q in b[at:at + many]]
    return times(digits, half(b, 52))


def tq2_0(b):
    return times([q - 1 for q in pairs_of_bits(b)], half(b, 64))


def mxfp4(b):
    return times([DOUBLED[q] for q in nibbles(b[1:])], math.ldexp(1, b[0] - 128))


def nvfp4(b):
    """Four groups of 16; their scales are e4m3 without a sign (0x7f: 0; 0xff is a number) and halved."""
    codes = [DOUBLED[q] for at in range(4, 36, 8) for q in nibbles(b[at:at + 8])]
    return groupwise(codes, [0.0 if s == 0x7F else small_float(s & 127, 3, 7) / 2 for s in b[:4]])


# Name in a store -> weights and bytes of a block, and what it stands for.
BLOCKS = {
    "Q4_0": (32, 18, q4_0), "Q4_1": (32, 20, q4_1), "Q5_0": (32, 22, q5_0), "Q5_1": (32, 24, q5_1), "Q8_0": (32, 34, q8_0),
    "Q2_K": (256, 84, q2_k), "Q3_K": (256, 110, q3_k), "Q4_K": (256, 144, q4_k), "Q5_K": (256, 176, q5_k),
    "Q6_K": (256, 210, q6_k), "IQ4_NL": (32, 18, iq4_nl), "IQ4_XS": (256, 136, iq4_xs), "TQ1_0": (256, 54, tq1_0),
    "TQ2_0": (256, 66, tq2_0), "MXFP4_B": (32, 17, mxfp4), "NVFP4_B": (64, 36, nvfp4),
}


# Of these types the codes end a block: what can be packed. Bytes in which low halves are followed by high ones, or 0: of 8 bits.
PACKED_BLOCKS = {"Q8_0": 0, "Q4_0": 16, "Q4_1": 16, "Q4_K": 32, "IQ4_NL": 16, "IQ4_XS": 16, "MXFP4_B": 16, "NVFP4_B": 8}


class Blocks:
    """Rows of a type of block."""

    def __init__(self, dtype, cols):
        self.len, self.bytes, self.decode = BLOCKS[dtype]
        need(cols % self.len == 0, "%d columns are no whole blocks of %s" % (cols, dtype))
        self.lead_bytes, self.record_bytes = 0, cols // self.len * self.bytes
        self.run = PACKED_BLOCKS.get(dtype)
        self.code_bits = 0 if self.run is None else 4 if self.run else 8
        self.each = self.len * self.code_bits // 8  # bytes of codes of a block
        self.code_bytes = cols // self.len * self.each

    def join(self, rest, codes):
        """A record from the scales and the codes of its blocks."""
        more, out = self.bytes - self.each, b""
        for i in range(len(rest) // more):
            out += rest[i * more:(i + 1) * more] + codes[i * self.each:(i + 1) * self.each]
        return out

    def pack(self, codes):
        """Codes of a row, in the order of weights, as its blocks have them."""
        if self.code_bits == 8:
            return codes
        runs = (codes[at:at + 2 * self.run] for at in range(0, len(codes), 2 * self.run))
        return b"".join(bytes(a | b << 4 for a, b in zip(run[:self.run], run[self.run:])) for run in runs)

    def row(self, record):
        out = array.array("f")
        for at in range(0, len(record), self.bytes):
            out += self.decode(record[at:at + self.bytes])
        return out


# ---- GROUPS ----

SCALES = ("F32", "F16", "BF16", "F8_E8M0", "F8_E4M3", "nested")
SCALE_BYTES = (4, 2, 2, 1, 1, 1)
OVER_127 = once(1 / 127)


class Groups:
    """Rows whose columns share scales in groups. `fields`: the 16 bytes of a matrix record."""

    def __init__(self, fields, cols):
        self.bits, self.code, self.scale, self.shift, ordered, phased = fields[:6]
        rest, self.group, self.nested = struct.unpack_from("<HII", fields, 6)
        known = 2 <= self.bits <= 8 and self.code <= 5 and self.scale <= 5 and self.shift <= 6
        need(known and ordered <= 1 and phased <= 1 and rest == 0 and self.group > 0, "unknown kind of groups")
        need((self.scale == 5) == (self.nested > 0), "runs of scales without runs, or the other way round")
        self.cols, self.ordered, self.phased = cols, ordered == 1, phased == 1
        self.count = self.touched(self.group) if phased else -(-cols // self.group)
        # The record.
        self.scales = -(-cols * self.bits // 8)
        self.runs = self.scales + self.count * SCALE_BYTES[self.scale]
        self.place = self.runs + (4 * self.touched(self.nested) if self.scale == 5 else 0)
        self.zeros = self.place + (4 if self.scale == 5 or phased else 0)
        zeros = {1: -(-self.count * self.bits // 8), 3: self.count * SCALE_BYTES[self.scale]}.get(self.shift, 0)
        self.record_bytes = self.zeros + zeros
        self.code_bits, self.code_bytes = (self.bits if self.bits > 2 else 0), self.scales
        # The lead.
        self.table = -(-2 * cols // 4) * 4 if ordered else 0
        self.global_scale = self.table + (64 if self.code == 5 else 0)
        self.nested_table = self.global_scale + (4 if self.shift in (5, 6) else 0)
        self.lead_bytes = -(-(self.nested_table + (1028 if self.scale == 5 else 0)) // 16) * 16

    def join(self, rest, codes):
        return codes + rest

    def pack(self, codes):
        """One stream of bits."""
        if self.bits == 8:
            return codes
        word = 0
        for code in reversed(codes):
            word = word << self.bits | code
        return word.to_bytes(self.code_bytes, "little")

    def touched(self, run):
        """How many runs of so many weights a row can touch."""
        return (self.cols + run - 2) // run + 1

    def use(self, lead):
        """What all rows have in common."""
        self.order = struct.unpack_from("<%dH" % self.cols, lead) if self.ordered else None
        table = struct.unpack_from("<16f", lead, self.table) if self.code == 5 else None
        self.worth = (range(256), INT8, E4M3, E5M2, E2M1, table)[self.code]
        if self.shift in (5, 6):
            (self.one,) = struct.unpack_from("<f", lead, self.global_scale)
        if self.scale == 5:
            *self.steps, self.offset = struct.unpack_from("<257f", lead, self.nested_table)
        end = self.nested_table + (1028 if self.scale == 5 else 0)
        need(not any(lead[end:]) and not any(lead[2 * self.cols:self.table]), "a lead ends in other bytes than zeros")

    def scales_of(self, record, place, phase):
        raw = record[self.scales:self.runs]
        if self.scale == 5:
            runs = struct.unpack_from("<%df" % self.touched(self.nested), record, self.runs)
            last = len(runs) - 1  # of groups that a row does not touch
            products = rounded([self.steps[b] * runs[min(last, (place - phase + i * self.group) // self.nested)]
                                for i, b in enumerate(raw)])
            return rounded([p + self.offset for p in products])
        scales = numbers(SCALES[self.scale], raw)
        if self.shift in (5, 6):
            return rounded([s * self.one if self.shift == 5 else over(s, self.one) for s in scales])
        return scales

    def values(self, codes, scale, zero):
        """Of codes that share a scale; zero: a zero point or a minimum."""
        if self.shift in (1, 2):
            return rounded([(q - zero) * scale for q in codes])
        products = rounded([self.worth[q] * scale for q in codes])
        if self.shift == 3:
            return rounded([p + zero for p in products])
        if self.shift == 4:
            return rounded([p * OVER_127 for p in products])
        return products

    def row(self, record):
        codes = unpack(record, self.bits, self.cols)
        odd = self.cols * self.bits % 8
        need(odd == 0 or record[self.scales - 1] >> odd == 0, "codes beyond a row's last")
        place = struct.unpack_from("<I", record, self.place)[0] if self.zeros > self.place else 0
        phase = place % self.group
        need(place < (self.nested or self.group) and (phase == 0 or self.phased), "a row begins at an impossible place")
        if self.scale == 5:
            runs = (place + self.cols - 1) // self.nested + 1
            need(not any(record[self.runs + 4 * runs:self.place]), "runs beyond a row's last")
        scales, zeros = self.scales_of(record, place, phase), [1 << (self.bits - 1)] * self.count
        if self.shift == 1:
            zeros = unpack(record[self.zeros:], self.bits, self.count)
        elif self.shift == 3:
            zeros = numbers(SCALES[self.scale], record[self.zeros:])
        used = max(self.order) + 1 if self.ordered else (phase + self.cols - 1) // self.group + 1
        need(used <= self.count, "a column is in group %d of %d" % (used, self.count))
        if self.ordered:
            table = [self.values(range(1 << self.bits), scales[g], zeros[g]) for g in range(self.count)]
            return rounded([table[g][q] for q, g in zip(codes, self.order)])
        beyond = SCALE_BYTES[self.scale] * used
        need(not any(record[self.scales + beyond:self.runs]), "scales beyond a row's last")
        out = array.array("f")
        for g in range(used):
            begin = max(0, g * self.group - phase)
            out += self.values(codes[begin:(g + 1) * self.group - phase], scales[g], zeros[g])
        return out


def over(a, b):
    """a / b as IEEE 754 has it."""
    if b != 0 or a != a or b != b:
        return a / b if b != 0 else math.nan
    return math.nan if a == 0 else math.copysign(math.inf, a) * math.copysign(1, b)


# ---- checksums of values ----

FNV_START, FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3


def fnv(h, raw):
    """FNV-1a, 64 bits, of more bytes."""
    for byte in raw:
        h = (h ^ byte) * FNV_PRIME & 0xFFFFFFFFFFFFFFFF
    return h
