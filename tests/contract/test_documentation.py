"""The command blocks of README and docs run, in order, against the running stack: each call succeeds."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.support.stack import Stack

ROOT: Final = Path(__file__).resolve().parents[2]
#: In the order in which a reader meets them; later ones use what the README made.
DOCUMENTS: Final = ("README.md", "docs/test-clocks.md", "docs/alerts.md", "docs/webhooks.md", "docs/portal.md")
_COMMAND: Final = re.compile(r"(?:post|curl) |[A-Z]+=\$\(|post\(\)")
#: Every call's status is noted beside its answer.
_CURL: Final = r"""
curl() {
  command curl -o "$DIR/answer" -w '%{http_code} %{url_effective}\n' "$@" >> "$DIR/statuses"
  cat "$DIR/answer"
}
"""


def blocks(document: str) -> list[str]:
    """Return the indented blocks of a document that hold commands, without their indentation."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", (ROOT / document).read_text(), re.MULTILINE)
    texts = [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip() for block in found]
    return [text for text in texts if any(_COMMAND.match(line) for line in text.splitlines())]


@pytest.mark.stack
async def test_each_command_of_the_documents_succeeds(stack: Stack, client: httpx.AsyncClient, tmp_path: Path) -> None:
    assert shutil.which("curl"), "the documents use curl"
    key = client.headers["Authorization"].removeprefix("Bearer ")
    script = [f"DIR={tmp_path}", _CURL]
    for document in DOCUMENTS:
        written = "\n".join(blocks(document))
        assert written, f"{document} has no command"
        script.append(re.sub(r"^KEY=.*$", f"KEY={key}; URL={client.base_url}", written, flags=re.MULTILINE))
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", "\n".join(script), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    statuses = (tmp_path / "statuses").read_text().splitlines()
    assert len(statuses) >= 15
    assert [status for status in statuses if not status.startswith("2")] == [], output.decode()
    invoices = (await client.get("/v1/invoices", params={"customer_id": "cust_initech"})).json()
    assert [invoice["total_amount"] for invoice in invoices] == [14900]
