"""Hands at the desk: keys, pointer, wheel and a voice; each input is stamped when it is sent."""

import math
import subprocess
import time
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from coeval.errors import CoevalError
from coeval_lab.desktop_session.display import SHIFT, Display
from coeval_lab.desktop_session.screen import HEIGHT, WIDTH

KEYSYM_OF = {" ": "space", "\n": "Return", "-": "minus", ".": "period", ",": "comma"}
KEYSYM_OF |= {
    "/": "slash",
    "|": "bar",
    "'": "apostrophe",
    "=": "equal",
    "+": "plus",
    ";": "semicolon",
}
KEYSYM_OF |= {"(": "parenleft", ")": "parenright", "*": "asterisk", "$": "dollar", ":": "colon"}
KEYSYM_OF |= {"?": "question", "!": "exclam", "_": "underscore", "%": "percent", '"': "quotedbl"}
KEYSYM_OF |= {"\\": "backslash", "[": "bracketleft", "]": "bracketright", "{": "braceleft"}
KEYSYM_OF |= {"}": "braceright", "<": "less", ">": "greater", "~": "asciitilde", "#": "numbersign"}

VOICE = ("espeak-ng", "-v", "en-gb", "-s", "170")


Kind = Literal["key", "button", "wheel", "say"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputEvent:
    """Something the hands or the voice did."""

    t_ns: int
    """When it was sent, CLOCK_MONOTONIC."""
    t_end_ns: int
    """When it was over."""
    kind: Kind
    """What it was."""
    text: str
    """In words."""


class Hands:
    """Sends input to a display and writes down when."""

    def __init__(self, display: Display, *, seed: int, voice_folder: Path) -> None:
        """Sit down.

        Args:
            display: where to.
            seed: of rhythm and paths.
            voice_folder: where spoken prompts are kept, `say-000.wav` and so on.
        """
        self.rng = np.random.default_rng(seed)
        self.events: list[InputEvent] = []
        self.prompts: list[Path] = []
        self.display, self._voice_folder = display, voice_folder
        self._speaks_until_ns = 0
        self._at = display.pointer()

    def wait(self, low_s: float, high_s: float) -> None:
        """Think for a while, more often shortly than long."""
        time.sleep(low_s + (high_s - low_s) * float(self.rng.beta(1.2, 3.0)))

    def say(self, words: str) -> None:
        """Begin to speak, when the last prompt is over; returns at once."""
        path = self._voice_folder / f"say-{len(self.prompts):03d}.wav"
        done = subprocess.run([*VOICE, "-w", str(path), words], check=False)
        if done.returncode:
            raise CoevalError(f"espeak-ng failed with code {done.returncode}")
        with wave.open(str(path)) as spoken:
            length_ns = round(spoken.getnframes() / spoken.getframerate() * 1e9)
        left_s = (self._speaks_until_ns - time.monotonic_ns()) * 1e-9
        if left_s > 0:
            time.sleep(left_s + 0.05)
        t_ns = time.monotonic_ns()
        self._speaks_until_ns = t_ns + length_ns
        self.prompts.append(path)
        self._note(t_ns, t_ns + length_ns, "say", f"say {words}")

    def tap(self, keysym: str, *modifiers: str) -> None:
        """Press and release a key, with modifiers held."""
        held = [*modifiers]
        if len(keysym) == 1 or keysym in KEYSYM_OF.values():
            held += [SHIFT] if self.display.needs_shift(keysym) else []
        for modifier in held:
            self.display.key(modifier, True)
            time.sleep(0.012)
        t_ns = self.display.key(keysym, True)
        time.sleep(float(self.rng.uniform(0.03, 0.07)))
        t_end_ns = self.display.key(keysym, False)
        for modifier in reversed(held):
            self.display.key(modifier, False)
        self._note(t_ns, t_end_ns, "key", "key " + "+".join([*modifiers, keysym]))

    def type(self, text: str, *, keys_per_s: float = 8.0) -> None:
        """Type at a typist's uneven rhythm."""
        for letter in text:
            self.tap(KEYSYM_OF.get(letter, letter))
            time.sleep(float(self.rng.lognormal(math.log(0.6 / keys_per_s), 0.5)))
            if letter in " |," and self.rng.random() < 0.25:
                time.sleep(float(self.rng.uniform(0.1, 0.5)))

    def move_to(self, x: float, y: float) -> None:
        """Move the pointer along a smooth path, faster for longer ways (Fitts)."""
        goal = (min(max(round(x), 2), WIDTH - 3), min(max(round(y), 2), HEIGHT - 3))
        here, way = self._at, math.dist(self._at, goal)
        length_s = 0.12 + 0.11 * math.log2(1 + way / 20)
        bend = float(self.rng.normal(0, 0.08)) * way
        t0 = time.monotonic()
        while (part := (time.monotonic() - t0) / length_s) < 1:
            s = part**3 * (10 - 15 * part + 6 * part**2)  # minimum jerk (Flash and Hogan 1985)
            aside = bend * math.sin(math.pi * s) / max(way, 1)
            dx, dy = goal[0] - here[0], goal[1] - here[1]
            self.display.move(
                round(here[0] + s * dx - aside * dy), round(here[1] + s * dy + aside * dx)
            )
            time.sleep(0.008)
        self.display.move(*goal)
        self._at = goal

    def click(self, x: float, y: float, *, button: int = 1) -> None:
        """Go somewhere and click."""
        self.move_to(x, y)
        time.sleep(float(self.rng.uniform(0.04, 0.15)))
        t_ns = self.display.button(button, True)
        time.sleep(float(self.rng.uniform(0.05, 0.09)))
        t_end_ns = self.display.button(button, False)
        self._note(t_ns, t_end_ns, "button", f"button {button} at {self._at[0]},{self._at[1]}")

    def drag(
        self, start: tuple[float, float], end: tuple[float, float], *, button: int = 1, held: str
    ) -> None:
        """Drag with a button and a modifier held, as window managers let one move a window."""
        self.move_to(*start)
        self.display.key(held, True)
        t_ns = self.display.button(button, True)
        time.sleep(0.05)
        self.move_to(*end)
        time.sleep(0.03)
        t_end_ns = self.display.button(button, False)
        self.display.key(held, False)
        self._note(t_ns, t_end_ns, "button", f"drag {button} to {self._at[0]},{self._at[1]}")

    def wheel(self, notches: int, *, up: bool = False) -> None:
        """Turn the wheel where the pointer is."""
        for _ in range(notches):
            t_ns = self.display.button(4 if up else 5, True)
            t_end_ns = self.display.button(4 if up else 5, False)
            self._note(t_ns, t_end_ns, "wheel", f"wheel {'up' if up else 'down'}")
            time.sleep(float(self.rng.lognormal(math.log(0.13), 0.5)))

    def _note(self, t_ns: int, t_end_ns: int, kind: Kind, text: str) -> None:
        self.events.append(InputEvent(t_ns=t_ns, t_end_ns=t_end_ns, kind=kind, text=text))
