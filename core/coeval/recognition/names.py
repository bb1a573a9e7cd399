"""What the name of a column says: whether it is time, its unit, what senses it."""

import re

UNIT_OF_TIME = re.compile(r"(?:.*[_ \[(]|)(s|sec|seconds|ms|us|µs|ns)[\])]?", re.IGNORECASE)
TIME_NAME = re.compile(
    r"(?:t|ts|time|.*time_?stamps?|date_?time|date|seconds|epoch|unix(?:_?time)?|time_?usec|"
    r"t_?(?:start|begin)|start(?:_time)?)(?:[_ \[(]*(?:s|sec|seconds|ms|us|µs|ns)[\])]?)?",
    re.IGNORECASE,
)
UNIT_IN_NAME = re.compile(
    r"[\[(_ ](m/s\^?2|m/s²|m_s2|rad/s|rad_s|deg/s|dps|°/s|g|mg|ut|µt|uT|hpa|mbar|pa|kpa|degc|°c|c|"
    r"m/s|km/h|kmh|rpm|bpm|deg|rad|v|mv|a|ma|w|lux|m|cm|mm|%|hz)[\])]?$",
    re.IGNORECASE,
)
UNITS = {
    "m/s^2": "m/s^2",
    "m/s2": "m/s^2",
    "m/s²": "m/s^2",
    "m_s2": "m/s^2",
    "rad_s": "rad/s",
    "dps": "deg/s",
    "°/s": "deg/s",
    "ut": "uT",
    "µt": "uT",
    "hpa": "hPa",
    "mbar": "hPa",
    "pa": "Pa",
    "kpa": "kPa",
    "degc": "degC",
    "°c": "degC",
    "c": "degC",
    "kmh": "km/h",
    "v": "V",
    "mv": "mV",
    "a": "A",
    "ma": "mA",
    "w": "W",
    "hz": "Hz",
}

KINDS: tuple[tuple[str, str], ...] = (
    (
        r"acc(?:el|elerometer|elerations?|l)?(?:[_ .\[]|\d|$|x|y|z)|a[xyz]$|(?:lin|user)acc",
        "accelerometer",
    ),
    (
        r"gyro?|angular_?(?:rate|vel)|(?:roll|pitch|yaw)_?(?:rate|speed)|g[xyz]$|w[xyz]$",
        "gyroscope",
    ),
    (r"mag(?:netometer|neto)?(?:[_ .\[]|\d|$|x|y|z)|m[xyz]$", "magnetometer"),
    (r"(?:quat(?:ernion)?|q)[_ .\[]*[wxyz0-3ijkr]?\]?$", "orientation"),
    (r"(?:gps|gnss)?_?lat(?:itude)?$|.*latitude$", "latitude"),
    (r"(?:gps|gnss)?_?lon(?:g|gitude)?$|lng$|.*longitude$", "longitude"),
    (r".*alt(?:itude)?$|height|elevation", "altitude"),
    (r".*(?:press|baro)", "pressure"),
    (r".*temp|t_?(?:air|room|water)$", "temperature"),
    (r".*hum(?:id|idity)?$|rh$", "humidity"),
    (r"hr$|.*heart_?rate|bpm|pulse$", "heart rate"),
    (r"ecg|ekg|lead_?(?:i|ii|iii|v\d)$", "ECG"),
    (r"eeg|emg|eog", "biopotential"),
    (r".*(?:steer|wheel_?angle)", "steering"),
    (r".*(?:throttle|brake|gas_?pedal|accelerator)", "control"),
    (r".*rpm$|.*engine_?speed", "engine speed"),
    (r"wheel|.*wheel_?speed", "wheel speed"),
    (r".*(?:speed|velocity|vel)(?:[_ ].*)?$|v[xyz]$|v[ned]$", "velocity"),
    (r"roll$|pitch$|yaw$|.*(?:heading|hdg|course|bearing)$", "attitude"),
    (r".*(?:volt|vbat)|.*current$|.*power$|battery", "electrical"),
    (r".*(?:lux|light|illumin)", "light"),
    (r".*co2|.*tvoc|.*pm(?:2|10)", "air quality"),
)


def is_time_name(name: str) -> bool:
    """Whether a column is called like time."""
    return TIME_NAME.fullmatch(name.strip()) is not None


def unit_in_name(name: str) -> str | None:
    """The unit of time that a name ends with: `s`, `ms`, `us` or `ns`."""
    found = UNIT_OF_TIME.fullmatch(name.strip())
    if found is None or name.strip().lower() in ("s", "t"):
        return None
    unit = found[1].lower()
    return {"sec": "s", "seconds": "s", "µs": "us"}.get(unit, unit)


def unit_of_name(name: str) -> str | None:
    """The unit that a channel's name states."""
    found = UNIT_IN_NAME.search(name)
    if found is None:
        return None
    unit = found[1].lower()
    return UNITS.get(unit, unit)


def kind_of_name(name: str) -> str | None:
    """What senses a channel, by its name."""
    plain = re.sub(r"[\[(](?!\d).*$", "", name.strip().lower()).strip(" _")
    return next((kind for pattern, kind in KINDS if re.match(pattern, plain)), None)
