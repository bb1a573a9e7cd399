"""A node: source thread → bounded queue → pipelines → spool → publisher thread.

The thread that calls `run` owns the pipelines and the spool. A replay waits when the queue is full;
nothing is lost on the way. A live node measures its own clock instead (`clock_keeper`).
"""

import json
import logging
import queue
import secrets
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from coeval import __version__
from coeval.broker_address import BrokerAddress
from coeval.errors import CoevalError
from coeval.evidence_wire import TimeSample, batches, encode_evidence
from coeval.features import make_extractor
from coeval.manifest import StreamSpec
from coeval.pulse_names import PulseNames
from coeval.relevance import Relevance, RelevanceWatch
from coeval.samples import Modality
from coeval.time import NS_PER_S, NodeNs
from coeval.wire import Block, encode_block
from coeval_edge.clock_keeper import ClockKeeper, TimeConfig
from coeval_edge.config import NodeConfig, ReplayConfig
from coeval_edge.descriptors import NamedEncoder, describe, encoder_facts
from coeval_edge.encoder import Encoder
from coeval_edge.encoder_switch import EncoderSwitch
from coeval_edge.kernel_clocks import read_node_clock
from coeval_edge.live import ClockLinks, LiveStreams, SourcesConfig
from coeval_edge.pipeline import StreamPipeline
from coeval_edge.publish import Publisher
from coeval_edge.recording import open_recording
from coeval_edge.replay import Pace, Reading, ReplaySource
from coeval_edge.replay_evidence import ReplayedEvidence
from coeval_edge.sources.line_modality import LINE_MODALITIES
from coeval_edge.sources.pulse_stamps import PulseStamps
from coeval_edge.spool import Spool

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 64
LIVE_WAIT_S = 0.2
LIVE_DELAY_NS = NS_PER_S
"""A live stream that has said nothing until so long ago has nothing more to say of then."""


