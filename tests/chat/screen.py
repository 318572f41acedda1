# SPDX-License-Identifier: Apache-2.0
"""A terminal that a test can look at: as much of a VT100 as lamina and libedit use. What scrolls away is kept."""
import re
import unicodedata

SEQUENCE = re.compile(r"\x1b(?:\[([0-9;?]*)([A-Za-z])|([DM78=>])|\([0AB]|\][^\x07]*\x07)")


class Screen:
    def __init__(self, columns, rows):
        self.columns, self.height = columns, rows
        self.rows, self.gone = [[" "] * columns for _ in range(rows)], []
        self.x = self.y = 0
        self.saved = (0, 0)
        self.pending = ""
        self.drawn_below = 0  # cursors saved: how often something was drawn beside the text

    def text(self):
        lines = ["".join(r).rstrip() for r in self.gone + self.rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def down(self):
        if self.y + 1 < self.height:
            self.y += 1
        else:
            self.gone.append(self.rows.pop(0))
            self.rows.append([" "] * self.columns)

    def up(self):
        if self.y > 0:
            self.y -= 1
        else:
            self.rows.insert(0, [" "] * self.columns)
            self.rows.pop()

    def put(self, c):
        width = 2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1
        if width and self.x + width > self.columns:
            self.x = 0
            self.down()
        if width:
            self.rows[self.y][self.x] = c
            if width == 2:
                self.rows[self.y][self.x + 1] = ""
            self.x += width  # may be `columns`: waiting behind the last one

    def control(self, numbers, letter):
        n = int(numbers.split(";")[0]) if numbers[:1].isdigit() else 0
        x = min(self.x, self.columns - 1)
        if letter == "K":
            first, last = {0: (x, self.columns), 1: (0, x + 1)}.get(n, (0, self.columns))
            self.rows[self.y][first:last] = [" "] * (last - first)
        elif letter == "J":
            self.control("0", "K")
            for row in range(self.y + 1, self.height):
                self.rows[row] = [" "] * self.columns
        elif letter == "P":
            row = self.rows[self.y]
            del row[x:x + max(n, 1)]
            row += [" "] * (self.columns - len(row))
        elif letter == "@":
            self.rows[self.y][x:x] = [" "] * max(n, 1)
            del self.rows[self.y][self.columns:]
        elif letter == "A":
            self.y = max(0, self.y - max(n, 1))
        elif letter == "B":
            self.y = min(self.height - 1, self.y + max(n, 1))
        elif letter == "C":
            self.x = min(self.columns - 1, x + max(n, 1))
        elif letter == "D":
            self.x = max(0, x - max(n, 1))
        elif letter == "G":
            self.x = max(n, 1) - 1
        elif letter not in "mhlr":
            raise ValueError(f"a sequence this terminal does not know: {numbers}{letter}")

    def escape(self, letter):
        if letter == "D":
            self.down()
        elif letter == "M":
            self.up()
        elif letter == "7":
            self.saved = (self.x, self.y)
            self.drawn_below += 1
        elif letter == "8":
            self.x, self.y = self.saved

    def feed(self, text):
        text = self.pending + text
        at = 0
        while at < len(text):
            c = text[at]
            if c == "\x1b":
                found = SEQUENCE.match(text, at)
                if not found:
                    if len(text) - at > 40:
                        raise ValueError(f"no sequence: {text[at:at + 20]!r}")
                    break
                if found.group(2):
                    self.control(found.group(1), found.group(2))
                elif found.group(3):
                    self.escape(found.group(3))
                at = found.end()
                continue
            if c == "\r":
                self.x = 0
            elif c == "\n":
                self.down()
            elif c == "\b":
                self.x = max(0, min(self.x, self.columns - 1) - 1)
            elif c == "\t":
                self.x = min(self.columns - 1, self.x // 8 * 8 + 8)
            elif c >= " ":
                self.put(c)
            at += 1
        self.pending = text[at:]
