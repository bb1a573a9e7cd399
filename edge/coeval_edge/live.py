"""A live node's streams: each source read in a thread of its own, all into the node's queue.

A source that is lost is opened again; what it says goes to the log when it changes.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from coeval.errors import BadConfig
from coeval.evidence_wire import TimeSample
from coeval.manifest import StreamSpec
from coeval.pulse_names import PulseNames
from coeval.recognition import Recognition
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
from coeval_edge.sources.probe_link import ProbeLink, device_of
from coeval_edge.sources.pulse_stamps import PulseStamps
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


@runtime_checkable
class Recognises(Protocol):
    """A source that finds out what it is."""

    @property
    def modality(self) -> Modality | None:
        """What it is read as; None: not known yet."""

    @property
    def recognition(self) -> Recognition | None:
        """What it was found to be, where nobody said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockLinks:
    """What ties streams to the measuring of the clock."""

    names: Mapping[str, PulseNames] = field(default_factory=dict)
    """Of receivers whose pulse is wired to this node, by stream."""
    stamps: Mapping[str, PulseStamps] = field(default_factory=dict)
    """Of PPS lines whose pulses a probe sees, too, by the line's name."""
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
            first = ports.setdefault(device_of(probe.port), probe)
            if (first.baud, first.nmea, first.pps) != (probe.baud, probe.nmea, probe.pps):
                raise BadConfig(
                    f"probe.{name}: streams of one probe ({probe.port}) must give the same "
                    "baud, nmea and pps"
                )

    def openers(
        self, links: ClockLinks
    ) -> Iterator[tuple[str, Modality | None, Callable[[], LiveSource]]]:
        """Name and modality of every stream (None: its first lines tell), and what opens it."""
        for name, tail in self.file.items():
            yield name, tail.modality, partial(opened_lines, FileTail, tail)
        for name, sensor in self.iio.items():
            yield name, "metadata", partial(open_iio, sensor)
        for name, journal in self.journal.items():
            yield name, journal.modality, partial(JournalSource, journal)
        for name, topic in self.mqtt.items():
            yield name, topic.modality, partial(opened_lines, MqttTopic, topic)
        for name, port in self.serial.items():
            yield name, port.modality, partial(opened_lines, SerialPort, port)
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
            device = device_of(probe.port)
            if device not in shared:
                pulse_names = None if probe.nmea is None else links.names.get(probe.nmea)
                stamps = None if probe.pps is None else links.stamps.get(probe.pps)
                shared[device] = open_link(probe, names=pulse_names, hand=links.hand, stamps=stamps)
            yield name, probe.stream_modality, partial(ProbeSource, probe, shared[device])


def opened_lines(
    kind: Callable[[Any], LiveSource], config: Any, known: Modality | None = None
) -> LiveSource:
    """A source of lines, read as what it was found to be before, where that is known."""
    return kind(config if known is None else replace(config, modality=known))


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStream:
    """A stream and its source."""

    name: str
    """The stream's id."""
    modality: Modality | None
    """What it is; None: its first lines tell."""
    source: LiveSource
    """What it is read from."""
    opener: Callable[..., LiveSource]
    """Opens it again."""


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
        self._streams: list[OpenStream] = []
        self._recognised: dict[str, Recognition] = {}
        try:
            for name, modality, opener in config.openers(links or ClockLinks()):
                self._streams.append(
                    OpenStream(name=name, modality=modality, source=opener(), opener=opener)
                )
        except Exception:
            self.close()
            raise

    @property
    def names(self) -> list[str]:
        """All streams, also those of which it is not known yet what they are."""
        return [stream.name for stream in self._streams]

    @property
    def streams(self) -> list[tuple[StreamSpec, Timing]]:
        """The streams that are known, and where their stamps come from."""
        return [
            (self._spec(stream, stream.modality), stream.source.timing)
            for stream in self._streams
            if stream.modality is not None
        ]

    def met(self, name: str) -> tuple[Timing, Recognition | None]:
        """Where a stream's stamps come from, and what it was found to be, once samples come."""
        timing = next(each.source.timing for each in self._streams if each.name == name)
        return timing, self._recognised.get(name)

    def _spec(self, stream: OpenStream, modality: Modality) -> StreamSpec:
        units = stream.source.units if isinstance(stream.source, HasUnits) else None
        found = self._recognised.get(stream.name)
        if units is None and found is not None and modality == "metadata":
            units = found.units_by_column() or None
        return StreamSpec(id=stream.name, node=self._node, modality=modality, file="", units=units)

    def read_all(self, put: Callable[[Reading], bool], stop: threading.Event) -> None:
        """Read until `stop` is set; blocks.

        Args:
            put: takes a reading; False: nobody wants more. Called from several threads.
            stop: ends it.
        """
        threads = [
            threading.Thread(
                target=self._follow,
                args=(stream, put, stop),
                name=f"coeval[{self._node}].{stream.name}",
            )
            for stream in self._streams
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """Give all sources back."""
        for stream in self._streams:
            stream.source.close()

    def _follow(
        self, stream: OpenStream, put: Callable[[Reading], bool], stop: threading.Event
    ) -> None:
        source, opener = stream.source, stream.opener
        spec = None if stream.modality is None else self._spec(stream, stream.modality)
        try:
            while not stop.is_set():
                try:
                    for sample in source.read(READ_TIMEOUT_S):
                        if spec is None:
                            spec = self._recognise(stream, source)
                            opener = partial(opener, known=spec.modality)
                        now_node_ns = read_node_clock()
                        if not put(Reading(stream=spec, sample=sample, now_node_ns=now_node_ns)):
                            return
                except SourceUnusable as exc:
                    logger.warning(
                        "source lost node=%s stream=%s reason=%s", self._node, stream.name, exc
                    )
                    source.close()
                    source = self._opened_again(stream.name, opener, stop) or source
        finally:
            source.close()

    def _recognise(self, stream: OpenStream, source: LiveSource) -> StreamSpec:
        """What a stream is, whose first lines have told."""
        assert isinstance(source, Recognises), "only lines come without a label"
        found, modality = source.recognition, source.modality
        assert found is not None, "nothing comes before it is known"
        assert modality is not None, "nothing comes before it is known"
        self._recognised[stream.name] = found
        logger.log(
            logging.INFO if found.modality == modality else logging.WARNING,
            "stream recognised node=%s stream=%s modality=%s confidence=%.2f format=%s why=%s%s",
            self._node,
            stream.name,
            modality,
            found.confidence,
            found.format,
            found.why,
            "" if found.modality == modality else "; taken for text: set modality",
        )
        return self._spec(stream, modality)

    def _opened_again(
        self, name: str, opener: Callable[[], LiveSource], stop: threading.Event
    ) -> LiveSource | None:
        """The source once it is there again; None where told to stop before."""
        while not stop.wait(REOPEN_S):
            try:
                source = opener()
            except SourceUnusable as exc:
                logger.debug("source still lost stream=%s reason=%s", name, exc)
                continue
            logger.info("source is back node=%s stream=%s", self._node, name)
            return source
        return None
