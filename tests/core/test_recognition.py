"""Recognition: sensors by physics, tables and lines by their content; the rest stays unsure."""

import json

import numpy as np
import pytest

from coeval.recognition import Recognition, recognise_channels, recognise_lines
from coeval.recognition.names import kind_of_name

RNG = np.random.default_rng(3)
G = 9.81


def kinds(
    values: np.ndarray, *, names: list[str] | None = None, rate_hz: float | None = 100.0
) -> dict[str, tuple[str | None, str | None]]:
    names = names or [f"c{k}" for k in range(values.shape[1])]
    found = recognise_channels(values, names=names, rate_hz=rate_hz)
    return {
        column: (channel.kind, channel.units) for channel in found for column in channel.columns
    }


def turning(num: int = 2000, rate_hz: float = 100.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A sensor that is turned in the hand: quaternions, rates in rad/s, gravity's direction."""
    smooth = np.ones(80) / 80
    rates = np.stack(
        [np.convolve(RNG.normal(0, 8, num + 79), smooth, "valid") for _ in range(3)], axis=1
    )
    q = np.array([1.0, 0, 0, 0])
    turns, down = [], []
    for wx, wy, wz in rates:
        w, x, y, z = q
        step = 0.5 * np.array(
            [
                -x * wx - y * wy - z * wz,
                w * wx + y * wz - z * wy,
                w * wy - x * wz + z * wx,
                w * wz + x * wy - y * wx,
            ]
        )
        q = q + step / rate_hz
        q /= np.linalg.norm(q)
        w, x, y, z = q
        turns.append(q)
        down.append([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
    return np.array(turns), rates, np.array(down)


@pytest.mark.parametrize(("gravity", "units"), [(G, "m/s^2"), (1.0, "g"), (1000.0, "mg")])
def test_gravity_tells_an_accelerometer_and_its_unit(gravity: float, units: str) -> None:
    _, _, down = turning()
    felt = gravity * (down + 0.05 * RNG.standard_normal(down.shape))
    assert set(kinds(felt).values()) == {("accelerometer", units)}


@pytest.mark.parametrize(("scale", "units"), [(1.0, "rad/s"), (180 / np.pi, "deg/s")])
@pytest.mark.parametrize("beside", ["quaternion", "gravity"])
def test_the_unit_of_a_gyroscope_is_told_by_what_turns_beside_it(
    scale: float, units: str, beside: str
) -> None:
    turns, rates, down = turning()
    other = turns if beside == "quaternion" else G * (down + 0.02 * RNG.normal(size=down.shape))
    noisy = scale * (rates + 0.01 * RNG.standard_normal(rates.shape))
    found = kinds(np.concatenate([noisy, other], axis=1))
    assert [found[f"c{k}"] for k in range(3)] == [("gyroscope", units)] * 3
    assert found["c3"][0] == ("orientation" if beside == "quaternion" else "accelerometer")


def test_the_earths_field_tells_a_magnetometer() -> None:
    _, _, down = turning()
    field = 48.0 * down + 0.3 * RNG.standard_normal(down.shape)
    assert set(kinds(field).values()) == {("magnetometer", "uT")}


@pytest.mark.parametrize(("scale", "units"), [(1.0, "deg"), (1e7, "1e-7 deg")])
def test_a_place_is_told_by_its_range_and_how_it_moves(scale: float, units: str) -> None:
    walk = np.array([48.1374, 11.5755]) + np.cumsum(RNG.normal(0, 2e-6, (200, 2)), axis=0)
    values = np.round(walk, 7) * scale
    values = np.round(values) if scale > 1 else values
    assert set(kinds(values, rate_hz=5.0).values()) == {("position", units)}


def test_a_heart_is_told_by_its_spikes() -> None:
    t_s = np.arange(0, 12, 1 / 250)
    beats = np.cumsum(RNG.normal(0.85, 0.03, 20))
    wave = sum(np.exp(-0.5 * ((t_s - beat) / 0.012) ** 2) for beat in beats)
    wave = wave + 0.2 * sum(np.exp(-0.5 * ((t_s - beat - 0.25) / 0.05) ** 2) for beat in beats)
    values = (wave + 0.02 * RNG.standard_normal(len(t_s)))[:, None]
    assert kinds(values, rate_hz=250.0)["c0"][0] == "ECG"


@pytest.mark.parametrize(
    "values",
    [
        np.cumsum(RNG.normal(0, 1, (500, 3)), axis=0),
        20 + np.cumsum(RNG.normal(0, 0.01, (500, 2)), axis=0),
        np.ones((500, 4)),
        np.full((500, 3), np.nan),
        RNG.uniform(0, 1, (5, 3)),
        np.sin(np.arange(500))[:, None] * (0.3, 0.2, 0.9),
    ],
    ids=["walk", "thermometers", "constant", "missing", "short", "waves"],
)
def test_what_has_no_mark_stays_unsure(values: np.ndarray) -> None:
    assert {kind for kind, _ in kinds(values).values()} == {None}


def test_a_name_is_believed_and_its_unit_taken() -> None:
    values = 20 + np.cumsum(RNG.normal(0, 0.01, (500, 3)), axis=0)
    found = kinds(values, names=["temp_C", "Humidity [%]", "foo"], rate_hz=1.0)
    assert found == {
        "temp_C": ("temperature", "degC"),
        "Humidity [%]": ("humidity", "%"),
        "foo": (None, None),
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("GPSLatitude", "latitude"),
        ("gyro_rad[0]", "gyroscope"),
        ("yaw rate (deg/s)", "gyroscope"),
        ("accelerometer_m_s2[2]", "accelerometer"),
        ("heart_rate", "heart rate"),
        ("airTemp", "temperature"),
        ("level", None),
        ("attempts", None),
        ("button_press", None),
        ("c3", None),
    ],
)
def test_the_words_of_a_name_tell_not_its_letters(name: str, kind: str | None) -> None:
    assert kind_of_name(name) == kind


def table(
    values: np.ndarray, *, delimiter: str = ",", header: str = "", ms: bool = False
) -> list[str]:
    rows = [
        delimiter.join([f"{10 * k}" if ms else f"{k / 100:.3f}", *(f"{v:.5f}" for v in row)])
        for k, row in enumerate(values.tolist())
    ]
    return [header, *rows] if header else rows


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
@pytest.mark.parametrize("ms", [False, True])
def test_a_table_without_header_is_read_by_any_delimiter(delimiter: str, ms: bool) -> None:
    _, _, down = turning(400)
    felt = G * (down + 0.02 * RNG.standard_normal(down.shape))
    found = recognise_lines(table(felt, delimiter=delimiter, ms=ms))
    assert found.modality == "metadata"
    assert found.time is not None
    assert (found.time.unit, found.time.rate_hz) == ("ms" if ms else "s", pytest.approx(100))
    assert found.units_by_column() == {f"c{k}": "m/s^2" for k in (1, 2, 3)}


@pytest.mark.parametrize(
    ("first", "step", "unit"),
    [
        ("1700000000.25", 0.01, "s"),
        ("1700000000250", 10, "ms"),
        ("1700000000250000", 10_000, "us"),
        ("1700000000250000000", 10_000_000, "ns"),
    ],
)
def test_the_unit_of_time_is_told_by_its_size(first: str, step: float, unit: str) -> None:
    begin = float(first) if "." in first else int(first)
    lines = [f"{begin + k * step},{RNG.normal():.4f}" for k in range(50)]
    found = recognise_lines(lines)
    assert found.time is not None
    assert (found.time.unit, found.time.rate_hz) == (unit, pytest.approx(100, rel=0.01))


@pytest.mark.parametrize(
    "before", [["# logger 7", "# 2026-11-25"], ["Logger: 7", "Site: roof", "", "Rate, 100, Hz"]]
)
def test_remarks_and_a_loggers_preamble_hide_no_table(before: list[str]) -> None:
    found = recognise_lines([*before, *table(RNG.normal(size=(40, 2)), header="t_s,temp_C,b")])
    assert found.modality == "metadata"
    assert found.time is not None
    assert found.time.column == "t_s"


def test_a_header_names_the_columns_and_is_no_reading() -> None:
    found = recognise_lines(table(RNG.normal(size=(50, 2)), header="time_s,temp_C,rh [%]"))
    assert found.time is not None
    assert found.time.column == "time_s"
    assert found.units_by_column() == {"temp_C": "degC", "rh [%]": "%"}


NMEA = [
    "$GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W*6A",
    "$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
]


@pytest.mark.parametrize(
    ("lines", "modality", "format"),
    [
        (NMEA * 5, "metadata", "NMEA 0183"),
        (['{"t": 1.5, "ax": 0.1}'] * 5, "metadata", "JSON, an object a line"),
        (['{"level": "INFO", "msg": "rpm=1200"}'], "text", "JSON, an object a line"),
        (["1", "00:00:01,500 --> 00:00:02,750", "Hello"], "text", "subtitles"),
        (["Jan 1 10:00:01 host app[12]: door opened"], "text", "lines of text"),
        (["Tür auf", "porte ouverte"], "text", "lines of text"),
        (['1.05,1.2,"well, yes"', "2.5,2.9,no"], "text", "table, comma, no header"),
        (["45.0,images/1.jpg", "46.0,images/2.jpg"], "image", "table, comma, no header"),
        (["T=21.5 H=40.2", "T=21.6 H=40.1", "T=21.5 H=40.0"], "metadata", "lines of one wording"),
        (["ACC,0.1,0.2,9.8"] * 9, "metadata", "table, comma, no header"),
        (["0.1 0.2 9.8"] * 9, "metadata", "table, blanks, no header"),
        (["rpm = 1200 now", "rpm = 1250 now", "rpm = 1250 now"], None, "lines of one wording"),
        ([], None, "lines"),
        (["\x01\x02\x03\x7f", "\x05\x06"], None, "lines"),
    ],
)
def test_lines_are_recognised_by_their_content(
    lines: list[str], modality: str | None, format: str
) -> None:
    found = recognise_lines(lines)
    assert (found.modality, found.format) == (modality, format)


def test_what_is_said_is_json() -> None:
    found: Recognition = recognise_lines(table(RNG.normal(size=(50, 2))))
    assert json.loads(json.dumps(found.describe()))["modality"] == "metadata"


def named(*lines: str) -> list[str]:
    """The columns that lines are found to have, time apart."""
    found = recognise_lines(list(lines))
    assert found.time is not None, found
    assert found.time.column == "t"
    return [column for channel in found.channels for column in channel.columns]


def test_a_header_may_name_a_column_twice_and_end_in_a_mark() -> None:
    rows = [f"{k / 10},{k % 3},{k % 5}" for k in range(40)]
    assert named("t,x,x", *rows) == ["x", "x_2"]
    assert named("t,x,y,", *(f"{row}," for row in rows)) == ["x", "y"]


@pytest.mark.parametrize("line", ["t,ax,ay,az", "time [s];temp (°C)", "timestamp\tvalue"])
def test_a_header_without_rows_is_no_text(line: str) -> None:
    found = recognise_lines([line])
    assert (found.modality, found.why) == (None, "one row of names: a header without rows?")


def test_columns_that_hold_no_numbers_are_told() -> None:
    found = recognise_lines(["t,x,side", *(f"{k / 10},{k % 7},left" for k in range(40))])
    assert (found.modality, found.why) == ("metadata", "columns of numbers; no numbers in side")


def test_dates_tell_a_rate() -> None:
    rows = [f"2025-11-24T10:00:{k / 10:04.1f}Z,{k % 7}" for k in range(100)]
    found = recognise_lines(["time,x", *rows])
    assert found.time is not None
    assert (found.time.unit, found.time.rate_hz) == ("date", pytest.approx(10.0))


def test_of_hundreds_of_columns_none_is_taken_for_gravity_by_chance() -> None:
    """By the bound of narrow tables 40 of 40 such tables had a three, by this one none."""
    rng = np.random.default_rng(8)
    for _ in range(2):
        steps = rng.standard_normal((600, 300)) * rng.uniform(0.1, 1.0, 300)
        assert "accelerometer" not in {kind for kind, _ in kinds(np.cumsum(steps, 0)).values()}
