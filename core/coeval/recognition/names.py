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

WORDS: dict[str, str] = {
    word: kind
    for kind, words in {
        "accelerometer": "acc accel accl accelerometer acceleration accelerations ax ay az",
        "gyroscope": "gyr gyro gyroscope gx gy gz rollrate pitchrate yawrate rollspeed pitchspeed "
        "yawspeed",
        "magnetometer": "mag magnetometer magnetic magx magy magz",
        "orientation": "quat quaternion q q0 q1 q2 q3 qw qx qy qz",
        "latitude": "lat latitude",
        "longitude": "lon lng long longitude",
        "altitude": "alt altitude elevation",
        "pressure": "pressure pres baro barometer",
        "temperature": "temp temperature",
        "humidity": "hum humid humidity rh",
        "heart rate": "hr heartrate",
        "ECG": "ecg ekg",
        "steering": "steer steering steeringwheel",
        "control": "throttle brake",
        "engine speed": "rpm",
        "wheel speed": "wheelspeed",
        "velocity": "speed velocity vel groundspeed airspeed vx vy vz vn ve vd",
        "attitude": "roll pitch yaw heading hdg bearing",
        "electrical": "volt voltage vbat current power battery",
        "light": "lux illuminance",
        "air quality": "co2 tvoc pm25 pm10",
    }.items()
    for word in words.split()
}
"""What senses a channel in whose name a word is."""
TURNS = frozenset(("roll", "pitch", "yaw", "angular"))
RATES = frozenset(("rate", "speed", "velocity", "vel"))


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
    """What senses a channel, by the words of its name."""
    plain = re.sub(r"\((?!\d).*$|\[(?!\d).*$", "", name.strip())
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain).lower()
    words = [word for word in re.split(r"[^a-z0-9]+", parted) if word]
    if TURNS.intersection(words) and RATES.intersection(words):
        return "gyroscope"
    if "heart" in words and "rate" in words:
        return "heart rate"
    if "wheel" in words and RATES.intersection(words):
        return "wheel speed"
    return next((WORDS[word] for word in words if word in WORDS), None)
