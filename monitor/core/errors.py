"""The errors Riskwire raises.

    RiskwireError                       everything below; ``str`` gives what happened and the next step
    ├── ConfigError                     a configuration file, key or option is wrong            (exit code 2)
    ├── UsageError                      a command was given something it cannot use              (exit code 2)
    ├── SourceError                     a source could not be read this time
    │   ├── FetchError                  the network or the server failed; may carry retry_after
    │   ├── BlockedAddressError         the address guard refused the target
    │   ├── TooLargeError               a response or an item exceeds its cap
    │   └── MalformedError              bytes arrived, but they are no feed (or a forbidden one)
    ├── RecordError                     one record is bad; goes to the dead letters with its reason
    │   ├── CodecError                  it cannot be decoded
    │   └── ModelInputError             the model cannot take it
    ├── StorageError                    bus, store or state store failed
    │   ├── DatabaseLockedError         another process holds the database
    │   ├── DatabaseCorruptError        the file is damaged
    │   ├── DiskFullError               no room
    │   ├── UnavailableError            a server is down or too busy; the same call may work a little later
    │   ├── ConflictError               what a change was conditional on is not so (any more)
    │   │   └── LeaseLostError          another process leads, or owns the source, by now
    │   └── SchemaVersionError          the file was written by a newer version
    ├── ModelError                      the model artefact cannot be used
    │   ├── ArtefactMissingError        a file is not there
    │   ├── ArtefactMismatchError       a hash or a shape does not match
    │   └── ArtefactVersionError        written for another format version
    ├── TrainError                      training data or a training run is not usable
    ├── DeadLetterRatioError            too many records are bad; the service stops rather than drain the topic
    └── NotifyError                     an incident could not be delivered
        ├── RetryableNotifyError        try again, not before ``after`` seconds
        └── PermanentNotifyError        will never work as it is (bad token, no such channel)

Foreign exceptions are mapped to these once, in the module that talks to the foreign library.
"""

from __future__ import annotations


class RiskwireError(Exception):
    """Base of all errors of Riskwire.

    ``message`` says what happened and to which thing; ``hint`` says what to do next. Neither may hold a secret.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(RiskwireError):
    """A configuration file, key or option is wrong."""


class UsageError(RiskwireError):
    """A command was given something it cannot use."""


class SourceError(RiskwireError):
    """A source could not be read this time. ``code`` is a short stable name for metrics."""

    code = "source"

    def __init__(self, message: str, *, hint: str = "", code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code or type(self).code
        self.retry_after = retry_after


class FetchError(SourceError):
    """The network or the server failed."""

    code = "fetch"


class BlockedAddressError(SourceError):
    """The address guard refused the target (private, loopback, link-local or metadata address)."""

    code = "blocked_address"


class TooLargeError(SourceError):
    """A response or an item exceeds its cap."""

    code = "too_large"


class MalformedError(SourceError):
    """Bytes arrived, but they are no feed, or one with forbidden constructs."""

    code = "malformed"


class RecordError(RiskwireError):
    """One record is bad; it goes to the dead letters with its reason."""


class CodecError(RecordError):
    """A record cannot be decoded."""


class ModelInputError(RecordError):
    """The model cannot take a text."""


class StorageError(RiskwireError):
    """Bus, store or state store failed."""


class DatabaseLockedError(StorageError):
    """Another process holds the database."""


class DatabaseCorruptError(StorageError):
    """A database file is damaged."""


class DiskFullError(StorageError):
    """There is no room left on the disk."""


class UnavailableError(StorageError):
    """A server is down, unreachable or too busy: nothing is wrong with the request, and the same one may work a little
    later. ``retry_after`` are the seconds that the server asked for."""

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class ConflictError(StorageError):
    """What a change of state was conditional on is not so, or no longer; nothing was changed."""


class LeaseLostError(ConflictError):
    """This process leads, or owns the source, no longer; what it was about to do is another's to do."""


class SchemaVersionError(StorageError):
    """A database was written by a newer version of Riskwire."""


class ModelError(RiskwireError):
    """The model artefact cannot be used."""


class ArtefactMissingError(ModelError):
    """A file of the artefact is not there."""


class ArtefactMismatchError(ModelError):
    """A hash, shape or label map of the artefact does not match."""


class ArtefactVersionError(ModelError):
    """The artefact was written for another format version."""


class TrainError(RiskwireError):
    """Training data or a training run is not usable."""


class DeadLetterRatioError(RiskwireError):
    """Too many records are bad."""


class NotifyError(RiskwireError):
    """An incident could not be delivered."""


class RetryableNotifyError(NotifyError):
    """Try again; not before ``after`` seconds. ``whole``: nothing else goes to the notifier before either."""

    def __init__(self, message: str, *, hint: str = "", after: float = 0.0, whole: bool = True) -> None:
        super().__init__(message, hint=hint)
        self.whole = whole
        self.after = after


class PermanentNotifyError(NotifyError):
    """Will never work as it is: bad token, no such channel, message refused."""
