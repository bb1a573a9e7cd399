"""A node's encoders: those that are installed, and those that the session announces.

The publisher's thread hands in what is said below `model/`; the thread that owns the pipelines
takes it from the queue between blocks, opens what is new and switches every stream at once.
"""

import logging
import queue
from collections.abc import Callable, Mapping
from functools import partial

from coeval.model_wire import SetNotice
from coeval.samples import Modality
from coeval_edge.config import NodeConfig
from coeval_edge.encoder import Encoder
from coeval_edge.model_exchange import ModelExchange
from coeval_edge.model_store import ModelStore
from coeval_edge.pipeline import StreamPipeline

logger = logging.getLogger(__name__)

Told = Mapping[str, object]
"""An event about encoders."""


class EncoderSwitch:
    """Follows the session's announcements and switches the pipelines."""

    def __init__(
        self,
        config: NodeConfig,
        pipelines: Mapping[str, StreamPipeline],
        modalities: Mapping[str, Modality],
        *,
        possible: frozenset[Modality] = frozenset(),
    ) -> None:
        """Use the last good set, where one was accepted before.

        Args:
            config: of a node that accepts models.
            pipelines: by stream, with the installed encoders.
            modalities: by stream.
            possible: modalities of streams of which it is not known yet what they are.

        Raises:
            BadConfig: the model folder cannot be used.
        """
        assert config.model_folder is not None, "checked by the configuration"
        self._pipelines, self._modalities = pipelines, modalities
        self._open = partial(_open, config)
        self._exchange = ModelExchange(
            ModelStore(config.model_folder),
            possible.union(modalities.values()),
            open_encoder=self._open,
        )
        self._config = config
        self._messages: queue.SimpleQueue[tuple[tuple[str, ...], bytes]] = queue.SimpleQueue()
        models, self._untold = self._exchange.open_current()
        if models:
            self._use(models, is_new=True)

    def put(self, names: tuple[str, ...], payload: bytes) -> None:
        """Take what was said below `model/`; called from the publisher's thread."""
        self._messages.put((names, payload))

    def meet(self, stream: str) -> None:
        """Give a stream that was not known before the encoder that is in use."""
        models, told = self._exchange.open_current()
        self._untold += told
        modality = self._modalities[stream]
        if modality in models:
            encoder = self._open(models[modality], modality, f"{modality} of the session")
            self._pipelines[stream].use(encoder, is_new=False)

    @property
    def wanted(self) -> frozenset[str]:
        """Hashes of files whose parts are to be subscribed to."""
        return self._exchange.wanted

    def follow(self, describe: Callable[[], None]) -> list[Told]:
        """Do what the messages say that came since, and give up what failed; events about it.

        Args:
            describe: called after every switch, before any block of the new encoders is sent.
        """
        told, self._untold = list(self._untold), []
        while True:
            try:
                names, payload = self._messages.get_nowait()
            except queue.Empty:
                break
            step = self._exchange.take(names, payload)
            if step.use is not None or step.is_back_to_installed:
                told.append(self._switch(step.use))
                describe()
            if step.tell is not None:
                told.append(step.tell)
        return told + self.give_up_failed(describe)

    def give_up_failed(self, describe: Callable[[], None]) -> list[Told]:
        """Go back to the last good set, where an encoder failed while it ran."""
        failed = [each for each in self._pipelines.values() if each.failure is not None]
        if not failed or self._exchange.current is None:
            return []
        told = [self._exchange.roll_back(f"stream {failed[0].name}: {failed[0].failure}")]
        for pipeline in self._pipelines.values():
            pipeline.go_back()
            pipeline.failure = None
        describe()
        models, more = self._exchange.open_current()
        current = self._exchange.current
        names = {getattr(p.encoder, "encoder_set", "") for p in self._pipelines.values()}
        if current is not None and names != {current.encoder_set}:
            self._use(models, is_new=True)
            describe()
        return [*told, *more]

    def _switch(self, notice: SetNotice | None) -> Told:
        models = self._exchange.open_set(notice)
        self._use(models, is_new=notice is not None)
        name = None if notice is None else notice.encoder_set
        made = "installed" if notice is None else notice.made
        logger.info("encoders switched set=%s made=%s", name or "installed", made)
        return {"what": "switched", "encoder_set": name, "made": made}

    def _use(self, models: Mapping[Modality, bytes], *, is_new: bool) -> None:
        for stream, pipeline in self._pipelines.items():
            modality = self._modalities[stream]
            if models:
                encoder = self._open(models[modality], modality, f"{modality} of the session")
            else:
                encoder = Encoder.load(
                    modality,
                    self._config.encoders.get(modality),
                    provider=self._config.execution_provider,
                )
            pipeline.use(encoder, is_new=is_new)


def _open(config: NodeConfig, model: bytes, modality: Modality, where: str) -> Encoder:
    return Encoder.of(model, modality, where=where, provider=config.execution_provider)
