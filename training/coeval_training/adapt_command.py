"""`coeval adapt`: refine the encoders' last layer on one session's history, and ship them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from coeval.broker_address import DEFAULT_BROKER, BrokerAddress
from coeval.errors import BadConfig, CoevalError, EncoderMismatch
from coeval.folders import make_folder
from coeval.samples import MODALITIES, Modality
from coeval.topics import DEFAULT_PREFIX, Topics
from coeval_aggregator.export_command import url_of
from coeval_aggregator.store.config import DEFAULT_STORE
from coeval_aggregator.store.opening import open_reader
from coeval_edge.encoder import INT8, Encoder, shipped_model
from coeval_edge.ship import ANSWERS_S, read_set
from coeval_edge.ship_command import ship_and_tell
from coeval_training.adapt import Adaptation, adapt
from coeval_training.adapted_set import adapted_set
from coeval_training.histories import History, recorded_history, stored_history
from coeval_training.model_card import adapt_model_card


def adapt_encoders(
    recording: Annotated[
        Path | None, typer.Argument(help="Recording to learn from.", show_default=False)
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            help="Session: to learn from, where no recording is given; and whose nodes to ship to.",
            show_default=False,
        ),
    ] = None,
    store: Annotated[
        str, typer.Option(help="The aggregator's store, where the session is kept.")
    ] = DEFAULT_STORE,
    models: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Folder of the encoders that the session uses; default: those that ship.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the new ONNX files.")] = Path("runs/adapted"),
    publish: Annotated[
        bool, typer.Option("--publish", help="Ship to the session's nodes over MQTT.")
    ] = False,
    broker: Annotated[str, typer.Option(help="Address, for --publish.")] = DEFAULT_BROKER,
    prefix: Annotated[str, typer.Option(help="What every topic begins with.")] = DEFAULT_PREFIX,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """Refine the encoders on one session's history, without labels, in minutes.

    Nothing is written where time that was not learnt from is not told apart better.
    """
    if recording is None and session is None:
        raise BadConfig("say what to learn from: a recording, or --session of the store")
    if publish and session is None:
        raise BadConfig("--publish: say to whose nodes, with --session NAME")
    torch.set_num_threads(1)
    console = Console(stderr=True)
    paths = {m: shipped_model(m) if models is None else models / f"{m}.onnx" for m in MODALITIES}
    refuse_int8(paths)
    if recording is not None:
        history = recorded_history(recording, paths)
    else:
        assert session is not None
        reader = open_reader(url_of(store, None))
        try:
            encoder_set = Encoder.load("audio", paths["audio"]).encoder_set
            history = stored_history(reader, session, encoder_set=encoder_set)
        finally:
            reader.close()
    say_history(history, console)
    with console.status("learning: a minute or two of one core"):
        found = adapt(history.streams)
    show(found, console)
    if as_json:
        told = {key: value for key, value in asdict(found).items() if key != "matrices"}
        typer.echo(json.dumps(told))
    if found.verdict:
        raise CoevalError(f"nothing was written: {found.verdict}")
    files = adapted_set(found, {m: p.read_bytes() for m, p in paths.items()}, history=history.what)
    make_folder(out, name="--out")
    for modality, model in files.items():
        (out / f"{modality}.onnx").write_bytes(model)
    adapt_model_card(paths["audio"].parent, out, found, history=history.what)
    made = read_set(out, made=f"coeval adapt on {history.what}")
    console.print(f"set {made.notice.encoder_set}: {out}", highlight=False)
    if publish:
        assert session is not None
        topics = Topics(session=session, prefix=prefix)
        ship_and_tell(
            made,
            address=BrokerAddress.parse(broker),
            topics=topics,
            wait_s=ANSWERS_S,
            as_json=False,
            console=console,
        )
    else:
        console.print(
            f"next: coeval ship {out} --session {session or 'NAME'}, or coeval align REC "
            f"--encoders {out}",
            highlight=False,
            soft_wrap=True,
        )


def refuse_int8(paths: Mapping[Modality, Path]) -> None:
    """Refuse encoders whose last layer cannot be multiplied, before minutes are spent.

    Raises:
        EncoderMismatch: one is kept as int8, or cannot be used.
    """
    for modality, path in paths.items():
        if Encoder.load(modality, path).precision == INT8:
            raise EncoderMismatch(
                f"encoder {path}: its weights are kept as int8; adapt the fp32 encoders that it "
                "was made from (--from), then `coeval export-encoders --from runs/adapted "
                "--precision int8`"
            )


def say_history(history: History, console: Console) -> None:
    """What is learnt from, and what is not."""
    for name, why in history.left_out.items():
        console.print(f"{name} not used: {why}", highlight=False)
    console.print(f"{history.what}: {', '.join(history.streams) or 'no stream'}", highlight=False)


def show(found: Adaptation, console: Console) -> None:
    """How well pairs are told apart on held-out time, before and after."""
    table = Table(title="on time that was not learnt from")
    for column in (
        "pair",
        "windows",
        "nats before",
        "after",
        "within 100 ms before, %",
        "after, %",
    ):
        table.add_column(column)
    for pair in found.pairs:
        table.add_row(
            pair.pair,
            str(pair.num_windows),
            f"{pair.nats_before:.2f}",
            f"{pair.nats_after:.2f}",
            f"{pair.within_100ms_before:.0f}",
            f"{pair.within_100ms_after:.0f}",
        )
    console.print(table)
    console.print(
        f"gain {found.gain_nats:+.3f} nats a window ({found.gain_sigmas:+.1f} standard errors), "
        f"unrelated windows score {found.null_growth:.2f} times as high",
        highlight=False,
    )
