"""Sends incidents by e-mail (SMTP), the chart attached. All messages of an incident are one conversation.

A mail cannot be edited: one goes out when an incident opens, gets worse, changes its state or ends. ``Message-ID`` is
made of incident and revision, so that one that is sent twice after a crash is the same message to many mailboxes.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any

from alerts.notifiers.chart import chart
from alerts.notifiers.console import render
from alerts.notifiers.email_page import page
from alerts.notifiers.options import Secret, refuse_unknown, seconds_of, secret_keys, secret_of, text_of
from alerts.notifiers.routes import RANK, severity_option
from alerts.notifiers.telling import is_news, summary, told_of
from monitor.core.errors import ConfigError, PermanentNotifyError, RetryableNotifyError
from monitor.core.types import Incident, Receipt, Severity

SECURITY = ("starttls", "tls", "none")


def message(incident: Incident, *, sender: str, to: Sequence[str], domain: str) -> EmailMessage:
    """The mail about one revision."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Subject"] = f"[Riskwire] {' '.join(summary(incident, 150).split())}"
    mail["Date"] = format_datetime(incident.updated_at)
    mail["Message-ID"] = f"<{incident.id}.{incident.revision}@{domain}>"
    if incident.revision > 1:
        mail["References"] = mail["In-Reply-To"] = f"<{incident.id}.1@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(render(incident, width=78) + "\n")
    picture = f"chart.{incident.id}.{incident.revision}@{domain}" if incident.trend else ""
    mail.add_alternative(page(incident, picture=picture), subtype="html")
    if incident.trend:
        shown = mail.get_payload()[1]  # type: ignore[index]
        shown.add_related(  # type: ignore[union-attr]
            chart(incident.trend), "image", "png", cid=f"<{picture}>", filename="negative-stories.png"
        )
    return mail


class EmailNotifier:
    """Implements :class:`monitor.core.ports.Notifier` over SMTP, in a thread of its own for each message."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        sender: str,
        to: Sequence[str],
        security: str = "starttls",
        username: str = "",
        password: Secret | None = None,
        name: str = "email",
        timeout: timedelta = timedelta(seconds=30),
        bar: Severity = Severity.INFO,
    ) -> None:
        self.name = name
        self._host, self._port, self._security = host, port, security
        self._sender, self._to = sender, tuple(to)
        self._username, self._password = username, password
        self._timeout = timeout.total_seconds()
        self._bar = bar

    async def send(self, incident: Incident, previous: Receipt | None) -> Receipt:
        """Mails when there is news for people; what is below the bar waits until it is not."""
        told = dict(previous.data) if previous is not None else {}
        if "state" not in told and RANK[incident.severity] < RANK[self._bar]:
            return Receipt(notifier=self.name)
        if "state" in told and not is_news(told, incident):
            return Receipt(notifier=self.name, data=told)
        domain = parseaddr(self._sender)[1].rpartition("@")[2] or "riskwire.invalid"
        try:
            mail = await asyncio.to_thread(message, incident, sender=self._sender, to=self._to, domain=domain)
            async with asyncio.timeout(self._timeout):
                await asyncio.to_thread(self._deliver, mail)
        except TimeoutError as error:
            raise RetryableNotifyError(f"The mail server did not take the mail within {self._timeout:g} s.") from error
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({code for code, _ in error.recipients.values()})
            raise self._refused(min(codes, default=550), "the recipients") from None
        except smtplib.SMTPResponseException as error:
            what = "the login" if isinstance(error, smtplib.SMTPAuthenticationError) else "the mail"
            raise self._refused(error.smtp_code, what) from None
        except smtplib.SMTPNotSupportedError:
            hint = "It offers no STARTTLS or login: see 'security' and 'username'."
            raise PermanentNotifyError("The mail server cannot do what is asked.", hint=hint) from None
        except ssl.SSLCertVerificationError as error:
            raise PermanentNotifyError(
                f"The mail server's certificate is refused: {error.verify_message}.", hint="Check 'host'."
            ) from None
        except (OSError, smtplib.SMTPException) as error:
            raise RetryableNotifyError(f"The mail server cannot be reached ({type(error).__name__}).") from None
        return Receipt(notifier=self.name, data=told_of(incident))

    @staticmethod
    def _refused(code: int, what: str) -> PermanentNotifyError | RetryableNotifyError:
        if 400 <= code < 500:
            return RetryableNotifyError(f"The mail server puts off {what} (SMTP code {code}).")
        return PermanentNotifyError(f"The mail server refuses {what} (SMTP code {code}).", hint="See its log.")

    def _deliver(self, mail: EmailMessage) -> None:
        each = max(1.0, self._timeout / 3)
        if self._security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, timeout=each, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=each)
        with server:
            if self._security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self._username and self._password is not None:
                server.login(self._username, self._password.reveal())
            server.send_message(mail)


def build(options: Mapping[str, Any], context: Any = None) -> EmailNotifier:
    """Entry point ``riskwire.notifiers``; docs/notifiers.md describes the options. Raises ConfigError."""
    where = "notifiers.email"
    keys = {*secret_keys("password"), "host", "port", "security", "username", "from", "to", "timeout", "min_severity"}
    refuse_unknown(options, keys, where)
    security = text_of(options, "security", where, default="starttls")
    if security not in SECURITY:
        raise ConfigError(f"{where}: 'security' must be one of {', '.join(SECURITY)}, got {security!r}.")
    port = options.get("port", {"starttls": 587, "tls": 465, "none": 25}[security])
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise ConfigError(f"{where}: 'port' must be 1 to 65535, got {port!r}.")
    username = text_of(options, "username", where, default="")
    password = secret_of(options, "password", where, what="password") if username else None
    if username and security == "none":
        raise ConfigError(f"{where}: 'security' is none: the password would be sent in the clear.")
    to = options.get("to")
    listed = [to] if isinstance(to, str) else list(to) if isinstance(to, Sequence) else []
    if not listed:
        raise ConfigError(f"{where}: 'to' is missing.", hint="Set an address or a list of addresses.")
    return EmailNotifier(
        host=text_of(options, "host", where, hint="Set the mail server's name."),
        port=port,
        sender=_address(options.get("from"), "from", where),
        to=[_address(item, "to", where) for item in listed],
        security=security,
        username=username,
        password=password,
        name=str(options.get("name", "email")),
        timeout=timedelta(seconds=seconds_of(options, "timeout", where, default=30, least=1, most=120)),
        bar=severity_option(options.get("min_severity", "info"), "min_severity", where),
    )


def _address(value: object, key: str, where: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if "@" not in parseaddr(text)[1] or "\n" in text or "\r" in text:
        raise ConfigError(f"{where}: '{key}' must be a mail address, got {value!r}.")
    return text
