"""A live node's streams: each source read in a thread of its own, all into the node's queue.

A source that is lost is opened again; what it says goes to the log when it changes.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Protocol, runtime_checkable

from coeval.errors import BadConfig
from coeval.evidence_wire import TimeSample
from coeval.manifest import StreamSpec
from coeval.pulse_names import PulseNames
from coeval.samples import Modality, Sample
from coeval.topics import check_id
from coeval_edge.kernel_clocks import read_node_clock
from coeval_edge.replay import Reading
from coeval_edge.sources.errors import SourceUnusable
from coeval_edge.sources.file_tail import FileTail, FileTailConfig
from coeval_edge.sources.iio import open_iio
from coeval_edge.sources.iio_device import IioConfig
from coeval_edge.sources.journal import JournalConfig, JournalSource
from coeval_edge.sources.microphone import MicrophoneConfig, open_microphone
from coeval_edge.sources.mqtt_topic import MqttTopic, MqttTopicConfig
from coeval_edge.sources.nmea import NmeaConfig, NmeaReceiver
from coeval_edge.sources.pi_camera import PiCameraConfig, open_pi_camera
from coeval_edge.sources.probe import ProbeConfig, ProbeSource, open_link
from coeval_edge.sources.probe_link import ProbeLink
from coeval_edge.sources.serial_port import SerialConfig, SerialPort
from coeval_edge.sources.timing import Timing
from coeval_edge.sources.v4l2_camera import CameraConfig, open_camera

logger = logging.getLogger(__name__)

READ_TIMEOUT_S = 0.5
REOPEN_S = 5.0


class LiveSource(Protocol):
    """Something that is read as things happen."""

    timing: Timing
    """Where its stamps come from."""

    def read(self, timeout_s: float) -> list[Sample]:
        """What happened, waiting up to `timeout_s` for anything."""

    def close(self) -> None:
        """Give it back."""


@runtime_checkable
class HasUnits(Protocol):
    """A source that knows the units of its channels."""

    units: Mapping[str, str]
    """By channel, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockLinks:
    """What ties streams to the measuring of the clock."""

    names: Mapping[str, PulseNames] = field(default_factory=dict)
    """Of receivers whose pulse is wired to this node, by stream."""
    hand: Callable[[Sequence[TimeSample]], None] | None = None
    """Takes what sources tell of UTC; None: nobody asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesConfig:
    """A live node's streams, by kind and by the stream's name."""

    file: Mapping[str, FileTailConfig] = field(default_factory=dict)
    """Files that something appends lines to."""
    iio: Mapping[str, IioConfig] = field(default_factory=dict)
    """Sensors of the kernel's industrial I/O."""
    journal: Mapping[str, JournalConfig] = field(default_factory=dict)
    """Messages of systemd's journal."""
    mqtt: Mapping[str, MqttTopicConfig] = field(default_factory=dict)
    """MQTT topics."""
    serial: Mapping[str, SerialConfig] = field(default_factory=dict)
    """Serial ports whose devices print lines; needs the `serial` extra."""
    camera: Mapping[str, CameraConfig] = field(default_factory=dict)
    """Cameras of the kernel (V4L2)."""
    pi_camera: Mapping[str, PiCameraConfig] = field(default_factory=dict)
    """Cameras on a Raspberry Pi's own connector, through picamera2."""
    microphone: Mapping[str, MicrophoneConfig] = field(default_factory=dict)
    """Microphones, through ALSA."""
    nmea: Mapping[str, NmeaConfig] = field(default_factory=dict)
    """GNSS receivers on serial ports; needs the `nmea` extra."""
    probe: Mapping[str, ProbeConfig] = field(default_factory=dict)
    """Streams of probes, which stamp edges and motion themselves; needs the `probe` extra."""

    def __post_init__(self) -> None:
        names = [name for kind in fields(self) for name in getattr(self, kind.name)]
        for name in names:
            check_id(name, what=f"stream {name!r}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise BadConfig(f"two streams are called {twice[0]!r}; give one another name")
        ports: dict[str, ProbeConfig] = {}
        for name, probe in self.probe.items():
            first = ports.setdefault(probe.port, probe)
            if (first.baud, first.nmea) != (probe.baud, probe.nmea):
                raise BadConfig(
                    f"probe.{name}: streams of one probe ({probe.port}) must give the same "
                    "baud and nmea"
                )

    def openers(
        self, links: ClockLinks
    ) -> Iterator[tuple[str, Modality, Callable[[], LiveSource]]]:
        """Name and modality of every stream, and what opens its source."""
        for name, tail in self.file.items():
            yield name, tail.modality, partial(FileTail, tail)
        for name, sensor in self.iio.items():
            yield name, "metadata", partial(open_iio, sensor)
        for name, journal in self.journal.items():
            yield name, journal.modality, partial(JournalSource, journal)
        for name, topic in self.mqtt.items():
            yield name, topic.modality, partial(MqttTopic, topic)
        for name, port in self.serial.items():
            yield name, port.modality, partial(SerialPort, port)
        for name, camera in self.camera.items():
            yield name, camera.modality, partial(open_camera, camera)
        for name, pi_camera in self.pi_camera.items():
            yield name, pi_camera.modality, partial(open_pi_camera, pi_camera)
        for name, microphone in self.microphone.items():
            yield name, "audio", partial(open_microphone, microphone)
        for name, gnss in self.nmea.items():
            opener = partial(NmeaReceiver, gnss, names=links.names.get(name), hand=links.hand)
            yield name, "metadata", opener
        shared: dict[str, ProbeLink] = {}
        for name, probe in self.probe.items():
            if probe.port not in shared:
                pulse_names = None if probe.nmea is None else links.names.get(probe.nmea)
                shared[probe.port] = open_link(probe, names=pulse_names, hand=links.hand)
            yield name, probe.stream_modality, partial(ProbeSource, probe, shared[probe.port])


class LiveStreams:
    """Reads all sources until told to stop."""

    def __init__(
        self, config: SourcesConfig, node: str, *, links: ClockLinks | None = None
    ) -> None:
        """Open every source once, so that what cannot be used is said at once.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self._node = node
        self._sources: list[tuple[StreamSpec, LiveSource, Callable[[], LiveSource]]] = []
        try:
            for name, modality, opener in config.openers(links or ClockLinks()):
                source = opener()
                units = source.units if isinstance(source, HasUnits) else None
                spec = StreamSpec(id=name, node=node, modality=modality, file="", units=units)
                self._sources.append((spec, source, opener))
        except Exception:
            self.close()
            raise

    @property
    def streams(self) -> list[tuple[StreamSpec, Timing]]:
        """The streams, and where their stamps come from."""
        return [(spec, source.timing) for spec, source, _ in self._sources]

    def read_all(self, put: Callable[[Reading], bool], stop: threading.Event) -> None:
        """Read until `stop` is set; blocks.

        Args:
            put: takes a reading; False: nobody wants more. Called from several threads.
            stop: ends it.
        """
        threads = [
            threading.Thread(
                target=self._follow,
                args=(spec, source, opener, put, stop),
                name=f"coeval[{self._node}].{spec.id}",
            )
            for spec, source, opener in self._sources
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """Give all sources back."""
        for _, source, _ in self._sources:
            source.close()

    def _follow(
        self,
        spec: StreamSpec,
        source: LiveSource,
        opener: Callable[[], LiveSource],
        put: Callable[[Reading], bool],
        stop: threading.Event,
    ) -> None:
        try:
            while not stop.is_set():
                try:
                    for sample in source.read(READ_TIMEOUT_S):
                        now_node_ns = read_node_clock()
                        if not put(Reading(stream=spec, sample=sample, now_node_ns=now_node_ns)):
                            return
                except SourceUnusable as exc:
                    logger.warning(
                        "source lost node=%s stream=%s reason=%s", self._node, spec.id, exc
                    )
                    source.close()
                    source = self._opened_again(spec, opener, stop) or source
        finally:
            source.close()

    def _opened_again(
        self, spec: StreamSpec, opener: Callable[[], LiveSource], stop: threading.Event
    ) -> LiveSource | None:
        """The source once it is there again; None where told to stop before."""
        while not stop.wait(REOPEN_S):
            try:
                source = opener()
            except SourceUnusable as exc:
                logger.debug("source still lost stream=%s reason=%s", spec.id, exc)
                continue
            logger.info("source is back node=%s stream=%s", self._node, spec.id)
            return source
        return None
