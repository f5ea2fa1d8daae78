"""Settings for every test."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

# What a machine's engines measured is kept for its user, not for tests; child processes inherit this.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="riskwire-cache-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)

# Machines differ and are shared: how long an example takes says nothing about the code.
settings.register_profile("riskwire", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("riskwire")

# Kafka and Elasticsearch over TCP, for whoever asks: see tests/servers/.
pytest_plugins = ["servers.brokers"]
