"""Archives of articles: JSONL and CSV files, plain or gzip, for replay and backtest and as a source."""

from connectors.archive.mapping import ColumnMapping
from connectors.archive.reader import BadRow, read_archive
from connectors.archive.source import ArchiveSource, build

__all__ = ["ArchiveSource", "BadRow", "ColumnMapping", "build", "read_archive"]
