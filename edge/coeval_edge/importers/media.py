"""Video and audio files, and the telemetry (GPMF) that GoPro cameras put beside them."""

from pathlib import Path

from coeval.errors import BadRecording
from coeval.samples import Modality
from coeval.time import NS_PER_S
from coeval_edge.importers.gpmf import Payload, gather, read_payload
from coeval_edge.media import open_media
from coeval_edge.recording_writer import RecordingWriter


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add a media file: its video, its sound and its telemetry share the file's clock.

    Raises:
        BadRecording: it cannot be decoded, or holds neither video nor sound.
    """
    modalities: list[Modality] = []
    with open_media(path, where=str(path)) as container:
        if any(stream.average_rate for stream in container.streams.video):  # a cover has no rate
            modalities.append("video")
        if container.streams.audio:
            modalities.append("audio")
    if not modalities:
        raise BadRecording(f"{path}: holds neither video nor sound")
    for modality in modalities:
        if not holds_any(path, modality):
            what = "a single picture" if modality == "video" else "any sound"
            raise BadRecording(
                f"{path}: does not hold {what}: it was cut short, or its recorder never began"
            )
    prefix = f"{path.stem}_" if writer.num_streams else ""
    node = writer.add_node(path.stem)
    writer.add_media(node, path, names={modality: f"{prefix}{modality}" for modality in modalities})
    for telemetry in gather(gpmf_payloads(path)):
        writer.add_metadata(
            node,
            f"{prefix}{telemetry.name}",
            t_ns=telemetry.t_ns,
            values=telemetry.values,
            columns=telemetry.columns,
            units=telemetry.units,
        )


def holds_any(path: Path, modality: Modality) -> bool:
    """Whether a picture, or some sound, can be got out of a file.

    Raises:
        BadRecording: it cannot be decoded.
    """
    with open_media(path, where=str(path)) as container:
        streams = container.streams
        stream = streams.video[0] if modality == "video" else streams.audio[0]
        return next(iter(container.decode(stream)), None) is not None


def gpmf_payloads(path: Path) -> list[Payload]:
    """The GPMF payloads of a file in time order; none where it has no such track."""
    found: list[tuple[int, bytes]] = []
    with open_media(path, where=str(path)) as container:
        start_ns = (container.start_time or 0) * 1000
        ends_s = [
            (stream.start_time or 0) + stream.duration * stream.time_base
            for stream in (*container.streams.video, *container.streams.audio)
            if stream.duration is not None and stream.time_base is not None
        ]
        end_ns = round(max(ends_s, default=0) * NS_PER_S) - start_ns
        tracks = list(container.streams.data)
        for packet in container.demux(tracks) if tracks else ():
            data = bytes(packet)
            if data[:4] == b"DEVC" and packet.pts is not None and packet.time_base is not None:
                found.append((round(packet.pts * packet.time_base * NS_PER_S) - start_ns, data))
    starts_ns = [t_ns for t_ns, _ in found]
    # a packet's own duration is nominal; the last one goes to the end of picture and sound
    ends_ns = [*starts_ns[1:], max(end_ns, starts_ns[-1] + 1)] if found else []
    return [
        read_payload(data, t_ns=t_ns, length_ns=next_ns - t_ns, where=str(path))
        for (t_ns, data), next_ns in zip(found, ends_ns, strict=True)
    ]
