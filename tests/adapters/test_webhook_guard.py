"""Which addresses a webhook may go to (B168)."""

import socket
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from adapters.postgres.webhooks.webhook_delivery_store import DueDelivery
from adapters.webhooks.guard import AddressRefused, Guard
from adapters.webhooks.send import Sender
from adapters.webhooks.sign import new_secret
from models.identifiers import new_id
from models.problems import Problem
from settings import Settings
from tests.support.receiver import receiving

REFUSED = "422 webhook_url_refused"
NEVER = [
    "http://169.254.169.254/latest/meta-data/",
    "http://[fe80::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[::ffff:100.64.0.1]/",
    "http://[2001:0:7f00:1::]/",
    "http://[fec0::1]/",
    "http://0xa9fea9fe/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://192.0.0.192/opc/v1/instance/",
    "http://192.88.99.1/",
    "http://[3fff::1]/",
    "http://[5f00::1]/",
    "http://169.254.169.254./",
    "http://0xa9fea9fe./",
    "http://1.1.1.1.1/",
    "http://example.256/",
    "http://99999999999/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[ff02::1]/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "http://user:password@example.com/",
    "http://user@example.com/",
    "https://",
    "http:///hooks",
    "http://93.184.216.34:0/",
    "hooks",
    "//example.com/hooks",
    "http://exa mple.com/",
    "http://[::1",
    "http://0177.0.0.1/",
    "http://a..b/",
    f"http://{'a' * 64}.com/",
    f"http://{'a.' * 127}com/",
    "https://example.com:99999/",
]
PRIVATE = [
    "http://127.0.0.1:8000/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://localhost/",
    "http://localhost./",
    "http://LOCALHOST/",
    "http://metadata.localhost/",
    "http://127.0.0.1./",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.1.2.3/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[fd12:3456::1]/",
]
PUBLIC = ["https://93.184.216.34/hooks", "http://[2606:2800:220:1:248:1893:25c8:1946]:8080/hooks", "https://xn--.com/"]


async def code_of(guard: Guard, url: str) -> str | None:
    try:
        await guard.check_registration(url)
    except Problem as problem:
        return f"{problem.status} {problem.code}"
    return None


@pytest.mark.parametrize("url", NEVER)
async def test_b168_some_addresses_are_never_delivered_to(url: str) -> None:
    assert await code_of(Guard(), url) == REFUSED
    assert await code_of(Guard(allow_private=True), url) == REFUSED


@pytest.mark.parametrize("url", PRIVATE)
async def test_b168_private_addresses_are_refused_unless_configured(url: str) -> None:
    assert await code_of(Guard(), url) == REFUSED
    assert await code_of(Guard(allow_private=True), url) is None


@pytest.mark.parametrize("url", PUBLIC)
async def test_public_addresses_are_accepted(url: str) -> None:
    assert await code_of(Guard(), url) is None


async def test_6to4_leads_where_its_inner_address_leads() -> None:
    assert await code_of(Guard(), "http://[2002:7f00:1::]/") == REFUSED


async def test_a_name_without_an_address_is_left_to_the_delivery() -> None:
    guard = Guard()
    assert await code_of(guard, "https://hooks.example.invalid/") is None
    with pytest.raises(OSError, match=r".+"):
        await guard.resolve(httpx.URL("https://hooks.example.invalid/"))
    with pytest.raises(OSError, match="no host name"):
        await guard.resolve(httpx.URL(f"https://{'a' * 70}.example.invalid/"))


async def test_every_address_of_a_name_must_be_allowed() -> None:
    with pytest.raises(AddressRefused):
        await Guard().resolve(httpx.URL("http://localhost/"))


async def test_single_networks_can_be_admitted_but_never_where_clouds_hand_out_credentials() -> None:
    settings = Settings.model_validate(
        {"webhook_allowed_networks": "10.1.0.0/16, fd12::/64,169.254.0.0/16,100.64.0.0/10"}
    )
    guard = Guard.of(settings)
    assert await code_of(guard, "http://100.100.100.200/") == REFUSED
    for url in ("http://10.1.2.3/", "http://100.64.0.1/", "http://[fd12::1]/", "http://[::ffff:10.1.2.3]/"):
        assert await code_of(guard, url) is None
    for url in ("http://10.2.0.1/", "http://127.0.0.1/", "http://[fd13::1]/", "http://169.254.169.254/"):
        assert await code_of(guard, url) == REFUSED
    with pytest.raises(ValidationError):
        Settings.model_validate({"webhook_allowed_networks": "10.1.0.1/16"})


async def test_a_name_is_resolved_once_for_each_attempt_so_that_rebinding_gains_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name server answers with a public address first and with loopback then, where somebody listens."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host not in ("rebind.test", b"rebind.test"):
            return real(host, port, *args, **more)
        asked.append(str(host))
        address = "192.31.196.1" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    async with receiving() as receiver:
        url = f"http://rebind.test:{receiver.port}/"
        settings = Settings.model_validate({"webhook_timeout_seconds": 1})
        async with Sender(settings) as sender:
            first, second = [await sender.attempt(delivery_to(url)) for _ in range(2)]
    # The first went to the public address that was checked (where nobody answers here), never to the second answer.
    assert not first.success
    assert "not a public one" not in str(first.error)
    assert second.error == "refused: its address is not a public one"
    assert (len(asked), receiver.received) == (2, [])


def delivery_to(url: str) -> DueDelivery:
    identity = new_id()
    payload = {"id": "msg_1", "type": "a.b", "created_at": "", "sequence": 1, "data": {}}
    return DueDelivery(
        id=identity,
        organization_id=identity,
        project_id=identity,
        endpoint_id=identity,
        url=url,
        secrets=(new_secret(),),
        scheduled_attempts=0,
        message_id="msg_1",
        message_type="a.b",
        ordering_key="",
        payload=payload,
    )
