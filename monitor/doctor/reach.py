"""Web hooks, PagerDuty, Teams, mail servers: is there anybody, is the certificate good, is the login right.

No alarm is sent. Of web hooks only the connection and the certificate can be known without one: what they take is known
by ``riskwire notify test``. A mail server says whether it takes the login.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from alerts.notifiers.options import secret_of
from alerts.notifiers.pagerduty import URL as PAGERDUTY
from monitor.core.errors import StorageError
from monitor.doctor.threads import in_thread
from monitor.doctor.verdict import Check, Verdict, fail, ok

_SECONDS = 8.0
_TRY = "riskwire notify test {name}"


def reach_checks(kind: str, name: str, options: Mapping[str, Any]) -> list[Check]:
    """The check of one such notifier; none for other kinds."""
    part = f"notifier: {name}"
    remedy = "See whether this machine may reach it: name, port, proxy, firewall."
    if kind == "email":

        async def mail() -> Sequence[Verdict]:
            return [await in_thread(lambda: _mail(part, options))]

        return [Check(part=part, look=mail, limit=2 * _SECONDS, remedy=remedy)]
    if kind not in ("webhook", "teams", "pagerduty"):
        return []

    async def hook() -> Sequence[Verdict]:
        url = (
            str(options.get("url") or PAGERDUTY)
            if kind == "pagerduty"
            else secret_of(options, "url", f"notifiers.{kind}", what="address").reveal()
        )
        return [await _connect(part, url, _TRY.format(name=name))]

    return [Check(part=part, look=hook, limit=2 * _SECONDS, remedy=remedy)]


async def _connect(part: str, url: str, trial: str) -> Verdict:
    """Connects and shakes hands; says nothing of the address but its host: the rest may be a secret."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    context = ssl.create_default_context() if secure else None
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(host, parts.port or (443 if secure else 80), ssl=context)
            writer.close()
            await writer.wait_closed()
    except ssl.SSLCertVerificationError as error:
        advice = "Give the name that the certificate is for, or have it renewed."
        return fail(part, f"The certificate of {host} is refused: {error.verify_message}.", advice)
    except ssl.SSLError as error:
        return fail(part, f"{host} does not speak TLS there ({error.reason}).", "Check scheme and port.")
    except (TimeoutError, OSError) as error:
        raise StorageError(
            f"{host} cannot be reached ({type(error).__name__}).",
            hint="See whether this machine may reach it: name, port, proxy, firewall.",
        ) from None
    how = "over TLS with a good certificate" if secure else "without TLS"
    return ok(part, f"{host} answers {how}. Whether it takes messages, '{trial}' shows.")


def _mail(part: str, options: Mapping[str, Any]) -> Verdict:
    host, security = str(options.get("host", "")), str(options.get("security", "starttls"))
    port = int(options.get("port") or {"starttls": 587, "tls": 465, "none": 25}[security])
    user = str(options.get("username", ""))
    try:
        if security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=_SECONDS, context=ssl.create_default_context())
        else:
            server = smtplib.SMTP(host, port, timeout=_SECONDS)
        with server:
            if security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if user:
                server.login(user, secret_of(options, "password", "notifiers.email", what="password").reveal())
            server.noop()
    except smtplib.SMTPAuthenticationError as error:
        return fail(part, f"{host} refuses the login (SMTP code {error.smtp_code}).", "Check username and password.")
    except smtplib.SMTPNotSupportedError:
        return fail(part, f"{host} offers no STARTTLS or login.", "See 'security' and 'username'.")
    except ssl.SSLCertVerificationError as error:
        return fail(part, f"The certificate of {host} is refused: {error.verify_message}.", "Check 'host'.")
    except (OSError, smtplib.SMTPException) as error:
        return fail(
            part, f"The mail server {host} cannot be reached ({type(error).__name__}).", "Check host, port, firewall."
        )
    return ok(part, f"{host} answers ({security}){' and takes the login' if user else ''}. No mail was sent.")
