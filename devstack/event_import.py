"""`durabill import events`: a file's events through the public API, resumable, with a report of faulty lines.

Events go in batches, several at once, with `partial=true`. How far the import came is kept beside the file, so that a
second start goes on there; should that note be lost, the keys of the events still count each of them once.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import httpx

from devstack.event_files import Line, lines_of
from devstack.processes import StackError

_LINES_OF_A_BATCH: Final = 1000
_BYTES_OF_A_BATCH: Final = 2_000_000
_AT_ONCE: Final = 4
_PATIENCE_SECONDS: Final = 300.0
_LONGEST_PAUSE_SECONDS: Final = 10.0
_BUSY: Final = (408, 425, 429, 500, 502, 503, 504)


@dataclass
class Report:
    """What became of the lines so far."""

    lines: int = 0
    stored: int = 0
    duplicates: int = 0
    faulty: int = 0
    conflicts: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass
class Note:
    """The file beside the imported one that says how far the import came; it belongs to that file's content."""

    path: Path
    size: int
    last_line: int = 0
    report: Report = field(default_factory=Report)

    @classmethod
    def of(cls, file: Path) -> "Note":
        """Find the note of an interrupted import of this file, or begin one."""
        path, size = file.with_name(file.name + ".import.json"), file.stat().st_size
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError):
            return cls(path, size)
        if found["size"] != size:
            return cls(path, size)
        report = Report(**{**found["report"], "skipped": Counter(found["report"]["skipped"])})
        return cls(path, size, found["last_line"], report)

    def write(self) -> None:
        """Remember the present state, whole or not at all."""
        text = json.dumps({"size": self.size, "last_line": self.last_line, "report": vars(self.report)})
        fresh = self.path.with_suffix(".tmp")
        fresh.write_text(text)
        fresh.replace(self.path)


class Import:
    """One import of one file."""

    def __init__(self, file: Path, url: str, key: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.file = file
        self.note = Note.of(file)
        self.faults = file.with_name(file.name + ".faulty.ndjson")
        self._url = url
        self._transport = transport
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    @property
    def resumes_after(self) -> int:
        """The last line that an earlier, interrupted run has dealt with; 0 for a fresh start."""
        return self.note.last_line

    async def run(self, progress: Callable[[int], None]) -> Report:
        """Send what is left of the file; ``progress`` hears how much of it is done.

        Raises ``StackError`` when the API refuses the key or cannot be reached for five minutes; then start again.
        """
        if not self.note.last_line:
            self.faults.unlink(missing_ok=True)
        lines = (line for line in lines_of(self.file) if line.number > self.note.last_line)
        batches = _batches(lines)
        client = httpx.AsyncClient(base_url=self._url, headers=self._headers, timeout=60, transport=self._transport)
        async with client as http:
            while window := list(islice(batches, _AT_ONCE)):
                for found in await asyncio.gather(*(self._send(http, batch) for batch in window)):
                    self._add(found)
                self.note.last_line = window[-1][-1].number
                self.note.write()
                progress(window[-1][-1].done)
        self.note.path.unlink(missing_ok=True)
        return self.note.report

    async def _send(self, http: httpx.AsyncClient, batch: Sequence[Line]) -> "_Result":
        result = _Result(lines=len(batch), faults={line.number: [line.problem] for line in batch if line.problem})
        good = [line for line in batch if line.problem is None]
        if good:
            await self._post(http, good, result)
        return result

    async def _post(self, http: httpx.AsyncClient, lines: Sequence[Line], result: "_Result") -> None:
        body = b"[" + b",".join(line.event for line in lines) + b"]"
        answer = await _patiently(lambda: http.post("/v1/events/batch", params={"partial": "true"}, content=body))
        document = answer.json()
        if answer.status_code in (200, 201, 202):
            result.take(document, lines)
        elif answer.status_code == 422 and "invalid_indexes" in document:
            result.refuse(document, lines)
        elif answer.status_code in (400, 413, 422) and len(lines) > 1:
            # One of these lines spoils the request as a whole: halving finds it.
            middle = len(lines) // 2
            await self._post(http, lines[:middle], result)
            await self._post(http, lines[middle:], result)
        elif answer.status_code in (400, 413, 422):
            result.faults[lines[0].number] = [str(document["detail"])]
        else:
            raise StackError(f"the API answered {answer.status_code}: {document.get('detail', answer.text)}")

    def _add(self, result: "_Result") -> None:
        report = self.note.report
        report.lines += result.lines
        report.stored += result.stored
        report.duplicates += result.duplicates
        report.conflicts += result.conflicts
        report.faulty += len(result.faults)
        report.skipped += result.skipped
        if result.faults:
            with self.faults.open("a") as file:
                for number in sorted(result.faults):
                    file.write(json.dumps({"line": number, "errors": result.faults[number]}) + "\n")


@dataclass
class _Result:
    """What became of the lines of one batch; ``faults`` by their numbers."""

    lines: int
    faults: dict[int, list[str | None]]
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def take(self, document: dict[str, Any], lines: Sequence[Line]) -> None:
        """Add an answer of the batch route, in either of its shapes."""
        self.stored += document.get("accepted", document.get("ingested", 0))
        self.duplicates += document["duplicates"]
        self.conflicts += len(document.get("conflicts", ()))
        for each in document.get("conflicts", ()):
            self.faults[lines[each["index"]].number] = [
                f"the key {each['idempotency_key']!r} has other content already"
            ]
        for each in document["rejected"]:
            texts = [f"{error['field'].split('.', 2)[-1]}: {error['message']}" for error in each["errors"]]
            self.faults[lines[each["index"]].number] = list(texts)
        self.skipped += Counter(each["reason"] for each in document.get("skipped", ()))

    def refuse(self, document: dict[str, Any], lines: Sequence[Line]) -> None:
        """Add a refusal of all the lines, each with its own reason as far as the answer has it."""
        messages: dict[str, list[str | None]] = {}
        for error in document["errors"]:
            _, index, name = (*error["field"].split(".", 2), "")[:3]
            messages.setdefault(index, []).append(f"{name}: {error['message']}")
        for index in document["invalid_indexes"]:
            self.faults[lines[index].number] = messages.get(str(index), [document["detail"]])


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    """Cut lines into batches of at most so many lines and bytes."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == _LINES_OF_A_BATCH or size + len(line.event) > _BYTES_OF_A_BATCH):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.event) + 1
    if batch:
        yield batch


async def _patiently(post: Callable[[], Any]) -> httpx.Response:
    """Send again while the API is busy or away, after the pause that it asks for."""
    waited, pause = 0.0, 0.5
    while True:
        try:
            answer: httpx.Response = await post()
            if answer.status_code not in _BUSY:
                return answer
            trouble, wanted = f"the API answered {answer.status_code}", float(answer.headers.get("retry-after", 0))
        except httpx.TransportError as error:
            trouble, wanted = f"the API cannot be reached: {error!r}", 0.0
        if waited > _PATIENCE_SECONDS:
            raise StackError(f"{trouble}; start the import again to go on where it stopped")
        pause = max(pause, wanted)
        await asyncio.sleep(pause)
        waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE_SECONDS)
