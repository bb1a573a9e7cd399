"""The aggregator's configuration: mistakes named with file and key."""

from pathlib import Path

import pytest

from coeval.errors import BadConfig
from coeval_aggregator.config import AggregatorConfig, load_aggregator_config


def load(tmp_path: Path, text: str) -> AggregatorConfig:
    path = tmp_path / "aggregator.toml"
    path.write_text(text, encoding="utf-8")
    return load_aggregator_config(path)


def test_an_empty_table_means_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "[aggregator]\n") == AggregatorConfig()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("window_s = 1", "aggregator.window_s must lie within 10…86400, got 1.0"),
        ("tick_s = nan", "aggregator.tick_s must lie within"),
        ("max_streams = 0", "aggregator.max_streams must lie within"),
        ('reference = "a/b"', "aggregator.reference: id must be"),
        ('session = ""', "aggregator.session must be"),
        ('prefix = "#"', "aggregator.prefix '#'"),
        ('broker = "x"', "aggregator.broker must be mqtt://host:port"),
        ('store.url = "mysql://x/y"', "aggregator.store.url must be sqlite:///FILE, postgresql"),
        ('store.url = "sqlite://x.db"', "aggregator.store.url must have three slashes"),
        ('store.url = "sqlite:///"', "aggregator.store.url must name a file"),
        ("store.keep_days = 0", "aggregator.store.keep_days must lie within"),
        ("store.max_waiting = 0", "aggregator.store.max_waiting must lie within"),
        ("windows_s = 5", "unknown key aggregator.windows_s; did you mean 'window_s'"),
    ],
)
def test_a_mistake_names_file_and_key(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(BadConfig, match=r"aggregator\.toml: .*" + said):
        load(tmp_path, f"[aggregator]\n{line}\n")
