"""`coeval aggregator`: the server of a session, or of all, from flags or a TOML file."""

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from coeval.broker_address import BrokerAddress
from coeval.stopping import stop_on_signals
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.config import AggregatorConfig, load_aggregator_config
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.opening import open_reader
from coeval_aggregator.store.reading import Reader

logger = logging.getLogger(__name__)


def aggregator(
    config: Annotated[
        Path | None, typer.Option(help="TOML file; flags override it.", show_default=False)
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="Address, mqtt://127.0.0.1:1883 by default.")
    ] = None,
    session: Annotated[
        str | None, typer.Option(help="Session to serve; + for all there are.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(help="What every topic begins with.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Node whose clock is the timeline.", show_default=False)
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="sqlite:///FILE, postgresql://USER@HOST/DATABASE or none; "
            "sqlite:///coeval.db by default.",
            show_default=False,
        ),
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of the API, or none; 127.0.0.1:8787 by default."),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Serve a session: estimate every node's clock, keep and publish the aligned streams."""
    flags: dict[str, Any] = {
        "broker": broker,
        "session": session,
        "prefix": prefix,
        "reference": reference,
    }
    loaded = AggregatorConfig() if config is None else load_aggregator_config(config)
    given = {key: value for key, value in flags.items() if value is not None}
    if store is not None:
        given["store"] = replace(loaded.store, url=store)
    if api is not None:
        given["api"] = ApiConfig(listen=api)
    merged = replace(loaded, **given)
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    serve(merged, stop_on_signals())


def serve(config: AggregatorConfig, stop: threading.Event) -> None:
    """Run an aggregator, with its API where one is wanted, until `stop` is set."""
    server = Aggregator(config)
    if config.api.is_none:
        server.run(stop)
        return
    from coeval_aggregator.api.page import PageConfig
    from coeval_aggregator.api.readers import ANSWERS_WITHIN_S
    from coeval_aggregator.api.server import serving

    store = config.store

    def open_limited() -> Reader:
        return open_reader(store.url, answers_within_s=ANSWERS_WITHIN_S)

    opener = None if store.is_none else open_limited
    page = PageConfig(
        broker=BrokerAddress.parse(config.broker), prefix=config.prefix, session=config.session
    )
    with serving(config.api, lambda: server.view, opener, page=page) as address:
        logger.info("page: %s/", address)
        logger.info("api listens url=%s/v1/sessions", address)
        server.run(stop)
