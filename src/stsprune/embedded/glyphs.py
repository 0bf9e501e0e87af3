"""A 5 x 7 bitmap font for the characters that SceneQA's objects bear.

Look-alikes (O/0, I/1, S/5, ...) are left out: the task is to find the right object, not to
guess between twins. `A` is left out because the lower-cased word `a` is an article.
"""

from __future__ import annotations

import numpy as np

_ROWS = {
    "b": "####. #...# #...# ####. #...# #...# ####.",
    "c": ".#### #.... #.... #.... #.... #.... .####",
    "e": "##### #.... #.... ####. #.... #.... #####",
    "f": "##### #.... #.... ####. #.... #.... #....",
    "h": "#...# #...# #...# ##### #...# #...# #...#",
    "j": "..### ...#. ...#. ...#. ...#. #..#. .##..",
    "k": "#...# #..#. #.#.. ##... #.#.. #..#. #...#",
    "l": "#.... #.... #.... #.... #.... #.... #####",
    "p": "####. #...# #...# ####. #.... #.... #....",
    "r": "####. #...# #...# ####. #.#.. #..#. #...#",
    "t": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
    "u": "#...# #...# #...# #...# #...# #...# .###.",
    "x": "#...# #...# .#.#. ..#.. .#.#. #...# #...#",
    "y": "#...# #...# .#.#. ..#.. ..#.. ..#.. ..#..",
    "2": ".###. #...# ....# ..##. .#... #.... #####",
    "3": "####. ....# ....# .###. ....# ....# ####.",
    "4": "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
    "7": "##### ....# ...#. ..#.. ..#.. .#... .#...",
}

GLYPHS: tuple[str, ...] = tuple(_ROWS)


def _bitmap(rows: str) -> np.ndarray:
    dots = [[dot == "#" for dot in row] for row in rows.split()]
    return np.pad(np.array(dots, dtype=np.float32), 1)


#: character -> float32 [9, 7] bitmap with a border of zeros, 1 where there is ink
BITMAPS: dict[str, np.ndarray] = {name: _bitmap(rows) for name, rows in _ROWS.items()}
