"""OAUTHBEARER: tokens by the client credentials grant (RFC 6749, 4.4), fetched when the one at hand runs out."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from kafka.net.sasl.oauth import AbstractTokenProvider

from monitor.bus.kafka_config import Secret, ssl_context
from monitor.core.errors import StorageError, UnavailableError

if TYPE_CHECKING:
    from monitor.bus.kafka_config import KafkaConfig

TIMEOUT = 10.0
"""Seconds for one request to the token server; it runs in the Kafka client's thread."""
MARGIN = 60.0
"""A token is renewed this many seconds before it ends, or at four fifths of a shorter life."""
_LARGEST = 256 * 1024


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the client secret to another place."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Gives kafka-python a token; one is fetched for all connections of a client and kept until it nears its end."""

    def __init__(self, config: KafkaConfig) -> None:
        super().__init__()
        self._url = config.oauth_token_url
        self._host = urlsplit(config.oauth_token_url).hostname or ""
        self._client = config.oauth_client_id
        self._secret = Secret(config.oauth_client_secret)
        self._scope = config.oauth_scope
        context = ssl.create_default_context()
        if config.ca_file:
            ssl_context(config)  # says clearly when the file cannot be used
            context.load_verify_locations(cafile=str(config.ca_file))
        self._open = urllib.request.build_opener(_NoRedirect(), urllib.request.HTTPSHandler(context=context)).open
        self._lock = threading.Lock()
        self._token = Secret("")
        self._renew_at = 0.0

    def token(self) -> str:
        """A token that is still good. Raises StorageError; UnavailableError when trying again may help."""
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._fetch()
            return str(self._token)

    def _fetch(self) -> None:
        fields = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        login = f"{quote(self._client, safe='')}:{quote(str(self._secret), safe='')}"  # RFC 6749, 2.3.1
        request = urllib.request.Request(  # noqa: S310 - KafkaConfig allows https, and http on loopback, only
            self._url,
            data=urlencode(fields).encode(),
            headers={
                "Authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
        )
        asked = time.monotonic()
        try:
            with self._open(request, timeout=TIMEOUT) as answer:
                body = json.loads(answer.read(_LARGEST))
            token, life = str(body["access_token"]), float(body.get("expires_in", 300))
        except urllib.error.HTTPError as error:
            error.close()
            raise self._failed(f"it answered {error.code}", denied=error.code in (400, 401, 403)) from None
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise self._failed(str(getattr(error, "reason", error))) from None
        except (ValueError, KeyError, TypeError):
            raise self._failed("its answer holds no access_token") from None
        self._token = Secret(token)
        self._renew_at = asked + max(life - MARGIN, life * 0.8 if life < 5 * MARGIN else 0.0)

    def _failed(self, reason: str, *, denied: bool = False) -> StorageError:
        message = f"The token server {self._host} gave no token for Kafka: {reason}."
        if denied:
            hint = "Check kafka.oauth_client_id, the client secret and kafka.oauth_scope."
            return StorageError(message, hint=hint)
        return UnavailableError(message, hint="Check kafka.oauth_token_url and that the server can be reached.")
