"""What senses the channels of the real recordings, from their headers and their makers' pages."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """What a channel is."""

    kind: str | None
    """Its kind; None: none that can be told from numbers, so that any answer is wrong."""
    units: str | None = None
    """Its unit."""


def _of(kind: str | None, units: str | None = None, num: int = 1) -> tuple[Sensor, ...]:
    return (Sensor(kind=kind, units=units),) * num


GYRO_RAD, GYRO_DEG = _of("gyroscope", "rad/s", 3), _of("gyroscope", "deg/s", 3)
ACCEL, ACCEL_G = _of("accelerometer", "m/s^2", 3), _of("accelerometer", "g", 3)
QUATERNION = _of("orientation", "quaternion", 4)
PLACE = _of("position", "deg", 2)
GAZE = _of("direction", "unit vector", 3)

SENSORS: dict[str, tuple[Sensor, ...]] = {
    "comma2k19_example/accel": ACCEL,
    "comma2k19_example/gyro": GYRO_RAD,
    "comma2k19_example/can_speed": _of(None),
    "comma2k19_example/can_steer": _of(None),
    "comma2k19_example/can_wheels": _of("wheel speeds", "m/s", 4),
    "comma2k19_example/gnss_ublox": PLACE + _of(None) + _of("clock", "ms") + _of(None, num=2),
    "comma2k19_example/frame_orientation": QUATERNION,
    "neon_demo_2025/imu": GYRO_DEG + ACCEL_G + QUATERNION,
    "neon_demo_2025/gaze": _of(None, num=2),
    "px4_appended/imu": GYRO_RAD + ACCEL,
    "px4_appended/attitude": GYRO_RAD + QUATERNION,
    "cuav_flight_2018/raw_imu": _of(None)
    + _of("clock", "s")
    + _of("accelerometer", "mg", 3)
    + _of("gyroscope", "mrad/s", 3),
    "cuav_flight_2018/attitude": _of(None) + _of("clock", "s") + _of(None, num=3) + GYRO_RAD,
    "cuav_flight_2018/global_position_int": _of(None)
    + _of("clock", "s")
    + PLACE
    + _of("altitude", "m", 2)
    + _of(None, num=4),
    "cuav_flight_2018/vfr_hud": _of(None, num=6),
    "donkeycar_tub/control": _of("counter", "1") + _of(None, num=2),
    "drone_brighton/telemetry": PLACE + _of("altitude", "m", 2) + _of(None, num=5),
    "gopro_hero7/gyro": GYRO_RAD,
    "gopro_hero7/accl": ACCEL,
    "gopro_hero7/gps": PLACE + _of("altitude", "m") + _of(None, num=2),
    "gopro_hero7/exposure": _of(None),
    "gopro_hero7/iso": _of(None),
    "gopro_karma/gyro": GYRO_RAD,
    "gopro_karma/accl": ACCEL,
    "neon_multipart_2025/imu": GYRO_DEG + ACCEL_G + QUATERNION,
    "neon_multipart_2025/gaze": _of(None, num=2),
    "neon_multipart_2025/eye_state": _of(None, num=4)
    + GAZE
    + _of(None, num=4)
    + GAZE
    + _of(None, num=6),
    "px4_cubeorange/imu": GYRO_RAD + ACCEL,
    "px4_cubeorange/attitude": QUATERNION,
    "px4_cubeorange/actuators": _of("servo outputs", "us", 4),
    "px4_cubeorange/gps": _of("position", "1e-7 deg", 2) + _of("altitude", "mm") + _of(None),
    "px4_cubeorange/local_position": _of(None, num=6),
    "px4_cubeorange/status": _of("state", "1", 2),
    "twistnsync_two_gyros/mcu_gyro": GYRO_RAD,
    "twistnsync_two_gyros/smartphone_gyro": GYRO_RAD,
}
"""By recording and stream, a sensor a column."""
