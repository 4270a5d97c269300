"""Which rows belong to which archive."""

from __future__ import annotations

import sqlalchemy as sa

from socs.archive.paths import SMURF, TIMESTREAMS
from socs.db import pysmurf_files_manager as files
from socs.errors import ConfigError

ALL = "all"
ARCHIVE_NAMES = (ALL, SMURF, TIMESTREAMS)


def of_archive(archive_name: str) -> sa.ColumnElement[bool]:
    """Condition: the row is of this archive; one of :data:`ARCHIVE_NAMES`.

    Raises:
        ConfigError: there is none of this name.
    """
    action = files.table.c.action
    conditions = {
        ALL: sa.true(),
        TIMESTREAMS: action == TIMESTREAMS,
        SMURF: sa.or_(action.is_(None), action != TIMESTREAMS),
    }
    if archive_name not in conditions:
        raise ConfigError(f"--archive-name {archive_name}: give one of {', '.join(conditions)}")
    return conditions[archive_name]
