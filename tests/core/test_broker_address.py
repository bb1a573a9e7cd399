"""Broker addresses: read, printed, refused."""

import pytest

from coeval.broker_address import BrokerAddress
from coeval.errors import BadConfig


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
        ("mqtts://broker.local", "mqtts://broker.local:8883"),
        ("mqtt://me@[::1]:1999/", "mqtt://[::1]:1999"),
    ],
)
def test_an_address_is_read(url: str, printed: str) -> None:
    assert str(BrokerAddress.parse(url)) == printed


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:1883", "http://h:1", "mqtt://", "mqtt://h:99999", "mqtt://h/x", "mqtt://h:a"],
)
def test_what_is_no_broker_address_is_refused(url: str) -> None:
    with pytest.raises(BadConfig, match=r"mqtt://host:port|nothing may follow"):
        BrokerAddress.parse(url)


def test_a_password_in_the_address_is_refused_without_repeating_it() -> None:
    with pytest.raises(BadConfig, match="COEVAL_BROKER_PASSWORD") as caught:
        BrokerAddress.parse("mqtt://me:hunter2@host")
    assert "hunter2" not in str(caught.value)
