"""The work that is recorded: a terminal, an editor, a calculator; windows come, move and go.

Real programs do it, so they take their own time; what is chosen at random comes from a seed.
"""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coeval.errors import CoevalError
from coeval_lab.desktop_session.hands import Hands
from coeval_lab.desktop_session.screen import HEIGHT, WIDTH

LICENCES = "/usr/share/common-licenses"
COMMANDS = (
    "ls -l",
    "seq 300 | column",
    "head -40 BSD",
    "grep -n free GPL-3 | head -20",
    "wc *",
    "for i in 9 7 5 3 1; do seq $i 25 | paste -sd+; sleep 0.3; done",
    "factor 2147483647 1234567890",
    "sort -R MPL-2.0 | head -25",
    "tr a-z A-Z < BSD",
    "tput flash; tput flash",
    "od -c BSD | head -18",
    "clear",
    "sha256sum * | head -30",
    "seq 900 -7 600 | rev | column",
    "tail -30 Apache-2.0",
    "fold -w 30 BSD | head -30",
)
SENTENCES = (
    "Every camera keeps its own time.",
    "Two clocks never agree for long; the question is by how much.",
    "A clap is seen and heard at once.",
    "The offset is node minus reference.",
    "What happens together belongs together.",
    "Unknown is not zero!",
    "This line was typed by a script.",
)
PROGRAMS = {
    "xterm": (
        *("xterm", "-bg", "#10202a", "-fg", "#e8e8e8", "-fa", "Monospace", "-fs", "15"),
        *("-geometry", "44x14+8+26", "-e", "bash", "--norc", "--noprofile"),
    ),
    "mousepad": ("mousepad", "--disable-server"),
    "xcalc": ("xcalc", "-geometry", "190x260"),
    "xeyes": ("xeyes", "-geometry", "170x120-6-6"),
}


@dataclass(slots=True)
class Window:
    """A program's window and where it is."""

    process: "subprocess.Popen[bytes]"
    """The program."""
    id: int
    """X's number of the window."""
    x: int = 0
    """Left edge of the content, in pixels of the screen."""
    y: int = 0
    """Its upper edge."""
    width: int = 0
    """Its width."""
    height: int = 0
    """Its height."""

    @property
    def centre(self) -> tuple[float, float]:
        """The middle, in pixels of the screen."""
        return self.x + self.width / 2, self.y + self.height / 2


