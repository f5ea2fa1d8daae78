"""Display names of topics and entities; whatever has none stands for itself."""

from __future__ import annotations

from collections.abc import Callable

from monitor.core.errors import ConfigError, ModelError
from monitor.web.context import WebContext

Shown = Callable[[str, str], str]
"""By scope and value."""


async def of(context: WebContext) -> Shown:
    """The names, as far as the model and the watchlist can be read: pages are shown without them as well."""
    try:
        facts = await context.facts()
    except ModelError:
        facts = None
    try:
        entities = {entity.id: entity.name for entity in await context.watchlist()}
    except ConfigError:
        entities = {}

    def shown(scope: str, value: str) -> str:
        if scope == "topic" and facts is not None:
            return facts.display("topic", value)
        if scope == "entity":
            return entities.get(value, value)
        return "all news" if scope == "all" else value

    return shown
