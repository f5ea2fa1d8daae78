"""Who is told of incidents, and whether they can be reached."""

from __future__ import annotations

from collections.abc import Sequence

from alerts.refused import count_refused
from monitor.app import build_notifiers
from monitor.config import NotifierEntry, Settings
from monitor.core.clock import Clock
from monitor.core.errors import RiskwireError
from monitor.db.schema import STATE
from monitor.doctor.reach import reach_checks
from monitor.doctor.slack import SlackAccess, slack_checks
from monitor.doctor.verdict import Check, Verdict, failed, ok, warn
from monitor.storage import open_storage


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

    async def refused() -> Sequence[Verdict]:
        if not settings.state.url.get_secret_value() and not (settings.data_dir / STATE.file).exists():
            return []  # nothing has run here yet
        try:
            async with open_storage(settings, clock, guest=True, bus=False, store=False) as storage:
                count = await count_refused(storage.state)
        except RiskwireError:
            return []  # the state's own check says what is wrong with it
        if not count:
            return [ok("outbox", "No message was refused.")]
        what = "message was" if count == 1 else "messages were"
        advice = "'riskwire outbox ls' says why; when it is mended, 'riskwire outbox retry' sends them again."
        return [warn("outbox", f"{count} {what} refused by their receivers and not sent.", advice)]

    checks = [Check(part="notifiers", look=listed), Check(part="outbox", look=refused)]
    if not offline:
        for entry in settings.notifiers:
            if _built(settings, entry, clock).status == "ok":
                access = _slack_access(entry)
                checks += slack_checks(access, clock) if access is not None else []
                if entry.options.get("enabled", True) is not False:
                    checks += reach_checks(entry.kind, entry.name or entry.kind, entry.options)
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
