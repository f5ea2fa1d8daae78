"""Who is told of incidents, and whether they can be reached."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.app import build_notifiers
from monitor.config import NotifierEntry, Settings
from monitor.core.clock import Clock
from monitor.core.errors import RiskwireError
from monitor.doctor.slack import SlackAccess, slack_checks
from monitor.doctor.verdict import Check, Verdict, failed, ok, warn


def notifier_checks(settings: Settings, clock: Clock, *, offline: bool) -> list[Check]:
    """Builds every notifier as the daemon would; asks Slack unless ``offline``."""

    async def listed() -> Sequence[Verdict]:
        if not settings.notifiers:
            return [
                warn(
                    "notifiers",
                    "None: incidents are recorded, but nobody is told.",
                    "Add [[notifiers]] with kind = 'console' or 'slack'.",
                )
            ]
        return [_built(settings, entry, clock) for entry in settings.notifiers]

    checks = [Check(part="notifiers", look=listed)]
    if not offline:
        for entry in settings.notifiers:
            if _built(settings, entry, clock).status == "ok":
                access = _slack_access(entry)
                checks += slack_checks(access, clock) if access is not None else []
    return checks


def _built(settings: Settings, entry: NotifierEntry, clock: Clock) -> Verdict:
    name = entry.name or entry.kind
    try:
        built = build_notifiers(settings.model_copy(update={"notifiers": (entry,)}), clock)
    except RiskwireError as error:
        return failed(f"notifier: {name}", error)
    return ok(f"notifier: {name}", f"Configured ({entry.kind})." if built else "Switched off (enabled = false).")


def _slack_access(entry: NotifierEntry) -> SlackAccess | None:
    """What the Slack notifier of ``entry`` would use; None when it is no Slack notifier, or switched off."""
    from alerts.notifiers.slack import token_of

    options = entry.options
    if entry.kind != "slack" or options.get("enabled", True) is False:
        return None
    return SlackAccess(
        name=entry.name or entry.kind,
        token=token_of(options),
        channel=str(options.get("channel", "")).strip(),
        base_url=str(options.get("base_url", SlackAccess.__dataclass_fields__["base_url"].default)),
    )