LoadEncoder = Callable[[Modality, Path | None], NamedEncoder]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What a run of a node came to."""

    num_blocks: int
    """Blocks that the broker acknowledged."""
    num_dropped: int
    """Samples and blocks dropped, each of them logged."""


class Node:
    """Replays a node of a recording into a session, or measures this device's clock."""

    def __init__(self, config: NodeConfig, *, load_encoder: LoadEncoder | None = None) -> None:
        """Open everything that can fail before anything is published.

        Args:
            config: the node's configuration.
            load_encoder: gives a fresh encoder of a modality; the path is None where the one
                that ships is meant. None: from ONNX files.

        Raises:
            BadRecording: the recording, its node or a stream cannot be used.
            EncoderMismatch: an encoder was made for other features.
        """
        self.config = config
        if load_encoder is None:
            load_encoder = partial(Encoder.load, provider=config.execution_provider)
        self.boot_id = secrets.randbits(64)
        self._pipelines: dict[str, StreamPipeline] = {}
        self._modalities: dict[str, Modality] = {}
        self._descriptors: dict[str, dict[str, object]] = {}
        self._measured: queue.SimpleQueue[Sequence[TimeSample]] = queue.SimpleQueue()
        lines = {} if config.time is None else config.time.pps
        probes = {} if config.sources is None else config.sources.probe
        receivers = [line.nmea for line in lines.values()]
        receivers += [probe.nmea for probe in probes.values()]
        self._names = {nmea: PulseNames() for nmea in receivers if nmea is not None}
        self._stamps = {probe.pps: PulseStamps() for probe in probes.values() if probe.pps}
        self._live: LiveStreams | None = None
        self._load_encoder = load_encoder
        if config.replay is not None:
            self._open_replay(config.replay, load_encoder)
        elif config.sources is not None:
            self._open_live(config.sources, load_encoder)
        self._readings: queue.Queue[Reading | CoevalError | None] = queue.Queue(QUEUE_LENGTH)
        self._switch: EncoderSwitch | None = None
        if config.accept_models:
            is_open = self._live is not None and len(self._live.names) > len(self._pipelines)
            self._switch = EncoderSwitch(
                config,
                self._pipelines,
                self._modalities,
                possible=frozenset(LINE_MODALITIES if is_open else ()),
            )
            self._describe_encoders()

    def _open_replay(self, replay: ReplayConfig, load_encoder: LoadEncoder) -> None:
        config = self.config
        recording = open_recording(replay.recording)
        self._source = ReplaySource(
            recording,
            config.id,
            streams=replay.streams,
            offset_s=replay.offset_s,
            skew_ppm=replay.skew_ppm,
            loop=replay.loop,
        )
        self._evidence = ReplayedEvidence(
            recording, config.id, self._source.clock, period_ns=self._source.period_ns
        )
        for spec in self._source.streams:
            self._add_stream(
                spec,
                load_encoder,
                stamps=f"replay of recording {recording.manifest.name}: the stamps in its files",
                timing=None,
            )

    def _open_live(self, sources: SourcesConfig, load_encoder: LoadEncoder) -> None:
        links = ClockLinks(names=self._names, stamps=self._stamps, hand=self._measured.put)
        self._live = LiveStreams(sources, self.config.id, links=links)
        for spec, timing in self._live.streams:
            self._add_stream(spec, load_encoder, stamps=timing.how, timing=timing.describe())

    def _add_stream(
        self,
        spec: StreamSpec,
        load_encoder: LoadEncoder,
        *,
        stamps: str,
        timing: dict[str, object] | None,
    ) -> None:
        """Make a stream's pipeline and descriptor."""
        config = self.config
        encoder = load_encoder(spec.modality, config.encoders.get(spec.modality))
        self._pipelines[spec.id] = StreamPipeline(
            make_extractor(spec.modality, config.preprocessing),
            encoder,
            name=f"{config.id}/{spec.id}",
            boot_id=self.boot_id,
            block_hops=config.block_hops,
            watch=RelevanceWatch(spec.modality) if config.relevance.watch else None,
            drop=config.relevance.drop,
        )
        self._modalities[spec.id] = spec.modality
        self._descriptors[spec.id] = describe(
            spec,
            encoder=encoder,
            preprocessing=config.preprocessing,
            boot_id=self.boot_id,
            stamps=stamps,
            timing=timing,
        )

    def run(self, stop: threading.Event) -> NodeReport:
        """Run until the replay's end, or until `stop` is set; then wait for acknowledgements.

        Raises:
            BadRecording: a file turned out unreadable; what came before it is published.
            CoevalError: the broker did not take everything in time.
            BadConfig: the spool cannot be used.
        """
        config = self.config
        with ExitStack() as stack:
            folder = config.spool
            if folder is None:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coeval-")))
            spool = Spool(folder, max_bytes=config.spool_max_bytes)
            stack.callback(spool.close)
            publisher = Publisher(
                address=BrokerAddress.parse(config.broker),
                topics=config.topics,
                node=config.id,
                boot_id=self.boot_id,
                spool=spool,
                descriptors=self._descriptors,
                birth={
                    "software": __version__,
                    "streams": list(self._pipelines) if self._live is None else self._live.names,
                    "oscillator": "unknown" if config.time is None else config.time.oscillator,
                    "accepts_models": config.accept_models,
                },
                take_model=None if self._switch is None else self._switch.put,
            )
            publisher.start()
            failure: CoevalError | None = None
            try:
                if config.replay is not None:
                    failure = self._pump(config.replay, spool, publisher, stop)
                else:
                    self._live_until(stop, spool, publisher)
            finally:
                num_left = publisher.close(drain_s=config.drain_s)
            if failure is not None:
                raise failure
            if num_left:
                kept = "lost" if config.spool is None else f"kept in {folder}"
                raise CoevalError(
                    f"node {config.id}: the broker at {config.broker} did not acknowledge "
                    f"{num_left} blocks within {config.drain_s:g} s; they are {kept}"
                )
            dropped = sum(pipeline.num_dropped for pipeline in self._pipelines.values())
            return NodeReport(
                num_blocks=publisher.num_published, num_dropped=dropped + spool.dropped
            )

    def _live_until(self, stop: threading.Event, spool: Spool, publisher: Publisher) -> None:
        """Carry what happens, and what is measured of the clock, until told to stop."""
        keeper = ClockKeeper(
            self.config.time or TimeConfig(),
            address=BrokerAddress.parse(self.config.broker),
            topics=self.config.topics,
            node=self.config.id,
            boot_id=self.boot_id,
            hand=self._measured.put,
            names=self._names,
            stamps=self._stamps,
        )
        ended = threading.Event()
        live = self._live
        reader = threading.Thread(
            target=self._read_live, args=(live, ended), name=f"coeval[{self.config.id}].sources"
        )
        keeper.start()
        reader.start()
        try:
            while not stop.is_set():
                self._take_live(spool, publisher)
            self._finish_live(spool, publisher)
        finally:
            ended.set()
            keeper.close()
            reader.join()
            if live is not None:
                live.close()

    def _read_live(self, live: LiveStreams | None, ended: threading.Event) -> None:
        """The source thread of a live node."""
        if live is not None:
            live.read_all(lambda reading: self._put(reading, ended), ended)

    def _take_live(self, spool: Spool, publisher: Publisher) -> None:
        """Take in one reading, or nothing for a while; then what time alone completes."""
        try:
            item = self._readings.get(timeout=LIVE_WAIT_S)
        except queue.Empty:
            item = None
        now_node_ns = read_node_clock()
        if isinstance(item, Reading):
            if item.stream.id not in self._pipelines:
                self._meet(item.stream, publisher)
            pipeline = self._pipelines[item.stream.id]
            blocks = pipeline.push(item.sample, now_node_ns=now_node_ns)
            self._keep(item.stream.id, blocks, spool, publisher)
        quiet_ns = NodeNs(now_node_ns - LIVE_DELAY_NS)
        for stream, pipeline in self._pipelines.items():
            self._keep(stream, pipeline.advance(quiet_ns), spool, publisher)
        self._tell_measured(spool, publisher)
        self._follow_models(spool, publisher)

    def _meet(self, spec: StreamSpec, publisher: Publisher) -> None:
        """Take up a stream whose first lines have told what it is."""
        assert self._live is not None, "a replay's streams are known"
        timing, found = self._live.met(spec.id)
        self._add_stream(spec, self._load_encoder, stamps=timing.how, timing=timing.describe())
        if self._switch is not None:
            self._switch.meet(spec.id)
            self._describe_encoders(publisher)
        told = None if found is None else found.describe()
        self._descriptors[spec.id] = {**self._descriptors[spec.id], "recognised": told}
        publisher.describe(spec.id, self._descriptors[spec.id])

    def _finish_live(self, spool: Spool, publisher: Publisher) -> None:
        """Seal what is left when a live node ends."""
        now_node_ns = read_node_clock()
        for stream, pipeline in self._pipelines.items():
            blocks = pipeline.flush(now_node_ns=now_node_ns)
            self._keep(stream, blocks, spool, publisher)
        self._tell_measured(spool, publisher)

    def _tell_measured(self, spool: Spool, publisher: Publisher) -> None:
        """Spool what was measured of the clock."""
        topic = self.config.topics.evidence(self.config.id)
        samples: list[TimeSample] = []
        while not self._measured.empty():
            samples += self._measured.get()
        for message in batches(samples, boot_id=self.boot_id):
            spool.append(topic, encode_evidence(message))
            publisher.wake()

    def _pump(
        self, replay: ReplayConfig, spool: Spool, publisher: Publisher, stop: threading.Event
    ) -> CoevalError | None:
        """Carry readings through the pipelines into the spool; what ended the source early."""
        ended = threading.Event()
        source = threading.Thread(
            target=self._read,
            args=(replay.speed, stop, ended),
            name=f"coeval[{self.config.id}].source",
        )
        source.start()
        now_node_ns = NodeNs(0)
        failure: CoevalError | None = None
        try:
            while (item := self._readings.get()) is not None:
                if isinstance(item, CoevalError):
                    failure = item
                    continue
                now_node_ns = item.now_node_ns
                self._tell_evidence(now_node_ns, spool, publisher)
                for stream, pipeline in self._pipelines.items():
                    if stream == item.stream.id:
                        blocks = pipeline.push(item.sample, now_node_ns=now_node_ns)
                    else:
                        blocks = pipeline.advance(now_node_ns)
                    self._keep(stream, blocks, spool, publisher)
                self._follow_models(spool, publisher)
            for stream, pipeline in self._pipelines.items():
                self._keep(stream, pipeline.flush(now_node_ns=now_node_ns), spool, publisher)
        finally:
            ended.set()
            source.join()
        return failure

    def _keep(self, stream: str, blocks: list[Block], spool: Spool, publisher: Publisher) -> None:
        """Spool a stream's blocks, and tell where it begins or ends to carry anything."""
        for change in self._pipelines[stream].take_changes():
            self._tell_relevance(stream, change, publisher)
        if self._switch is not None:
            given_up = self._switch.give_up_failed(lambda: self._describe_encoders(publisher))
            self._tell_models(given_up, spool)
        topic = self.config.topics.block(self.config.id, stream)
        for block in blocks:
            spool.append(topic, encode_block(block))
            publisher.wake()

    def _follow_models(self, spool: Spool, publisher: Publisher) -> None:
        """Switch to what the session announced, between blocks."""
        if self._switch is None:
            return
        told = self._switch.follow(lambda: self._describe_encoders(publisher))
        self._tell_models(told, spool)
        topics = self.config.topics
        publisher.watch([topics.model_parts(sha256) for sha256 in self._switch.wanted])

    def _tell_models(self, told: Sequence[Mapping[str, object]], spool: Spool) -> None:
        """Tell of encoders that were taken, refused or given up."""
        topic = self.config.topics.event("model", self.config.id)
        for facts in told:
            event = {"event": "model", "node": self.config.id, **facts}
            spool.append(topic, json.dumps(event).encode())

    def _describe_encoders(self, publisher: Publisher | None = None) -> None:
        """Say which encoders the streams have now, before any block of theirs is sent."""
        for stream, pipeline in self._pipelines.items():
            encoder = pipeline.encoder
            assert isinstance(encoder, Encoder), "only these are switched"
            facts = encoder_facts(self._modalities[stream], encoder, first_seq=pipeline.first_seq)
            self._descriptors[stream] = {**self._descriptors[stream], "encoder": facts}
            if publisher is not None:
                publisher.describe(stream, self._descriptors[stream])

    def _tell_relevance(self, stream: str, change: Relevance, publisher: Publisher) -> None:
        """Say in the log and in the stream's descriptor whether it carries anything, and why."""
        is_dropped = self.config.relevance.drop and change.state == "irrelevant"
        logger.info(
            "stream %s node=%s stream=%s reason=%s since_node_ns=%d dropped=%s",
            change.state,
            self.config.id,
            stream,
            change.reason or "none",
            change.since_node_ns,
            "yes" if is_dropped else "no",
        )
        told = {
            "state": change.state,
            "reason": change.reason,
            "since_node_ns": change.since_node_ns,
            "t_node_ns": change.t_node_ns,
            "dropped": is_dropped,
        }
        self._descriptors[stream] = {**self._descriptors[stream], "relevance": told}
        publisher.describe(stream, self._descriptors[stream])

    def _tell_evidence(self, now_node_ns: NodeNs, spool: Spool, publisher: Publisher) -> None:
        """Spool what was measured of the node's clock until now."""
        topic = self.config.topics.evidence(self.config.id)
        for message in batches(self._evidence.due(now_node_ns), boot_id=self.boot_id):
            spool.append(topic, encode_evidence(message))
            publisher.wake()

    def _read(self, speed: float, stop: threading.Event, ended: threading.Event) -> None:
        """The source thread: puts readings, then a failure where there was one, then None."""
        pace = Pace(speed=speed, stop=stop)
        try:
            for reading in self._source.readings(pace):
                if not self._put(reading, ended):
                    return
        except CoevalError as exc:
            self._put(exc, ended)
        except Exception as exc:  # the queue's reader must learn that nothing more comes
            logger.exception("source failed node=%s", self.config.id)
            self._put(CoevalError(f"node {self.config.id}: source failed: {exc!r}"), ended)
        finally:
            self._put(None, ended)

    def _put(self, item: Reading | CoevalError | None, ended: threading.Event) -> bool:
        """Queue an item, waiting for room; False where nobody reads any more."""
        while not ended.is_set():
            try:
                self._readings.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False
