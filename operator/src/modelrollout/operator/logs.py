"""Logs: one sentence a line, as text for people or JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Final

from modelrollout.api.printable import printable, printable_json

STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every record has; whatever else is on one was given by `extra=` and is logged as a
field.
"""
QUIET: Final = ("kopf", "aiohttp", "asyncio", "urllib3", "kubernetes", "prometheus_api_client")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return printable_json(json.dumps(line, ensure_ascii=False, default=str))


class TextFormatter(logging.Formatter):
    """Time, level, the object in question, message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(about)s%(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record.

        What follows its first line is indented, so that no text of others looks like another record.
        """
        name = getattr(record, "rollout", None)
        record.about = f"[{getattr(record, 'namespace', '')}/{name}] " if name else ""
        return printable(super().format(record)).replace("\n", "\n    ")


def configure_logs(*, form: str, level: str) -> None:
    """Send all logs to stderr. `form` is json or text; other libraries are heard from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
