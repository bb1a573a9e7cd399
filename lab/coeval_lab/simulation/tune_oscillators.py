"""Fit the filter's two-state clock model to simulated crystals by their Allan deviation.

`python -m coeval_lab.simulation.tune_oscillators [FOLDER]` prints the table behind
`coeval.oscillators`, and writes it with a plot where a folder is given. White frequency noise is
what the Allan deviation at 1 s says; the walk of the rate is the least that lets the model's
deviation, √(white²/τ + walk²·τ/3), reach the crystal's at every τ from 10 to 300 s, flicker and
temperature included: for a filter it is better to expect too much wander than too little.
"""

import sys
from pathlib import Path

import allantools
import numpy as np
from matplotlib.figure import Figure

from coeval.oscillators import CLASSES
from coeval_lab.bench.report import commit
from coeval_lab.simulation.crystal import CRYSTALS, Crystal, FloatArray, SimulatedClock

LENGTH_S = 20_000
LIVES = 8
TAUS_S = (1, 2, 5, 10, 20, 50, 100, 200, 300, 1000)
WANDER_TAUS_S = (10, 300)
PUBLISHED = """Published, to compare: TCXOs have 1 to 10 ppb at 1 s and a floor of 1 ppb from 1 to
100 s (M. Lombardi in The Mechatronics Handbook, CRC 2002); the tcxo here is at the good end, and
its floor is about half of that. For `usb` and `pi` no Allan deviation was found in print; their
short-term figures are assumptions, and their swing with temperature, which decides from 50 s on,
is smaller than the 6 ppm that the room made of a Raspberry Pi 3
(raspberrypi.stackexchange.com/questions/74482). Left alone for 2 h 29 min, a PC went 19 ppb
astray and a TCXO 7 ppb (blog.dan.drown.org/drift): a test holds pi and tcxo to that order."""


def allan_deviation(crystal: Crystal, *, seed: int = 1) -> FloatArray:
    """Overlapping Allan deviation (ppb) at TAUS_S, root mean square over several lives."""
    squares = []
    for life in range(LIVES):
        rng = np.random.default_rng([seed, life])
        clock = SimulatedClock(crystal, rng, seconds=LENGTH_S)
        phase_s = clock.offset_ns(np.arange(float(LENGTH_S))) * 1e-9
        _, deviation, _, _ = allantools.oadev(phase_s, rate=1.0, data_type="phase", taus=TAUS_S)
        squares.append((np.asarray(deviation) * 1e9) ** 2)
    mean: FloatArray = np.sqrt(np.mean(squares, axis=0))
    return mean


def fit_model(deviation_ppb: FloatArray) -> tuple[float, float]:
    """White frequency noise (ns/√s) and walk of the rate (ppb/√s) that cover a deviation."""
    taus = np.array(TAUS_S, np.float64)
    white = float(deviation_ppb[0])
    left = np.maximum(deviation_ppb**2 - white**2 / taus, 0.0)
    among = (taus >= WANDER_TAUS_S[0]) & (taus <= WANDER_TAUS_S[1])
    return white, float(np.sqrt(3.0 * left[among] / taus[among]).max())


def main() -> None:
    """Print the table, and write it where a folder is named."""
    lines = ["| class | " + " | ".join(f"{tau} s" for tau in TAUS_S) + " | white | walk | used |"]
    lines.append("|" + "---|" * (len(TAUS_S) + 4))
    deviations = {}
    for name, crystal in CRYSTALS.items():
        deviations[name] = allan_deviation(crystal)
        white, walk = fit_model(deviations[name])
        used = CLASSES[name]
        cells = " | ".join(f"{value:.3g}" for value in deviations[name])
        lines.append(
            f"| {name} | {cells} | {white:.3g} | {walk:.3g} "
            f"| {used.white_fm_ns:g}, {used.walk_fm_ppb:g} |"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]), lines, deviations)


def write(folder: Path, lines: list[str], deviations: dict[str, FloatArray]) -> None:
    """README.md and plot.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(
        "# Oscillator classes of the filter\n\n"
        "Command: `python -m coeval_lab.simulation.tune_oscillators FOLDER`; seed 1, "
        f"{LIVES} lives of {LENGTH_S} s each, overlapping Allan deviation by allantools, in ppb. "
        "`white` in ns/√s and `walk` in ppb/√s cover the deviation from 10 to 300 s; `used` is "
        f"what `coeval.oscillators` has. Commit {commit()}.\n\n"
        + "\n".join(lines)
        + f"\n\n{PUBLISHED}\n\n![deviation](plot.png)\n"
    )
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    taus = np.array(TAUS_S, np.float64)
    for name, deviation in deviations.items():
        used = CLASSES[name]
        (line,) = axes.loglog(taus, deviation, "o-", label=f"{name}, simulated")
        model = np.sqrt(used.white_fm_ns**2 / taus + used.walk_fm_ppb**2 * taus / 3.0)
        axes.loglog(taus, model, "--", color=line.get_color(), label=f"{name}, filter's model")
    axes.set_xlabel("averaging time (s)")
    axes.set_ylabel("Allan deviation (ppb)")
    axes.grid(which="both", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(folder / "plot.png", dpi=110)


if __name__ == "__main__":
    main()
