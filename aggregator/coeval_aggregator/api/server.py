"""The API as a thread of the aggregator: uvicorn on a socket that is bound before anything runs."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from coeval.errors import BadConfig
from coeval_aggregator.api import page as page_routes
from coeval_aggregator.api.app import make_app
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.api.readers import Readers
from coeval_aggregator.store.reading import Reader
from coeval_aggregator.view import View

CLOSING_S = 5


@contextmanager
def serving(
    config: ApiConfig,
    view: Callable[[], View],
    open_reader: Callable[[], Reader] | None,
    *,
    page: page_routes.PageConfig | None = None,
) -> Iterator[str]:
    """Serve the API until the `with` block ends; its address comes out.

    Args:
        config: where it listens; port 0: a free one.
        view: the aggregator as it is now.
        open_reader: connects to the store; None: nothing is kept.
        page: what the page listens to; None: no page is served.

    Raises:
        BadConfig: the address cannot be bound.
    """
    host, port = config.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family)
    except OSError as exc:
        raise BadConfig(
            f"api.listen {config.listen}: {exc.strerror or exc}; name another address with --api, "
            "or none"
        ) from exc
    stopping = threading.Event()
    readers = None if open_reader is None else Readers(open_reader)
    app = make_app(view, readers, stopping=stopping)
    if page is not None:
        page_routes.install(app, page)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=CLOSING_S,
            ws="none" if page is None else "websockets-sansio",
            ws_max_size=page_routes.CHUNK_BYTES,
            lifespan="off",
        )
    )
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [bound]}, name="coeval[aggregator].api"
    )
    thread.start()
    try:
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        yield f"http://{shown}:{bound.getsockname()[1]}"
    finally:
        stopping.set()
        server.should_exit = True
        thread.join()
        bound.close()
        if readers is not None:
            readers.close()
