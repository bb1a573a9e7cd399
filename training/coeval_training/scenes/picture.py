"""Paints small grey pictures of a scene at any instants: textured world, bodies, lens and sensor.

In: a `Latent` and times in seconds. Out: frames, shape (num, 48, 64), uint8. Signs: the camera
turning right moves the picture left by focal_px × rate, looking up moves it down, rolling
clockwise turns it counter-clockwise.
"""

import numpy as np

from coeval_training.scenes.latent import LATENT_HZ, Array, Body, Latent, on_grid

WIDTH = 64
HEIGHT = 48
_HALF = HEIGHT / 2
_PAPER = 512
"""Side of the wrapped texture the world is painted on, px: a full turn at most focal lengths."""
_STAMP = 64
"""Side of a body's texture, texels."""


class Painter:
    """One camera looking at a scene of bodies; `salt` tells cameras of one scene apart."""

    def __init__(self, latent: Latent, salt: str, *, moved: bool = False) -> None:
        """Choose lens, place and sensor; `moved` puts the camera elsewhere than by default."""
        rng = latent.rng("camera", salt)
        self._latent = latent
        self._noise_rng = latent.rng("sensor noise", salt)
        rig = latent.kind == "rig"
        self.focal_px = float((WIDTH / 2) / np.tan(np.radians(rng.uniform(45, 115)) / 2))
        self._zoom = float(rng.uniform(0.75, 1.3)) if moved else 1.0
        self._shift = rng.uniform(-0.25, 0.25, 2) if moved else np.zeros(2)
        self._mirror = -1.0 if moved and not rig and rng.random() < 0.4 else 1.0
        self._start = rng.uniform(0, _PAPER, 2)
        self._readout_s = float(rng.uniform(0.005, 0.03)) if rig and rng.random() < 0.7 else 0.0
        exposure_s = float(rng.choice([0.002, 0.008, 0.016, 0.03]))
        self._shutters = (
            np.array([0.0]) if exposure_s < 0.01 else exposure_s * np.array([-0.25, 0.25])
        )
        self._noise = float(rng.choice([0.3, 0.7, 1.5, 4.0]))
        self._gain = float(rng.uniform(0.7, 1.25))
        self._black = float(rng.uniform(0, 40))
        self._gamma = float(rng.uniform(0.75, 1.35))
        away = np.hypot(*np.meshgrid(np.linspace(-1, 1, WIDTH), np.linspace(-0.75, 0.75, HEIGHT)))
        self._vignette = (1 - rng.uniform(0, 0.35) * away**2).astype(np.float32)
        self._paper = paper(latent.rng("paper"), flat=0.0 if rig else rng.uniform(0, 0.6))
        self._bodies = [
            (body, *_stamp(latent.rng("stamp", k), body)) for k, body in enumerate(latent.bodies)
        ]
        self._path = _path(latent, self.focal_px)
        self._fixed_view = not rig and float(np.ptp(latent.signals["cam_yaw"])) == 0.0
        self._still_paper: Array | None = None

    def paint(self, t_s: Array) -> Array:
        """Frames at the given instants (middle of the exposure), shape (num, 48, 64), uint8."""
        layers = [self._paint_open(t_s + shutter) for shutter in self._shutters]
        frames = layers[0] if len(layers) == 1 else (layers[0] + layers[1]) * np.float32(0.5)
        light = self._latent.at("light", t_s).astype(np.float32) * np.float32(self._gain / 255)
        frames *= self._vignette
        frames *= light[:, None, None]
        np.clip(frames, 0, 1.1, out=frames)
        if abs(self._gamma - 1) > 0.1:
            np.power(frames, np.float32(self._gamma), out=frames)
        frames *= 255 - self._black
        noise = self._noise_rng.standard_normal(frames.shape, dtype=np.float32)
        noise *= self._noise
        frames += noise
        frames += self._black
        return np.asarray(np.clip(frames, 0, 255), dtype=np.uint8)

    def _paint_open(self, t_s: Array) -> Array:
        """Light on the sensor at instants, without lens falloff or noise."""
        frames = self._paint_world(t_s)
        for body, colour, cover in self._bodies:
            self._paint_body(frames, t_s, body, colour, cover)
        return frames

    def _paint_world(self, t_s: Array) -> Array:
        """The background as the camera is turned; each row at its own instant."""
        if self._fixed_view:
            if self._still_paper is None:
                self._still_paper = self._look(t_s[:1], 0)[0]
            return np.broadcast_to(self._still_paper, (len(t_s), HEIGHT, WIDTH)).copy()
        if "fraction" not in self._path:
            return self._look(t_s, 0)
        near = self._latent_path("fraction", t_s)
        weight = (np.cos(np.pi / 2 * near) ** 2).astype(np.float32)[:, None, None]
        frames: Array = self._look(t_s, 0) * weight + self._look(t_s, 1) * (1 - weight)
        return frames

    def _latent_path(self, name: str, t_s: Array) -> Array:
        """A path at given times, taken at the nearest grid point where it jumps."""
        signal = self._path[name]
        at = np.clip(t_s * LATENT_HZ, 0, len(signal) - 1.001)
        low = at.astype(np.int64)
        a, b = signal[low], signal[low + 1]
        jumps = self._path["octave"][low] != self._path["octave"][low + 1]
        return np.asarray(np.where(jumps, a, a + (b - a) * (at - low)))

    def _look(self, t_s: Array, layer: int) -> Array:
        """Sample the paper through the camera, bilinear, shape (num, 48, 64)."""
        rows = np.arange(HEIGHT) - (HEIGHT - 1) / 2
        columns = (np.arange(WIDTH) - (WIDTH - 1) / 2).astype(np.float32)
        t_row = t_s[:, None] + self._readout_s * (rows / HEIGHT)[None, :]
        x0 = self._latent_path(f"x{layer}", t_row) + self._start[0]
        y0 = self._latent_path(f"y{layer}", t_row) + self._start[1]
        roll = self._latent.at("cam_roll", t_row)
        stretch = 2.0 ** -self._latent_path(f"scale{layer}", t_row) / self._zoom
        cos, sin = np.cos(roll) * stretch, np.sin(roll) * stretch
        x0 = np.mod(x0 - sin * rows, _PAPER).astype(np.float32)
        y0 = np.mod(y0 + cos * rows, _PAPER).astype(np.float32)
        x = x0[:, :, None] + cos.astype(np.float32)[:, :, None] * columns
        y = y0[:, :, None] + sin.astype(np.float32)[:, :, None] * columns
        x += _PAPER
        y += _PAPER
        left, top = x.astype(np.int32), y.astype(np.int32)
        x -= left
        y -= top
        left &= _PAPER - 1
        top &= _PAPER - 1
        index = top * (_PAPER + 1) + left
        flat = self._paper
        b: Array
        a, b = flat.take(index), flat.take(index + 1)
        b -= a
        b *= x
        a += b
        index += _PAPER + 1
        c, d = flat.take(index), flat.take(index + 1)
        d -= c
        d *= x
        c += d
        c -= a
        c *= y
        a += c
        return np.asarray(a)

    def _paint_body(
        self, frames: Array, t_s: Array, body: Body, colour: Array, cover: Array
    ) -> None:
        """Lay one body over the frames, in place, touching only the window around it."""
        alpha = on_grid(body.alpha, t_s)
        yaw = self._latent_path("x0", t_s)
        pitch = self._latent_path("y0", t_s)
        x: Array = on_grid(body.x, t_s) * _HALF
        y: Array = on_grid(body.y, t_s) * _HALF
        turn = on_grid(body.angle, t_s)
        if body.in_world:
            x = np.mod(x - yaw + _PAPER / 2, _PAPER) - _PAPER / 2
            y = np.mod(y - pitch + _PAPER / 2, _PAPER) - _PAPER / 2
            roll = -self._latent.at("cam_roll", t_s)
            x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
            turn = turn + roll
        elif self._latent.kind != "rig":
            x, y = x - yaw, y - pitch
        x = self._mirror * (x + self._shift[0] * _HALF) * self._zoom
        y = (y + self._shift[1] * _HALF) * self._zoom
        turn = self._mirror * turn
        half_w = np.maximum(on_grid(body.half_width, t_s) * _HALF * self._zoom, 0.1)
        half_h = np.maximum(on_grid(body.half_height, t_s) * _HALF * self._zoom, 0.1)
        # What is thinner than a pixel is painted a pixel wide and paler.
        alpha = alpha * np.minimum(half_w / 0.6, 1) * np.minimum(half_h / 0.6, 1)
        half_w, half_h = np.maximum(half_w, 0.6), np.maximum(half_h, 0.6)
        turning = bool(np.any(turn != 0))
        reach_x = np.hypot(half_w, half_h) if turning else half_w
        reach_y = reach_x if turning else half_h
        seen = (alpha > 0.01) & (np.abs(x) < WIDTH / 2 + reach_x) & (np.abs(y) < _HALF + reach_y)
        which = np.flatnonzero(seen)
        if not len(which):
            return
        x, y, turn, alpha = (v[which].astype(np.float32) for v in (x, y, turn, alpha))
        half_w, half_h = half_w[which].astype(np.float32), half_h[which].astype(np.float32)
        wide = min(WIDTH, 2 * int(np.ceil(reach_x[which].max() * 1.1)) + 2)
        high = min(HEIGHT, 2 * int(np.ceil(reach_y[which].max() * 1.1)) + 2)
        cx, cy = x + (WIDTH - 1) / 2, y + (HEIGHT - 1) / 2
        left = np.clip(np.round(cx - wide / 2), 0, WIDTH - wide).astype(np.int32)
        top = np.clip(np.round(cy - high / 2), 0, HEIGHT - high).astype(np.int32)
        columns = left[:, None] + np.arange(wide, dtype=np.int32)
        rows = top[:, None] + np.arange(high, dtype=np.int32)
        dx = (columns - cx[:, None]).astype(np.float32)
        dy = (rows - cy[:, None]).astype(np.float32)
        middle = np.float32(_STAMP / 2)
        to_u = (_STAMP / 2 / 1.1) / half_w
        to_v = (_STAMP / 2 / 1.1) / half_h
        index: Array
        if turning:
            cos, sin = np.cos(turn), np.sin(turn)
            u = (dy * (sin * to_u)[:, None])[:, :, None] + (dx * (cos * to_u)[:, None])[:, None, :]
            v = (dy * (cos * to_v)[:, None])[:, :, None] - (dx * (sin * to_v)[:, None])[:, None, :]
            u += middle
            v += middle
            np.clip(u, 0, _STAMP - 1, out=u)
            np.clip(v, 0, _STAMP - 1, out=v)
            index = v.astype(np.int32) * _STAMP + u.astype(np.int32)
        else:
            u1 = np.clip(dx * to_u[:, None] + middle, 0, _STAMP - 1).astype(np.int32)
            v1 = np.clip(dy * to_v[:, None] + middle, 0, _STAMP - 1).astype(np.int32)
            index = v1[:, :, None] * _STAMP + u1[:, None, :]
        opacity: Array = cover.take(index)
        opacity *= alpha[:, None, None]
        into: Array = (which[:, None] * HEIGHT + rows)[:, :, None] * WIDTH + columns[:, None, :]
        flat = frames.reshape(-1)
        under = flat.take(into)
        paint = colour.take(index)
        paint -= under
        paint *= opacity
        paint += under
        flat[into] = paint


