"""Encryption: an authority's file, a fingerprint, and what is said when neither fits."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from scripted_elastic import PRODUCT, info

from monitor.core.errors import StorageError
from monitor.store.elastic_client import ElasticClient
from monitor.store.elastic_config import ElasticConfig

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost, with its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem"


@pytest.fixture
async def url(certificate: Path) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(info("9.1.0"), headers=PRODUCT)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://localhost:{runner.addresses[0][1]}"
    await runner.cleanup()


def fingerprint(certificate: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).hexdigest()


async def test_the_authority_or_the_fingerprint_opens_the_door(url, certificate):
    plain = fingerprint(certificate)
    colons = ":".join(plain[n : n + 2] for n in range(0, 64, 2)).upper()
    for fields in ({"ca_file": certificate}, {"fingerprint": plain}, {"fingerprint": colons}):
        client = await ElasticClient.connect(ElasticConfig(urls=(url,), **fields))
        assert client.version == (9, 1, 0)
        await client.close()


async def test_a_stranger_is_not_spoken_to(url):
    for fields in ({}, {"fingerprint": "0" * 64}):
        with pytest.raises(
            StorageError, match=r"elastic\.fingerprint.* elastic\.ca_file|ca_file or elastic\.fingerprint"
        ):
            await ElasticClient.connect(ElasticConfig(urls=(url,), api_key="c2VjcmV0", **fields))


async def test_another_host_name_is_not_accepted(url, certificate):
    elsewhere = url.replace("localhost", "127.0.0.1")
    with pytest.raises(StorageError, match="host name"):
        await ElasticClient.connect(ElasticConfig(urls=(elsewhere,), ca_file=certificate))
