"""One leader, the others stand by.

A term ends when the work ends, the lease is lost or not renewed in time, or this process is asked to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from monitor.core.errors import ConflictError, LeaseLostError, StorageError, UnavailableError
from monitor.obs.health import Health
from monitor.obs.metrics import Metrics
from monitor.services.leases import Lease
from monitor.services.steady import Steady, SteadyClock, end, nap, passing

Lead = Callable[[asyncio.Event], Awaitable[None]]
"""The work of a term. It restores what it needs from the state store, writes through a FencedState only, and returns
soon after the event is set. It is cancelled when the lease lapses, so it must be able to begin anew afterwards."""

_log = structlog.get_logger("leadership")


class Leadership:
    """Runs ``lead`` while this process holds the lease, and waits for the lease while it does not.

    A standby is healthy: it takes over at most ``lease_seconds`` after the last renewal of a leader that died, plus
    the time between two looks, or at once from one that has stopped in order.
    """

    def __init__(
        self, *, lease: Lease, lead: Lead, metrics: Metrics, health: Health, steady: Steady | None = None
    ) -> None:
        self._lease = lease
        self._lead = lead
        self._health = health
        self._steady: Steady = steady or SteadyClock()
        self._leader = metrics.leader.labels(lease.name)
        self._failed = metrics.lease_renewals_failed.labels(lease.name)
        self._stop = asyncio.Event()
        self.leading = asyncio.Event()
        """Set during a term."""
        self._leader.set(0)

    def stop(self) -> None:
        """Asks :meth:`run` to end: the work ends in order, the lease is given back."""
        self._stop.set()

    async def run(self) -> None:
        """Until :meth:`stop`. Raises what ``lead`` raises, unless it only says that the lease is lost or that a server
        is away for a while."""
        while not self._stop.is_set():
            if await self._acquired():
                await self._term()
            if not self._stop.is_set():
                await nap(self._steady, max(0.05, self._lease.patience()), self._stop)
        await self._give_back()  # one that came too late to begin a term

    async def _acquired(self) -> bool:
        try:
            # As long as a lease lasts: a request that hangs must not keep a standby from asking again.
            async with asyncio.timeout(self._lease.seconds):
                acquired = await self._lease.acquire() and self._lease.held
        except LeaseLostError:
            acquired = False
        except TimeoutError:
            _log.warning("lease_not_read", lease=self._lease.name, error="The state store does not answer.")
            return False
        except StorageError as error:
            if not passing(error):
                raise
            _log.warning("lease_not_read", lease=self._lease.name, error=str(error))
            return False
        self._beat()
        return acquired

    async def _term(self) -> None:
        _log.info("leader", lease=self._lease.name, holder=self._lease.holder, term=self._lease.token)
        self._leader.set(1)
        self.leading.set()
        ended = asyncio.Event()
        work = asyncio.ensure_future(self._lead(ended))
        keeping = asyncio.ensure_future(self._keep())
        watching = asyncio.ensure_future(self._lapsed())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({work, keeping, watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set():
                ended.set()
                await asyncio.wait({work, keeping, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # From here on nothing of the work may begin; what is under way is cut off where it waits.
            self.leading.clear()
            self._leader.set(0)
            finished = work.done() and not work.cancelled()
            broken = keeping.done() and not keeping.cancelled()
            await end([work, keeping, watching, stopping])
            await self._give_back()
        if finished:
            self._judge(work)
        if broken and (error := keeping.exception()) is not None and not isinstance(error, ConflictError):
            raise error
        _log.info("leader_no_more", lease=self._lease.name, stopping=self._stop.is_set())

    def _judge(self, work: asyncio.Future[None]) -> None:
        error = work.exception()
        if isinstance(error, ConflictError | UnavailableError):
            # After either the next term begins from what is stored, here or elsewhere.
            _log.warning("stepped_down", lease=self._lease.name, reason=str(error))
        elif error is not None:
            raise error
        elif not self._stop.is_set():
            self._stop.set()  # the work is over by itself, and with it the reason to lead

    async def _keep(self) -> None:
        """Renews until the lease is lost."""
        while True:
            await self._steady.sleep(self._lease.every)
            try:
                # A request that hangs must leave time for another before the lease is over.
                async with asyncio.timeout(self._lease.every):
                    await self._lease.renew()
            except TimeoutError:
                self._failed.inc()
                _log.warning("lease_not_renewed", lease=self._lease.name, error="The state store does not answer.")
            except ConflictError as error:
                _log.warning("lease_lost", lease=self._lease.name, reason=str(error))
                raise
            except StorageError as error:
                self._failed.inc()
                if not passing(error):
                    raise
                _log.warning("lease_not_renewed", lease=self._lease.name, error=str(error))
            else:
                self._beat()

    async def _lapsed(self) -> None:
        """Returns when the lease was not renewed in time."""
        while (left := self._lease.remaining()) > 0:
            await self._steady.sleep(left)

    async def _give_back(self) -> None:
        try:
            async with asyncio.timeout(self._lease.every):
                await self._lease.release()
        except (StorageError, TimeoutError) as error:
            _log.warning("lease_not_released", lease=self._lease.name, error=str(error) or "no answer in time")
        finally:
            self._lease.forget()

    def _beat(self) -> None:
        self._health.beat(f"lease {self._lease.name}", allow=timedelta(seconds=10 * self._lease.seconds))
