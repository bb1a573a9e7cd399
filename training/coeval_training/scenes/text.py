"""Renders a scene as lines of text: logs of its events, subtitles of its speech, and chatter."""

from collections.abc import Iterator

import numpy as np

from coeval.samples import TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_training.scenes.latent import Event, Latent, thin

PHRASES: dict[str, tuple[str, ...]] = {
    "step": ("step", "footstep detected", "Schritt", "pas", "stride {n}"),
    "hit": ("hit", "impact", "hammer blow", "Schlag", "coup", "impact detected peak={x}"),
    "grab": ("grab", "picked up item", "object grasped", "Griff", "prise", "gripper closed"),
    "place": ("place", "item put down", "object released", "abgelegt", "posé"),
    "jump": ("jump", "take-off", "Sprung", "saut", "airborne"),
    "land": ("landing", "touchdown", "Landung", "atterrissage", "landed peak={x}"),
    "clap": ("clap", "hands clapped", "Klatschen", "applaudissement"),
    "turn_left": (
        "turn left",
        "yaw left {x} deg",
        "Linkskurve",
        "virage à gauche",
        "heading change -{n}",
    ),
    "turn_right": (
        "turn right",
        "yaw right {x} deg",
        "Rechtskurve",
        "virage à droite",
        "heading change +{n}",
    ),
    "look_up": ("look up", "pitch up", "tilt +{n}", "Blick nach oben"),
    "look_down": ("look down", "pitch down", "tilt -{n}", "Blick nach unten"),
    "bump": ("bump", "vertical shock {x} g", "pothole", "Schlagloch", "secousse"),
    "brake": ("braking", "brake pedal pressed", "Bremse", "freinage", "decel {x}"),
    "start": ("start", "vehicle moving", "Anfahrt", "départ", "mode AUTO", "throttle up"),
    "stop": ("stop", "vehicle stopped", "Halt", "arrêt", "Reached waypoint #{n}"),
    "horn": ("horn", "Hupe"),
    "motor_start": (
        "motor on",
        "spindle started rpm={n}00",
        "Motor ein",
        "moteur en marche",
        "drive enabled",
    ),
    "motor_stop": ("motor off", "spindle stopped", "Motor aus", "moteur arrêté", "drive disabled"),
    "press": ("press down", "stroke {n} begins", "Presse ab", "descente presse"),
    "press_hit": ("press bottom", "stroke {n} force={x} kN", "Presse unten", "fin de course"),
    "clamp": ("clamp closed", "clamped", "gespannt", "serrage", "clamp force {x}"),
    "release": ("clamp released", "valve open", "gelöst", "desserrage"),
    "door_open": ("door opens", "door=open", "Tür auf", "porte ouverte"),
    "door_close": ("door closed", "door=closed", "Tür zu", "porte fermée"),
    "door": ("door", "somebody enters", "Tür", "porte"),
    "lamp_on": ("lamp on", "light=1", "Lampe an", "voyant allumé"),
    "lamp_off": ("lamp off", "light=0", "Lampe aus", "voyant éteint"),
    "alarm": ("ALARM {n}", "error E{n}", "Störung {n}", "alarme {n}", "fault code {n}"),
    "eject": ("part ejected", "conveyor advanced", "Auswurf", "pièce éjectée", "part {n} done"),
    "spin": ("speed up", "rpm={n}00", "Drehzahl hoch", "accélération"),
    "gesture": ("gesture", "hand raised", "Geste", "geste"),
    "cough": ("cough", "[coughs]", "Husten", "toux"),
    "laugh": ("laughter", "[laughs]", "Lachen", "rires"),
    "cup": ("cup put down", "Tasse", "tasse"),
    "knock": ("knock", "Klopfen", "on frappe"),
    "key": ("key {c}", "keydown {c}", "key press code={n}", "KeyPress {c}"),
    "enter": ("key Return", "keydown Enter", "command entered", "KeyPress Return"),
    "click": ("click {n},{n}", "mouse button 1", "ButtonPress 1 at {n},{n}", "clicked button"),
    "scroll": ("scroll {n}", "wheel down", "ButtonPress 5"),
    "window_open": (
        "window opened",
        "exec editor pid={n}",
        "map window 0x{n}",
        "Fenster auf",
        "started process {n}",
    ),
    "window_close": ("window closed", "process {n} exited", "unmap window 0x{n}", "Fenster zu"),
    "page": ("page loaded", "GET /page/{n} 200", "navigate", "Seite geladen"),
    "beep": ("bell", "notification shown", "new message", "Hinweis"),
    "prompt": ("say prompt {n}", "speaking", "Ansage", "tts start"),
}
"""How each type of event is put into words; {n} an integer, {x} a decimal, {c} a letter."""

_CHATTER = (
    "heartbeat ok",
    "battery {n} %",
    "temp={x}",
    "GET /status 200 {n} ms",
    "connected to access point",
    "rssi -{n} dBm",
    "cron job {n} finished",
    "synchronising clock",
    "memory usage {n} MB",
    "Speicher {n} MB frei",
    "mise à jour disponible",
    "saved file {n}.dat",
    "retrying in {n} s",
    "keepalive",
    "DEBUG loop took {x} ms",
    "user logged in",
    "cache flushed",
    "GPS satellites {n}",
)

_STYLES = (
    "{text}",
    "{text}",
    "[{level}] {text}",
    "{level}: {text}",
    "host app[{pid}]: {text}",
    '{{"level": "{level}", "msg": "{text}"}}',
    'level={level} msg="{text}"',
    "{clock} {level} {text}",
    "<{pid}> {text}",
    "{TEXT}",
    "{text}.",
    "app.core - {level} - {text}",
)


