"""Which encoders a node is to use, as the session says: a plain object without network or thread.

Notices and parts of files go in; what to fetch, to switch to and to tell comes out. A set is taken
only when all files that this node needs are there, of the right hash, plain, made for the features
of this version, of the set that is announced, and meet their golden vectors here. Until then, and
whenever one of these fails, the node goes on with what it has.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from coeval.errors import BadBlock, EncoderMismatch
from coeval.model_wire import Assembly, SetNotice, decode_notice
from coeval.samples import Modality
from coeval_edge.encoder import Encoder
from coeval_edge.model_screen import NotPlain, screen
from coeval_edge.model_store import ModelStore

logger = logging.getLogger(__name__)

OpenEncoder = Callable[[bytes, Modality, str], Encoder]
"""From bytes, a modality and a name for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the node is to do now."""

    use: SetNotice | None = None
    """Set to switch to."""
    is_back_to_installed: bool = False
    """Whether to switch to the encoders that are installed."""
    tell: Mapping[str, object] | None = None
    """An event about this."""


NOTHING = Step()


@dataclass(slots=True)
class Pending:
    """A set whose files are on their way."""

    notice: SetNotice
    """The set."""
    wanted: dict[str, Assembly] = field(default_factory=dict)
    """Files that are not there yet, by hash."""


class ModelExchange:
    """Follows what a session announces."""

    def __init__(
        self, store: ModelStore, modalities: Collection[Modality], *, open_encoder: OpenEncoder
    ) -> None:
        """Follow for the modalities of a node's streams.

        Args:
            store: keeps files and what is used.
            modalities: the modalities that this node needs.
            open_encoder: opens an encoder and checks it.
        """
        self._store, self._open = store, open_encoder
        self._modalities = sorted(set(modalities))
        self._pending: Pending | None = None

    def open_current(self) -> tuple[dict[Modality, bytes], list[Mapping[str, object]]]:
        """The files of the last good set, checked, and events about those that are not good now.

        No files: the encoders that are installed.
        """
        told: list[Mapping[str, object]] = []
        while (current := self._store.current) is not None:
            try:
                return self._checked(current), told
            except _Gone as exc:
                told.append(_event("rolled_back", current, str(exc)))
            except _Refused as exc:
                told.append(self._refuse(current, str(exc), what="rolled_back"))
            self._store.go_back()
        return {}, told

    @property
    def wanted(self) -> frozenset[str]:
        """Hashes of files that are on their way: their parts are to be subscribed to."""
        return frozenset(() if self._pending is None else self._pending.wanted)

    @property
    def current(self) -> SetNotice | None:
        """The set in use; None: the encoders that are installed."""
        return self._store.current

    def take(self, names: tuple[str, ...], payload: bytes) -> Step:
        """Take in a message below `model/`; one that is of no use changes nothing."""
        try:
            if names == ("set",):
                return self._take_notice(payload)
            return self._take_part(names, payload)
        except BadBlock as exc:
            logger.warning("model message dropped reason=%s", exc)
            return NOTHING

    def roll_back(self, why: str) -> Mapping[str, object]:
        """The set in use failed while it ran: go back for good; the event about it."""
        current = self._store.current
        assert current is not None
        told = self._refuse(current, why, what="rolled_back")
        self._store.go_back()
        return told

    def open_set(self, notice: SetNotice | None) -> dict[Modality, bytes]:
        """Files of a set that was checked, noted as the one in use; none: the installed ones."""
        models: dict[Modality, bytes] = {}
        if notice is not None:
            for modality in self._modalities:
                model = self._store.read(notice.files[modality].sha256)
                assert model is not None, "checked a moment ago"
                models[modality] = model
        self._store.use(notice)
        return models

    def _take_notice(self, payload: bytes) -> Step:
        if not payload:  # the notice was withdrawn
            self._pending = None
            return NOTHING if self._store.current is None else Step(is_back_to_installed=True)
        notice = decode_notice(payload, where="model/set")
        if self._pending is not None and self._pending.notice == notice:
            return NOTHING  # said again, as on every new connection
        self._pending = None
        if self._store.current == notice:
            return NOTHING
        if self._store.is_refused(notice):
            why = f"refused before: {self._store.why_refused(notice)}"
            return Step(tell=_event("refused", notice, why))
        hashes = {notice.files[m].sha256: notice.files[m] for m in self._modalities}
        pending = Pending(notice=notice)
        for sha256 in self._store.missing(hashes):
            pending.wanted[sha256] = Assembly(file=hashes[sha256])
        self._pending = pending
        logger.info(
            "encoder set announced set=%s made=%s to_fetch=%d",
            notice.encoder_set,
            notice.made,
            len(pending.wanted),
        )
        return NOTHING if pending.wanted else self._complete()

    def _take_part(self, names: tuple[str, ...], payload: bytes) -> Step:
        sha256, number = names
        if self._pending is None or sha256 not in self._pending.wanted or not payload:
            return NOTHING
        if not number.isdecimal() or len(number) > 4:
            raise BadBlock(f"model {sha256[:12]}: part {number[:20]!r} is no number")
        try:
            whole = self._pending.wanted[sha256].take(int(number), payload)
        except BadBlock as exc:
            # Of what was damaged on its way, nothing is held against the set: it may be sent again.
            notice, self._pending = self._pending.notice, None
            return Step(tell=_event("refused", notice, str(exc)))
        if whole is None:
            return NOTHING
        self._store.write(sha256, whole)
        del self._pending.wanted[sha256]
        return NOTHING if self._pending.wanted else self._complete()

    def _complete(self) -> Step:
        """All files are there: check them."""
        assert self._pending is not None
        notice, self._pending = self._pending.notice, None
        try:
            self._checked(notice)
        except _Gone as exc:
            return Step(tell=_event("refused", notice, str(exc)))
        except _Refused as exc:
            return Step(tell=self._refuse(notice, str(exc)))
        return Step(use=notice)

    def _checked(self, notice: SetNotice) -> dict[Modality, bytes]:
        """Bytes of every file that this node needs.

        Raises:
            _Gone: one of them is not on the disk, which is not held against the set.
            _Refused: one of them is not what it should be.
        """
        models: dict[Modality, bytes] = {}
        for modality in self._modalities:
            sha256 = notice.files[modality].sha256
            model = self._store.read(sha256)
            if model is None:
                raise _Gone(
                    f"encoder {modality} {sha256[:12]}: its file is not on the disk, or damaged; "
                    "is the disk full? It is fetched anew at the next connection"
                )
            try:
                screen(model)
                encoder = self._open(model, modality, f"{modality} {sha256[:12]}")
            except NotPlain as exc:
                raise _Refused(f"encoder {modality} {sha256[:12]}: {exc}") from exc
            except EncoderMismatch as exc:
                raise _Refused(str(exc)) from exc
            if encoder.encoder_set != notice.encoder_set:
                raise _Refused(
                    f"encoder {modality} {sha256[:12]}: expected one of set "
                    f"{notice.encoder_set}, got one of {encoder.encoder_set or 'none'}"
                )
            models[modality] = model
        return models

    def _refuse(
        self, notice: SetNotice, why: str, *, what: str = "refused"
    ) -> Mapping[str, object]:
        self._store.refuse(notice, why)
        return _event(what, notice, why)


def _event(what: str, notice: SetNotice, why: str) -> Mapping[str, object]:
    logger.warning("encoder set %s set=%s reason=%s", what, notice.encoder_set, why)
    return {"what": what, "encoder_set": notice.encoder_set, "reason": why}


class _Gone(Exception):
    """Why a set cannot be used now: the disk does not hold it."""


class _Refused(Exception):
    """Why a set is not taken."""
