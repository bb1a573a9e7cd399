"""Paints a computer's screen as input events change it: windows, typing, scrolling, a pointer."""

import numpy as np

from coeval_training.scenes.latent import Array, Event, Latent, thin
from coeval_training.scenes.picture import HEIGHT, WIDTH


class ScreenPainter:
    """A screen recording; must be asked for ascending times, as its state only goes forward."""

    def __init__(self, latent: Latent, salt: str) -> None:
        """Choose the theme; which events show, and how, belongs to the scene, not to the salt."""
        rng = latent.rng("screen")
        self._rng = rng
        self._dark = rng.random() < 0.5
        self._desk = self._wallpaper()
        self._windows: list[tuple[int, int, int, int, Array]] = []
        visible = thin([e for e in latent.events if e.type != "key"], latent.rng("screen seen"))
        keys = [e for e in latent.events if e.type == "key"]
        self._events = sorted([*visible, *keys], key=lambda e: e.t_s)
        self._next = 0
        self._caret = [0, 0]
        rng.random(2)  # drawn for nothing: scenes of a seed stay as they were
        self._plan_pointer = [
            e.t_s for e in self._events if e.type in ("click", "window_open", "window_close")
        ]
        self._spots = rng.uniform((3, 3), (60, 44), (len(self._plan_pointer) + 1, 2))
        self._player = rng.random() < 0.2
        self._open()
        self._canvas = self._compose()
        self._noise = latent.rng("screen noise", salt)
        self._codec = float(rng.choice([0.0, 0.5, 1.5]))

    def paint(self, t_s: Array) -> Array:
        """Frames at ascending instants, shape (num, 48, 64), uint8."""
        frames = np.empty((len(t_s), HEIGHT, WIDTH), dtype=np.float32)
        for k, t in enumerate(t_s):
            while self._next < len(self._events) and self._events[self._next].t_s <= t:
                self._happen(self._events[self._next])
                self._next += 1
            frames[k] = self._canvas
            self._overlay(frames[k], float(t))
        if self._codec:
            frames += self._codec * self._noise.standard_normal(frames.shape, dtype=np.float32)
        return np.clip(frames, 0, 255).astype(np.uint8)

    def _overlay(self, frame: Array, t: float) -> None:
        """Pointer, which glides to the next click, and a small film that plays by itself."""
        k = int(np.searchsorted(self._plan_pointer, t))
        here, goal = self._spots[max(k - 1, 0)], self._spots[min(k, len(self._spots) - 1)]
        if k < len(self._plan_pointer):
            part = float(np.clip(1 - (self._plan_pointer[k] - t - 0.1) / 0.6, 0, 1))
        else:
            part = 0.0
        part = part * part * (3 - 2 * part)
        x, y = here + (goal - here) * part
        ink = 250.0 if self._dark else 10.0
        # Half a pixel to each side: the pointer is seen to move by less than a pixel.
        for dy in (0, 1):
            for dx in (0, 1):
                weight = (1 - abs(x % 1 - dx)) * (1 - abs(y % 1 - dy))
                row, column = min(int(y) + dy, HEIGHT - 1), min(int(x) + dx, WIDTH - 1)
                frame[row, column] += weight * (ink - frame[row, column])
        if self._player:
            phase = 7.0 * t
            frame[4:12, 48:60] = 120 + 60 * np.sin(phase + np.arange(12) * np.sin(0.3 * t))

    def _happen(self, event: Event) -> None:
        """Change the screen as this event does."""
        if event.type == "window_open" and len(self._windows) < 5:
            self._open()
        elif event.type == "window_close" and len(self._windows) > 1:
            self._windows.pop()
        elif event.type in ("key", "enter"):
            self._type(event.type == "enter")
        elif event.type == "scroll":
            _, _, height, _, content = self._windows[-1]
            by = max(1, round(event.strength * height / 6)) * (
                1 if self._rng.random() < 0.85 else -1
            )
            content[1:] = np.roll(content[1:], -by, axis=0)
        elif event.type == "page":
            _, _, height, width, content = self._windows[-1]
            content[1:] = self._text(height - 1, width, self._rng.uniform(0.2, 0.9))
        elif event.type == "click":
            _, _, height, width, content = self._windows[-1]
            row, column = int(self._rng.integers(0, height)), int(self._rng.integers(0, width))
            content[max(0, row - 1) : row + 1, max(0, column - 3) : column + 3] += self._rng.normal(
                0, 40
            )
        elif event.type == "beep":
            self._desk[HEIGHT - 4 :, WIDTH - 18 :] = self._rng.uniform(0, 255)
        else:
            return
        self._canvas = self._compose()

    def _open(self) -> None:
        """A new window at a random place."""
        high, wide = int(self._rng.integers(16, 44)), int(self._rng.integers(20, 60))
        top = int(self._rng.integers(0, HEIGHT - high + 1))
        left = int(self._rng.integers(0, WIDTH - wide + 1))
        content = self._text(high, wide, self._rng.uniform(0.0, 0.9))
        content[0] = self._rng.uniform(40, 220)
        self._windows.append((top, left, high, wide, content))
        self._caret = [2, 1]

    def _type(self, enter: bool) -> None:
        """One letter at the caret, or a new line; at the bottom the window scrolls."""
        _, _, height, width, content = self._windows[-1]
        row, column = self._caret
        if not enter:
            content[row % height, column % width] += self._rng.uniform(0.5, 1.0) * self._ink()
            column += int(self._rng.random() < 0.6)
        if enter or column >= width - 1:
            row, column = row + 2, 1
        if row >= height - 1:
            content[1:-2] = content[3:]
            content[-2:] = self._sheet()
            row -= 2
        self._caret = [row, column]

    def _sheet(self) -> float:
        return 30.0 if self._dark else 230.0

    def _ink(self) -> float:
        return 150.0 if self._dark else -150.0

    def _text(self, high: int, wide: int, filled: float) -> Array:
        """A page of unreadable lines of text and some pictures."""
        page = np.full((high, wide), self._sheet(), dtype=np.float32)
        for row in range(1, high, 2):
            if self._rng.random() < filled:
                end = int(self._rng.integers(2, wide))
                page[row, 1:end] += self._ink() * self._rng.uniform(0.2, 0.9, end - 1)
        if self._rng.random() < 0.3:
            page[high // 3 : high // 2, wide // 3 :] = self._rng.uniform(20, 235)
        return page

    def _wallpaper(self) -> Array:
        """What lies behind all windows."""
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        slope = self._rng.normal(0, 1, 2)
        wall = self._rng.uniform(40, 180) + slope[0] * x + slope[1] * y
        wall[-3:] = self._rng.uniform(10, 240)
        return np.asarray(np.clip(wall, 0, 255), dtype=np.float32)

    def _compose(self) -> Array:
        """All windows over the wallpaper, the newest on top."""
        canvas = self._desk.copy()
        for top, left, high, wide, content in self._windows:
            canvas[top : top + high, left : left + wide] = content
        return canvas