def text(latent: Latent) -> Iterator[TextLine]:
    """Lines in time order; stamps differ from the truth by the reporter's jitter only."""
    rng = latent.rng("text")
    lines = [*_log(latent, rng), *_speech(latent, rng), *_chatter(latent, rng)]
    lines = [line for line in lines if 0 <= line.t_node_ns < latent.duration_s * NS_PER_S]
    lines.sort(key=lambda line: line.t_node_ns)
    last = -1
    for line in lines:
        if line.t_node_ns > last:
            last = line.t_node_ns
            yield line


def _ns(t_s: float) -> NodeNs:
    return NodeNs(round(t_s * NS_PER_S))


def _fill(rng: np.random.Generator, phrase: str) -> str:
    """A phrase with its blanks filled in."""
    while "{" in phrase:
        phrase = phrase.replace("{n}", str(int(rng.integers(1, 100))), 1)
        phrase = phrase.replace("{x}", f"{rng.uniform(0, 20):.2f}", 1)
        phrase = phrase.replace("{c}", chr(int(rng.integers(97, 123))), 1)
    return phrase


def _styled(rng: np.random.Generator, style: str, text: str) -> str:
    level = str(rng.choice(["INFO", "INFO", "DEBUG", "WARN", "ERROR"]))
    clock = f"{int(rng.integers(24)):02d}:{int(rng.integers(60)):02d}:{int(rng.integers(60)):02d}"
    pid = int(rng.integers(100, 9999))
    return style.format(text=text, TEXT=text.upper(), level=level, clock=clock, pid=pid)


def _log(latent: Latent, rng: np.random.Generator) -> Iterator[TextLine]:
    """One line for each event the log knows, in the words of this scene's logger."""
    types = sorted({event.type for event in latent.events if event.type in PHRASES})
    # A log covers most types of event, always in much the same words.
    kept = [name for name in types if rng.random() < 0.85] or types
    words = {name: str(rng.choice(PHRASES[name])) for name in kept}
    style = str(rng.choice(_STYLES))
    sigma_s = float(rng.uniform(0.005, 0.02))
    with_end = rng.random() < 0.4
    if latent.kind == "people" and rng.random() < 0.6:
        return  # subtitles alone
    events: list[Event] = thin([event for event in latent.events if event.type in words], rng)
    for event in events:
        t = event.t_s + sigma_s * float(rng.standard_normal())
        phrase = words[event.type] if rng.random() < 0.93 else str(rng.choice(PHRASES[event.type]))
        end = _ns(t + event.duration_s) if with_end and event.duration_s > 0 else None
        yield TextLine(
            t_node_ns=_ns(t), t_end_node_ns=end, text=_styled(rng, style, _fill(rng, phrase))
        )


def _speech(latent: Latent, rng: np.random.Generator) -> Iterator[TextLine]:
    """What is said: as subtitles, word by word, or as turns of speakers.

    A subtitle's edges stray by up to 0.15 s, as those made by hand do.
    """
    if not latent.sentences:
        return
    how = str(rng.choice(["subtitle", "subtitle", "word", "turn"]))
    if latent.kind == "desktop" and rng.random() < 0.5:
        return
    stray_s = float(rng.choice([0.0, 0.04, 0.08]))
    prefix = "FMS"[int(rng.integers(3))]
    names = [f"{prefix}EO{int(rng.integers(1, 99)):03d}" for _ in range(8)]
    has_end = rng.random() < 0.9
    kept = [s for s in latent.sentences if rng.random() < 0.95]

    def line(t: float, end: float, words: str, stray: float) -> TextLine:
        start = t + float(np.clip(rng.normal(0, stray + 0.005), -0.15, 0.15))
        stop = max(start + 0.05, end + float(np.clip(rng.normal(0, stray + 0.005), -0.15, 0.15)))
        return TextLine(
            t_node_ns=_ns(max(start, 0.0)),
            t_end_node_ns=_ns(max(stop, 0.05)) if has_end else None,
            text=words,
        )

    for sentence in kept:
        if how == "subtitle":
            said = (
                sentence.text[:1].upper()
                + sentence.text[1:]
                + str(rng.choice([".", ".", "?", "!", ""]))
            )
            yield line(sentence.t_s, sentence.t_end_s, said, stray_s)
        elif how == "turn":
            name = names[sentence.speaker]
            yield line(sentence.t_s, sentence.t_end_s, f"speaker {name} talks", stray_s)
        else:
            for word in sentence.words:
                yield line(word.t_s, word.t_end_s, word.text, 0.01)


def _chatter(latent: Latent, rng: np.random.Generator) -> Iterator[TextLine]:
    """Lines that have nothing to do with the scene; some come at a steady beat."""
    per_s = float(rng.choice([0.0, 0.02, 0.1, 0.4]))
    style = str(rng.choice(_STYLES))
    times = rng.uniform(0, latent.duration_s, rng.poisson(per_s * latent.duration_s))
    if rng.random() < 0.25:
        times = np.append(
            times, np.arange(rng.uniform(0, 10), latent.duration_s, rng.uniform(2, 15))
        )
    for t in np.sort(times):
        phrase = _fill(rng, str(rng.choice(_CHATTER)))
        yield TextLine(
            t_node_ns=_ns(float(t)), t_end_node_ns=None, text=_styled(rng, style, phrase)
        )
