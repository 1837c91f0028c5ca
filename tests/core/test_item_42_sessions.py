"""Items 42, 42a: sessions end at log-out, guessing is slowed, links follow the public URL."""

import dataclasses
import re
from collections.abc import Iterator

import httpx
import pytest

from devstack.processes import free_port
from tests.subscriptions.catalogue import get, post
from tests.support.stack import Stack

PUBLIC = "https://billing.example.com"


@pytest.fixture(scope="module")
def behind_tls(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A second API process on the same database, behind a proxy that ends TLS; metrics ask for a token."""
    environment = {"DURABILL_PUBLIC_URL": PUBLIC, "DURABILL_METRICS_TOKEN": "m3trics"}
    second = dataclasses.replace(
        stack,
        directory=tmp_path_factory.mktemp("tls"),
        extra_environment={**stack.extra_environment, **environment},
        port=free_port(),
        api=None,
    )
    second.start_api()
    try:
        second.wait_until_ready()
        yield second
    finally:
        assert second.api is not None
        second.api.terminate()
        second.api.wait(timeout=20)


async def key_of(stack: Stack) -> str:
    return str((await stack.new_organization())["api_key"]["key"])


def csrf_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


async def test_item_42_a_cookie_does_not_work_after_log_out(stack: Stack) -> None:
    async with stack.caller() as browser:
        await browser.post("/ui/login", data={"key": await key_of(stack)})
        cookie = dict(browser.cookies)
        page = await browser.get("/ui")
        await browser.post("/ui/logout", data={"csrf": csrf_of(page)})
    async with stack.caller(cookies=cookie) as thief:
        for path in ("/ui", "/ui/keys"):
            answer = await thief.get(path)
            assert (answer.status_code, answer.headers.get("location")) == (303, "/ui/login"), path


async def test_item_42_logging_out_ends_one_session_and_not_the_others(stack: Stack) -> None:
    key = await key_of(stack)
    async with stack.caller() as first, stack.caller() as second:
        for browser in (first, second):
            await browser.post("/ui/login", data={"key": key})
        await first.post("/ui/logout", data={"csrf": csrf_of(await first.get("/ui"))})
        assert (await second.get("/ui")).status_code == 200


async def test_item_42_failed_logins_are_slowed_and_others_are_not(stack: Stack) -> None:
    async with stack.caller() as browser:
        answers = [await browser.post("/ui/login", data={"key": f"sk_live_{n:064x}"}) for n in range(60)]
        slowed = [answer for answer in answers if answer.status_code == 429]
        assert slowed, {answer.status_code for answer in answers}
        assert int(slowed[-1].headers["retry-after"]) > 0


async def test_item_42_failed_keys_are_slowed(stack: Stack) -> None:
    async with stack.caller() as guesser:
        wrong = [{"authorization": f"Bearer sk_live_{n:064x}"} for n in range(300)]
        answers = [await guesser.get("/v1/customers", headers=headers) for headers in wrong]
    assert 429 in {answer.status_code for answer in answers}
    # A good key from the same address goes on: a proxy may stand between.
    async with stack.caller(headers={"authorization": f"Bearer {await key_of(stack)}"}) as good:
        assert (await good.get("/v1/customers")).status_code == 200


async def test_item_42_hsts_is_said_behind_tls_alone(stack: Stack, behind_tls: Stack) -> None:
    async with behind_tls.caller() as secure, stack.caller() as plain:
        for path in ("/ui/login", "/livez", "/docs"):
            said = (await secure.get(path)).headers.get("strict-transport-security", "")
            assert "max-age=" in said, path
            assert "strict-transport-security" not in (await plain.get(path)).headers


async def test_item_42_docs_have_a_content_security_policy(stack: Stack) -> None:
    async with stack.caller() as reader:
        for path in ("/docs", "/redoc"):
            answer = await reader.get(path)
            if answer.status_code == 200:
                policy = answer.headers.get("content-security-policy", "")
                assert "default-src 'none'" in policy or "default-src 'self'" in policy, path
                assert "frame-ancestors 'none'" in policy, path


async def test_item_42_links_use_the_configured_public_url(behind_tls: Stack) -> None:
    key = await key_of(behind_tls)
    headers = {"authorization": f"Bearer {key}", "host": "evil.example"}
    async with behind_tls.caller(headers=headers) as caller:
        await post(caller, "/v1/customers", {"id": "c", "name": "c"})
        url = (await get(caller, "/v1/customers/c/portal_url"))["portal_url"]
        assert url.startswith(PUBLIC), url
        assert "evil.example" not in (await caller.get("/")).text
        await caller.post("/ui/login", data={"key": key})
        cookies = {name: value for name, value in caller.cookies.items()}
        page = await caller.get("/ui", cookies=cookies)
        assert "evil.example" not in page.text


@pytest.mark.parametrize("url", ["http://x.example/l.png", "javascript:alert(1)", "data:image/png;base64,AA", "//x/l"])
async def test_item_42_a_logo_is_taken_over_https_only(client: httpx.AsyncClient, url: str) -> None:
    refused = await client.put("/v1/organizations/current", json={"logo_url": url})
    if refused.status_code == 405:
        refused = await client.patch("/v1/organizations/current", json={"logo_url": url})
    assert refused.status_code == 422, refused.text
    assert (await get(client, "/v1/organizations/current"))["logo_url"] is None


async def test_item_42a_metrics_ask_for_a_token_where_one_is_set(behind_tls: Stack) -> None:
    async with behind_tls.caller() as scraper:
        assert (await scraper.get("/metrics")).status_code == 401
        assert (await scraper.get("/metrics", headers={"authorization": "Bearer wrong"})).status_code == 401
        assert (await scraper.get("/metrics", headers={"authorization": "Bearer m3trics"})).status_code == 200


async def test_item_42a_the_cookie_is_secure_whenever_the_public_url_is_https(stack: Stack, behind_tls: Stack) -> None:
    key = await key_of(behind_tls)
    async with behind_tls.caller() as browser:
        answer = await browser.post("/ui/login", data={"key": key})
    assert "; secure" in answer.headers["set-cookie"].lower()
    async with stack.caller() as browser:
        plain = await browser.post("/ui/login", data={"key": key})
    assert "; secure" not in plain.headers["set-cookie"].lower()