def _path(latent: Latent, focal_px: float) -> dict[str, Array]:
    """Where the camera looks on the paper, px on the latent grid, for one or two zoom layers.

    A camera that flies forward for ever is painted as two papers an octave of size apart, faded
    into each other as they grow (as Shepard's tone for the ear): the flow expands without end.
    """
    yaw, pitch, zoom = (
        latent.signals[f"cam_{name}"].astype(np.float64) for name in ("yaw", "pitch", "zoom")
    )
    if latent.kind == "desktop" or float(np.ptp(zoom)) < 1.0:
        return {
            "octave": np.zeros(len(yaw)),
            "x0": focal_px * yaw,
            "y0": -focal_px * pitch,
            "scale0": zoom - zoom.mean(),
        }
    zoom = np.maximum.accumulate(zoom)
    octave = np.floor(zoom)
    fraction = zoom - octave
    path: dict[str, Array] = {
        "octave": octave,
        "fraction": fraction,
        "scale0": fraction,
        "scale1": fraction - 1,
    }
    begins = np.flatnonzero(np.diff(octave, prepend=octave[0] - 1) > 0)
    which = np.searchsorted(begins, np.arange(len(zoom)), side="right") - 1
    place = latent.rng("papers").uniform(0, _PAPER, (2, len(begins) + 1))
    for axis, angle in ((0, yaw), (1, -pitch)):
        moved = np.cumsum(focal_px * np.diff(angle, prepend=angle[0]) * 2.0**-fraction)
        since = moved - moved[begins][which]
        whole = np.append(since[np.append(begins[1:], len(zoom)) - 1], 0.0)
        before = (
            np.concatenate([[0.0], 2 * whole[: len(begins) - 1]])
            if len(begins) > 1
            else np.zeros(1)
        )
        path["xy"[axis] + "0"] = place[axis][which] + before[which] + since
        path["xy"[axis] + "1"] = place[axis][which + 1] + 2 * since
    return path


