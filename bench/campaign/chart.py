"""Line charts as SVG, with nothing but the standard library."""

from __future__ import annotations

import math
from html import escape

COLOURS = ("#0b6e99", "#c0392b", "#7d8a2e", "#8e44ad", "#555555", "#d68910")
FONT = 'font-family="sans-serif" font-size="12"'
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 220, 40, 50


def lines(title, x_label, y_label, series, *, log_x=False, log_y=False, y_from=None, dashed=()):
    """An SVG document. `series`: name -> [(x, y), ...]; a y of None leaves a gap. `dashed`: names of limits."""
    points = [(x, y) for values in series.values() for x, y in values if y is not None]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low_x, high_x = min(xs), max(xs)
    low_y = min(ys) * 0.9 if log_y else min([*ys, 0 if y_from is None else y_from])
    high_y = max(ys) * 1.05
    to_x, to_y = _scale(low_x, high_x, LEFT, WIDTH - RIGHT, log_x), _scale(low_y, high_y, HEIGHT - BOTTOM, TOP, log_y)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for tick in _ticks(low_x, high_x, log_x):
        x = to_x(tick)
        out.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in _ticks(low_y, high_y, log_y):
        y = to_y(tick)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#eee"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        dash = ' stroke-dasharray="6 4"' if name in dashed else ""
        drawn, pen = [], "M"
        for x, y in values:
            if y is None:
                pen = "M"
                continue
            drawn.append(f"{pen}{to_x(x):.1f} {to_y(y):.1f}")
            pen = "L"
        out.append(f'<path d="{" ".join(drawn)}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        if len(values) <= 20 and not dash:
            for x, y in values:
                if y is not None:
                    out.append(f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="2.6" fill="{colour}"/>')
        at = TOP + 14 + 18 * number
        out.append(
            f'<line x1="{WIDTH - RIGHT + 14}" y1="{at}" x2="{WIDTH - RIGHT + 34}" y2="{at}" stroke="{colour}"'
            f' stroke-width="2"{dash}/>'
        )
        out.append(f'<text x="{WIDTH - RIGHT + 40}" y="{at + 4}">{escape(name)}</text>')
    out.append("</svg>\n")
    return "\n".join(out)


def _scale(low, high, begin, end, log):
    if log:
        low, high = math.log(low), math.log(high)
    span = (high - low) or 1.0
    return lambda value: begin + ((math.log(value) if log else value) - low) / span * (end - begin)


def _ticks(low, high, log):
    if log:
        found = [step * 10.0**power for power in range(-3, 9) for step in (1, 2, 5)]
        return [tick for tick in found if low * 0.999 <= tick <= high * 1.001]
    step = 10.0 ** math.floor(math.log10((high - low) or 1.0))
    step = next(step * part for part in (0.2, 0.5, 1, 2) if (high - low) / (step * part) <= 8)
    first = math.ceil(low / step)
    return [step * number for number in range(first, int(high / step) + 1)]
