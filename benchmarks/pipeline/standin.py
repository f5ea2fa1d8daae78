"""A stand-in for Elasticsearch's hot path, for long runs on a machine without it.

noida-db looks through a whole index for every search, so that a run of 20,000 articles takes it an hour. This takes the
requests that carry articles (bulk create and update, look-up by id, point in time, reads by arrival) and answers them
from an index in memory, with the documents in a file; everything else (version, templates, indices) it passes on to
noida-db. It promises nothing: what is written can be read at once, and is lost when it ends.
"""

from __future__ import annotations

import argparse
import bisect
import json
import re
from array import array
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientTimeout, web

_STAMP = re.compile(rb'\{"arrival":(\d+),"arrival_check":(\d+),')
_PRODUCT = {"X-Elastic-Product": "Elasticsearch"}
_MOST_BYTES = 200_000_000


class Documents:
    """Documents by id and by arrival."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._end = 0
        self._names: list[str] = []
        self._number: dict[str, int] = {}
        self._spots: list[tuple[str, int, int, int]] = []
        """By number: index, offset in the file, length, arrival."""
        self._order: list[tuple[int, int]] = []
        """(arrival, number) in order."""
        self._checks = array("q")
        """In the same order."""

    def create(self, index: str, key: str, content: bytes) -> bool:
        """False when there is one."""
        if key in self._number:
            return False
        stamp = _STAMP.match(content)
        if stamp is None:
            raise web.HTTPBadRequest(text="this stand-in takes what Riskwire sends")
        number = self._number[key] = len(self._names)
        self._names.append(key)
        self._spots.append((index, *self._append(content), int(stamp[1])))
        self._enter(int(stamp[1]), number, int(stamp[2]))
        return True

    def update(self, key: str, fields: dict[str, Any]) -> dict[str, Any] | None:
        """The document afterwards; None when there is none."""
        number = self._number.get(key)
        if number is None:
            return None
        index, _, _, arrival = self._spots[number]
        document: dict[str, Any] = json.loads(self.content(number)) | fields
        place = bisect.bisect_left(self._order, (arrival, number))
        del self._order[place], self._checks[place]
        self._spots[number] = (index, *self._append(json.dumps(document).encode()), document["arrival"])
        self._enter(document["arrival"], number, document["arrival_check"])
        return document

    def _append(self, content: bytes) -> tuple[int, int]:
        offset = self._end
        self._file.seek(offset)
        self._file.write(content)
        self._end += len(content)
        return offset, len(content)

    def _enter(self, arrival: int, number: int, check: int) -> None:
        place = bisect.bisect_left(self._order, (arrival, number))
        self._order.insert(place, (arrival, number))
        self._checks.insert(place, check)

    def content(self, number: int) -> bytes:
        """A document as it was sent."""
        _, offset, length, _ = self._spots[number]
        self._file.seek(offset)
        return self._file.read(length)

    def known(self, keys: list[str]) -> list[int]:
        """The numbers of those that are there."""
        return [self._number[key] for key in keys if key in self._number]

    def between(self, after: int, upto: int) -> tuple[int, int]:
        """Places in arrival order: those later than ``after``, not later than ``upto``."""
        return bisect.bisect_right(self._order, (after, 1 << 62)), bisect.bisect_right(self._order, (upto, 1 << 62))

    def check(self, low: int, high: int) -> int:
        """The sum of the checks of some places."""
        return sum(self._checks[low:high])

    def page(self, low: int, high: int, size: int, after: list[int] | None) -> list[int]:
        """Numbers at some places, behind the place that a sort value names."""
        if after is not None:
            low = max(low, bisect.bisect_right(self._order, (after[0], after[1])))
        return [number for _, number in self._order[low : min(high, low + size)]]

    def hit(self, number: int, *, source: bool) -> bytes:
        """As a search answers it."""
        index, _, _, arrival = self._spots[number]
        head = json.dumps({"_index": index, "_id": self._names[number], "sort": [arrival, number]}).encode()
        return head[:-1] + b',"_source":' + self.content(number) + b"}" if source else head


class StandIn:
    """The HTTP side."""

    def __init__(self, documents: Documents, upstream: str, session: ClientSession) -> None:
        self._documents = documents
        self._upstream = upstream
        self._session = session

    async def bulk(self, request: web.Request) -> web.Response:
        """Actions ``create`` and ``update``."""
        lines = (await request.read()).split(b"\n")
        results = []
        for action, content in zip(lines[::2], lines[1::2], strict=False):
            ((kind, target),) = json.loads(action).items()
            result: dict[str, Any] = {"_index": target["_index"], "_id": target["_id"], "status": 201}
            if kind == "create":
                if not self._documents.create(target["_index"], target["_id"], content):
                    result |= {
                        "status": 409,
                        "error": {"type": "version_conflict_engine_exception", "reason": "exists"},
                    }
            else:
                found = self._documents.update(target["_id"], json.loads(content)["doc"])
                if found is None:
                    result |= {"status": 404, "error": {"type": "document_missing_exception", "reason": "missing"}}
                else:
                    stored = {"arrival": found["arrival"], "fetched_at": found["fetched_at"]}
                    result |= {"status": 200, "get": {"_source": stored}}
            results.append({kind: result})
        failed = any(result["status"] >= 300 for item in results for result in item.values())
        return _json(json.dumps({"took": 1, "errors": failed, "items": results}).encode())

    async def search(self, request: web.Request) -> web.Response:
        """By ids, or by arrival with a count and a checksum, or a page."""
        body = json.loads(await request.read())
        query, documents = body["query"], self._documents
        source, total, check = bool(body.get("_source", True)), 0, 0
        if "ids" in query:
            numbers = documents.known(query["ids"]["values"])
        else:
            bounds = query["range"]["arrival"]
            low, high = documents.between(bounds["gt"], bounds["lte"])
            total = high - low
            if "aggs" in body:
                check = documents.check(low, high)
            numbers = documents.page(low, high, body["size"], body.get("search_after"))
        hits = b",".join(documents.hit(number, source=source) for number in numbers)
        head = json.dumps({
            "took": 1, "timed_out": False, "_shards": {"total": 1, "successful": 1, "failed": 0},
            "aggregations": {"check": {"value": check}},
            "hits": {"total": {"value": total, "relation": "eq"}},
        })  # fmt: skip
        return _json(head[:-2].encode() + b',"hits":[' + hits + b"]}}")

    async def open(self, request: web.Request) -> web.Response:
        """A point in time that moves on: nothing is ever removed or changed while it is read."""
        await request.read()
        return _json(b'{"id":"standin"}')

    async def close(self, request: web.Request) -> web.Response:
        """Closes it."""
        await request.read()
        return _json(b'{"succeeded":true,"num_freed":1}')

    async def forward(self, request: web.Request) -> web.Response:
        """To noida-db."""
        headers = {name: request.headers[name] for name in ("Accept", "Content-Type") if name in request.headers}
        body = await request.read()
        url = self._upstream + request.path_qs
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            kept = _PRODUCT | {"Content-Type": answer.headers.get("Content-Type", "application/json")}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, headers=_PRODUCT | {"Content-Type": "application/json"})


async def _app(upstream: str, path: Path) -> web.Application:
    session = ClientSession(timeout=ClientTimeout(total=60))
    standin = StandIn(Documents(path), upstream, session)
    app = web.Application(client_max_size=_MOST_BYTES)
    app.router.add_post("/_bulk", standin.bulk)
    app.router.add_post("/_search", standin.search)
    app.router.add_post("/{index}/_search", standin.search)
    app.router.add_post("/{index}/_pit", standin.open)
    app.router.add_delete("/_pit", standin.close)
    app.router.add_route("*", "/{rest:.*}", standin.forward)

    async def end(_: web.Application) -> None:
        await session.close()

    app.on_cleanup.append(end)
    return app


def main() -> None:
    """``python standin.py UPSTREAM PORT FILE``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream")
    parser.add_argument("port", type=int)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    web.run_app(_app(options.upstream, options.file), host="127.0.0.1", port=options.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