def paper(rng: np.random.Generator, *, flat: float) -> Array:
    """A wrapped random world: multi-scale noise, edges, bars; flattened, shape ((512+1)²,).

    `flat` (0…1) makes it poorer in contrast, as an empty wall is. One row and column are
    repeated so that bilinear sampling needs no wrapping.
    """
    hz = np.hypot(np.fft.fftfreq(_PAPER)[:, None], np.fft.rfftfreq(_PAPER)[None, :])
    slope = rng.uniform(0.7, 1.5)
    gain = np.where(hz > 0, np.maximum(hz, 1 / _PAPER) ** -slope, 0) * np.exp(-((hz / 0.28) ** 4))
    white = rng.standard_normal((_PAPER, _PAPER), dtype=np.float32)
    noise = np.fft.irfft2(np.fft.rfft2(white) * gain, s=(_PAPER, _PAPER))
    world = noise / noise.std() * rng.uniform(15, 60)
    for _ in range(int(rng.integers(60, 600))):
        high, wide = (int(v) for v in np.clip(rng.lognormal(2.6, 0.8, 2), 3, 200))
        y, x = (int(v) for v in rng.integers(0, _PAPER, 2))
        rows, columns = np.arange(y, y + high) % _PAPER, np.arange(x, x + wide) % _PAPER
        level = rng.normal(0, 60)
        if rng.random() < 0.25:  # bars, as of a fence or a shelf
            level = level * np.sign(np.sin(np.arange(wide) * rng.uniform(0.3, 1.2)))
        keep = rng.uniform(0, 0.7)
        world[np.ix_(rows, columns)] = keep * world[np.ix_(rows, columns)] + level
    # A soft lens: edges spread over about a pixel, or sampling would flicker.
    for axis in (0, 1):
        world = (np.roll(world, 1, axis) + 2 * world + np.roll(world, -1, axis)) / 4
    world = rng.uniform(80, 170) + (1 - flat) * world
    world = np.pad(np.clip(world, 0, 255), (0, 1), mode="wrap")
    return np.ascontiguousarray(world, dtype=np.float32).reshape(-1)


