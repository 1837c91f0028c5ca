"""The dashboard's pages: sessions, forms, the key that is shown once (B20)."""

import re

import httpx
import pytest

from tests.api.conftest import Service, bearer, client_of


@pytest.fixture
async def browser(service: Service) -> httpx.AsyncClient:
    """A browser that has logged in with an organization's first key."""
    key = await service.key()
    client = client_of(service.app)
    answer = await client.post("/ui/login", data={"key": key})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui")
    assert key not in str(answer.headers)
    return client


def csrf_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


async def test_without_a_session_every_page_asks_to_log_in(service: Service) -> None:
    for method, path in (("GET", "/ui"), ("GET", "/ui/keys"), ("POST", "/ui/keys"), ("POST", "/ui/keys/x/revoke")):
        answer = await service.http.request(method, path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/login")
    assert (await service.http.get("/ui/login/")).status_code == 200
    for cookie in ("nonsense", "eyJhIjoxfQ.x.y"):
        answer = await service.http.get("/ui", headers={"cookie": f"durabill_session={cookie}"})
        assert answer.status_code == 303


async def test_a_wrong_key_does_not_log_in(service: Service) -> None:
    for key in ("", "sk_live_wrong", "x" * 5000, "\x00"):
        answer = await service.http.post("/ui/login", data={"key": key})
        assert answer.status_code == 401
        assert 'role="alert"' in answer.text
        assert "set-cookie" not in answer.headers
    refused = await service.http.post("/ui/login", data={"key": "x"}, headers={"sec-fetch-site": "cross-site"})
    assert refused.status_code == 403


async def test_the_cookie_is_for_the_browser_alone(service: Service) -> None:
    answer = await service.http.post("/ui/login", data={"key": await service.key()})
    cookie = answer.headers["set-cookie"].lower()
    for part in ("httponly", "samesite=strict", "path=/ui", "max-age=43200"):
        assert part in cookie


async def test_the_overview_counts_and_leads_on(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/ui")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "CloudAI" in page.text
    assert 'href="/docs"' in page.text
    assert "DurabillProject" in page.text
    assert "Organization CloudAI created" in page.text
    assert (await browser.get("/ui/style.css")).headers["content-type"].startswith("text/css")


async def test_a_generated_key_is_shown_once_and_works(service: Service, browser: httpx.AsyncClient) -> None:
    csrf = csrf_of(await browser.get("/ui/keys"))
    made = await browser.post("/ui/keys", data={"csrf": csrf, "name": "<b>backend</b>", "kind": "ingest"})
    found = re.search(r'<code id="secret">(uf_live_[0-9a-f]{64})</code>', made.text)
    assert found, made.text
    assert "<b>backend" not in made.text
    assert (await service.http.get("/v1/events", headers=bearer(found[1]))).status_code == 200
    again = await browser.get("/ui/keys")
    assert found[1] not in again.text
    assert "&lt;b&gt;backend&lt;/b&gt;" in again.text


async def test_a_form_without_its_token_does_nothing(service: Service, browser: httpx.AsyncClient) -> None:
    csrf = csrf_of(await browser.get("/ui/keys"))
    for data, headers in (({}, {}), ({"csrf": "x"}, {}), ({"csrf": csrf}, {"sec-fetch-site": "same-site"})):
        answer = await browser.post("/ui/keys", data={"name": "y", **data}, headers=headers)
        assert answer.status_code == 403
        assert 'id="secret"' not in answer.text
    bad = await browser.post("/ui/keys", data={"csrf": csrf, "name": "x" * 300})
    assert bad.status_code == 422


async def test_revoking_the_own_key_ends_the_session(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/ui/keys")
    action = re.search(r'action="(/ui/keys/[0-9a-f-]+/revoke)"', page.text)
    assert action
    assert (await browser.post(action[1], data={"csrf": "wrong"})).status_code == 403
    assert (await browser.post(action[1], data={"csrf": csrf_of(page)})).status_code == 303
    assert (await browser.get("/ui")).headers["location"] == "/ui/login"


async def test_logging_out_ends_the_session(browser: httpx.AsyncClient) -> None:
    csrf = csrf_of(await browser.get("/ui"))
    answer = await browser.post("/ui/logout", data={"csrf": csrf})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/login")
    assert (await browser.get("/ui")).status_code == 303