class Worker:
    """Works at the desk until told to stop."""

    def __init__(self, hands: Hands, *, display: str, home: Path) -> None:
        """Take a seat.

        Args:
            hands: to type and point with.
            display: name of the display.
            home: an empty home folder, so that nobody's settings or files are shown.
        """
        self._hands, self._rng = hands, hands.rng
        self._environment = {
            "DISPLAY": display,
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PS1": "desk$ ",
            "TERM": "xterm",
            "NO_AT_BRIDGE": "1",
            "GSETTINGS_BACKEND": "memory",
            "XDG_RUNTIME_DIR": str(home),
        }
        self._windows: dict[str, Window] = {}
        self._commands: list[str] = []

    @property
    def processes(self) -> list[int]:
        """Process ids of the programs that run."""
        return [window.process.pid for window in list(self._windows.values())]

    def work(self, until_s: float) -> None:
        """Do one thing after the other.

        Args:
            until_s: when to stop, on `time.monotonic`.
        """
        self._open("xterm", "Opening a terminal.")
        self._run_command()
        self._look_around()
        plan: list[tuple[float, Callable[[], None]]] = [
            (4.0, self._run_command),
            (2.6, self._write_note),
            (0.7, self._calculate),
            (2.4, self._move_window),
            (1.2, self._resize_window),
            (2.2, self._scroll),
            (1.0, self._look_around),
            (1.0, self._maximise),
            (0.9, self._change_desk),
            (0.7, self._close_something),
        ]
        weights = [weight for weight, _ in plan]
        seen = [0.0] * len(plan)
        while time.monotonic() < until_s:
            self._forget_closed()
            # What has not been done for long becomes more likely.
            odds = [w * (0.15 + s) for w, s in zip(weights, seen, strict=True)]
            k = int(self._rng.choice(len(plan), p=[o / sum(odds) for o in odds]))
            seen = [0.0 if j == k else s + 0.2 for j, s in enumerate(seen)]
            plan[k][1]()
            self._hands.wait(0.1, 1.6)

    def close(self) -> None:
        """End every program."""
        for window in self._windows.values():
            window.process.terminate()
        for window in self._windows.values():
            window.process.wait(timeout=10)

    def _xdotool(self, *words: str) -> str:
        done = subprocess.run(
            ["xdotool", *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return done.stdout

    def _forget_closed(self) -> None:
        """A click or a key may have closed a window that lay in the way."""
        for name, window in list(self._windows.items()):
            if window.process.poll() is not None:
                del self._windows[name]
        if "xterm" not in self._windows:
            self._open("xterm", "Opening a terminal.")

    def _open(self, name: str, words: str) -> Window:
        """Start a program, announce it as it starts, and wait for its window."""
        command = [*PROGRAMS[name]]
        if name == "xcalc":
            x, y = int(self._rng.integers(250, 440)), int(self._rng.integers(20, 180))
            command[-1] += f"+{x}+{y}"
        self._hands.say(words)
        process = subprocess.Popen(
            command,
            env=self._environment,
            cwd=LICENCES,
            stderr=subprocess.DEVNULL,
            user="nobody" if os.geteuid() == 0 else None,  # the editor would warn of root's rights
        )
        found = self._xdotool("search", "--sync", "--onlyvisible", "--class", name).split()
        if not found:
            process.terminate()
            raise CoevalError(f"{name} opened no window")
        window = Window(process, int(found[-1]))
        self._windows[name] = window
        self._measure(window)
        return window

    def _measure(self, window: Window) -> None:
        window.x, window.y, window.width, window.height = self._hands.display.geometry(window.id)

    def _raise(self, name: str) -> Window:
        """Bring a window to the front by clicking its title bar."""
        window = self._windows[name]
        self._measure(window)
        self._xdotool("windowactivate", str(window.id))
        time.sleep(0.1)
        self._hands.click(window.x + window.width * 0.3, window.y - 9)
        return window

    def _run_command(self) -> None:
        self._raise("xterm")
        if not self._commands:
            self._commands = [str(c) for c in self._rng.permutation(COMMANDS)]
        command = self._commands.pop()
        if self._rng.random() < 0.3:
            words = ("Running a command.", "Next command.", "Let me check.", "One more.")
            self._hands.say(str(self._rng.choice(words)))
        self._hands.type(command, keys_per_s=float(self._rng.uniform(9, 16)))
        self._hands.wait(0.1, 0.7)
        self._hands.tap("Return")

    def _write_note(self) -> None:
        if "mousepad" not in self._windows:
            self._open("mousepad", "Opening the editor.")
            self._hands.wait(0.1, 0.6)
            self._xdotool("windowsize", str(self._windows["mousepad"].id), "400", "260")
            self._hands.wait(0.1, 0.6)
            for _ in range(5):
                self._hands.tap("plus", "Control_L")
                self._hands.wait(0.05, 0.3)
        window = self._raise("mousepad")
        self._hands.click(window.x + 0.5 * window.width, window.y + 0.8 * window.height)
        self._hands.type(
            str(self._rng.choice(SENTENCES)) + "\n", keys_per_s=float(self._rng.uniform(7, 13))
        )
        if self._rng.random() < 0.35:
            self._hands.say(str(self._rng.choice(("Copying it.", "Again, and again."))))
            self._hands.tap("a", "Control_L")
            self._hands.tap("c", "Control_L")
            self._hands.tap("Right")
            for _ in range(int(self._rng.integers(2, 5))):
                self._hands.tap("v", "Control_L")
                self._hands.wait(0.1, 0.5)

    def _calculate(self) -> None:
        if "xcalc" not in self._windows:
            self._open("xcalc", "The calculator, please.")
            self._hands.wait(0.1, 0.8)
        window = self._raise("xcalc")
        for _ in range(int(self._rng.integers(4, 9))):
            column, row = self._rng.uniform(0.08, 0.92), self._rng.uniform(0.62, 0.97)
            self._hands.click(window.x + column * window.width, window.y + row * window.height)
            self._hands.wait(0.02, 0.4)

    def _move_window(self) -> None:
        name = str(self._rng.choice(list(self._windows)))
        window = self._raise(name)
        if self._rng.random() < 0.4:
            self._hands.say("Moving this window.")
        for _ in range(int(self._rng.integers(1, 4))):
            x, y = window.centre
            x, y = min(max(x, 30), WIDTH - 30), min(max(y, 40), HEIGHT - 30)
            goal = self._rng.uniform((140, 140), (WIDTH - 140, HEIGHT - 140))
            self._hands.drag((x, y), (goal[0], goal[1]), held="Alt_L")
            self._hands.wait(0.1, 0.5)
            self._measure(window)

    def _resize_window(self) -> None:
        big = [name for name in ("xterm", "mousepad") if name in self._windows]
        window = self._raise(str(self._rng.choice(big)))
        x, y = window.x + 0.8 * window.width, window.y + 0.8 * window.height
        x, y = min(x, WIDTH - 60), min(y, HEIGHT - 60)
        by = self._rng.uniform((-170, -130), (120, 90))
        if self._rng.random() < 0.5:
            self._hands.say("Changing its size.")
        self._hands.drag((x, y), (x + by[0], y + by[1]), button=3, held="Alt_L")
        self._measure(window)

    def _scroll(self) -> None:
        big = [name for name in ("xterm", "mousepad") if name in self._windows]
        window = self._raise(str(self._rng.choice(big)))
        self._hands.move_to(*window.centre)
        for up in (True, False):
            self._hands.wheel(int(self._rng.integers(2, 8)), up=up)
            self._hands.wait(0.1, 0.8)

    def _look_around(self) -> None:
        if "xeyes" not in self._windows:
            self._open("xeyes", "Look here.")
            self._hands.wait(0.1, 0.5)
        for _ in range(int(self._rng.integers(2, 6))):
            x, y = self._rng.uniform((10, 10), (WIDTH - 10, HEIGHT - 10))
            self._hands.move_to(x, y)
            self._hands.wait(0.05, 0.6)

    def _maximise(self) -> None:
        big = [name for name in ("xterm", "mousepad") if name in self._windows]
        window = self._raise(str(self._rng.choice(big)))
        self._hands.say("Full screen.")
        self._hands.click(window.x + window.width * 0.5, window.y - 9)
        self._hands.click(window.x + window.width * 0.5, window.y - 9)
        self._hands.wait(0.3, 1.2)
        self._measure(window)
        for _ in range(2):
            self._hands.click(window.x + window.width * 0.5, window.y - 9)
        self._hands.wait(0.1, 0.3)
        self._measure(window)

    def _change_desk(self) -> None:
        self._hands.say("Other desk.")
        self._hands.tap("Right", "Control_L", "Alt_L")
        self._hands.wait(0.4, 1.4)
        self._hands.say("Back again.")
        self._hands.tap("Left", "Control_L", "Alt_L")

    def _close_something(self) -> None:
        names = [name for name in self._windows if name not in ("xterm", "xeyes")]
        if not names:
            return
        name = str(self._rng.choice(names))
        self._raise(name)
        self._hands.say("Close it.")
        if name == "mousepad":
            self._hands.tap("a", "Control_L")
            self._hands.tap("BackSpace")
            return
        window = self._windows[name]
        self._hands.click(window.x + window.width - 6, window.y - 9)
        self._hands.wait(0.3, 0.6)


def start_window_manager(environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """Openbox with its shipped settings, and a plain background."""
    subprocess.run(["xsetroot", "-solid", "#2d5d7b"], env=environment, check=False)
    return subprocess.Popen(["openbox"], env=os.environ | environment, stderr=subprocess.DEVNULL)