def _stamp(rng: np.random.Generator, body: Body) -> tuple[Array, Array]:
    """A body's texture and opacity, each flattened from (64, 64); the body fills ±1/1.1 of it."""
    axis = (np.arange(_STAMP) + 0.5) / _STAMP * 2.2 - 1.1
    u, v = axis[None, :], axis[:, None]
    px = max(float(np.mean(body.half_width) + np.mean(body.half_height)) / 2 * _HALF, 0.5)
    soft = max(1.0 / px, 0.05)
    if body.shape == "box":
        inside = 1 - np.maximum(np.abs(u), np.abs(v))
    elif body.shape == "capsule":
        inside = 1 - np.maximum(np.abs(u), np.abs(v) ** 4)
    elif body.shape == "ring":
        inside = 0.35 - np.abs(np.hypot(u, v) - 0.65)
    else:
        inside = 1 - np.hypot(u, v)
    cover = np.clip(inside / soft + 0.5, 0, 1) * np.ones((_STAMP, _STAMP))
    coarse = rng.standard_normal((8, 8))
    at = np.linspace(0, 6.999, _STAMP)
    low = at.astype(int)
    part = at - low
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    cloth = rows[:, low] * (1 - part) + rows[:, low + 1] * part
    if rng.random() < 0.4:
        cloth = cloth + np.sin(u * rng.uniform(3, 9) + v * rng.uniform(-6, 6))
    colour = np.clip(body.brightness + body.contrast * cloth, 0, 255)
    return colour.astype(np.float32).reshape(-1), cover.astype(np.float32).reshape(-1)
