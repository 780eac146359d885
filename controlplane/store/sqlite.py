# -*- test-case-name: tests.controlplane.store.test_sqlite -*-
"""
A journal in one SQLite file, the embedded default.

Each batch of commits is one transaction, on the disk before it is acknowledged (C{synchronous=FULL}): a process that is
killed, or a machine that loses its power, loses nothing that was acknowledged. One process owns the file; a second
one is refused.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

from meshproxy.controlplane.store.journal import Recovered
from meshproxy.controlplane.store.values import Commit, Entry, Key, StoreError, Written, decode, encode

__all__ = ["SQLiteJournal"]

_VERSION = 1

# A change holds what it wrote; what was there before is found in an earlier change, or in "base", which holds what the
# forgotten ones made.
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE commits (
    revision INTEGER PRIMARY KEY, time REAL NOT NULL, author TEXT NOT NULL, message TEXT NOT NULL
);
CREATE TABLE changes (
    revision INTEGER NOT NULL, position INTEGER NOT NULL,
    collection TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    document TEXT,
    PRIMARY KEY (revision, position)
) WITHOUT ROWID;
CREATE TABLE base (
    collection TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    document TEXT NOT NULL, revision INTEGER NOT NULL, created INTEGER NOT NULL,
    PRIMARY KEY (collection, namespace, name)
) WITHOUT ROWID;
INSERT INTO meta VALUES ('compacted', 0), ('revision', 0);
"""

_Entries = dict[Key, Entry]


class SQLiteJournal:
    """
    See the module.
    """

    blocks = True

    def __init__(self, path: str | Path) -> None:
        """
        Open the file, or make it, readable by its owner alone.

        @raise StoreError: If it cannot be opened, belongs to a newer program, or another process has it.
        """
        self._path = str(path)
        try:
            # SQLite would make it with the umask's permissions.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}") from error
        # One thread at a time uses it, not always the same one.
        self._database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._open()
        except sqlite3.Error as error:
            self._database.close()
            if "locked" in str(error):
                raise StoreError(f"{self._path}: another process has this store open") from error
            raise StoreError(f"{self._path}: {error}") from error
        except StoreError:
            self._database.close()
            raise

    def _open(self) -> None:
        run = self._database.execute
        run("PRAGMA locking_mode=EXCLUSIVE")
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run("BEGIN EXCLUSIVE")
        (version,) = run("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                run(statement)
            run(f"PRAGMA user_version={_VERSION}")
        run("COMMIT")
        if version > _VERSION:
            raise StoreError(f"{self._path}: written by a newer version of this program ({version}, not {_VERSION})")

    def recover(self) -> Recovered:
        """
        See L{IJournal.recover}.
        """
        try:
            return self._recover()
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _recover(self) -> Recovered:
        run = self._database.execute
        meta = dict(run("SELECT name, value FROM meta"))
        entries: _Entries = {}
        for collection, namespace, name, document, revision, created in run("SELECT * FROM base"):
            key = Key(collection, namespace, name)
            entries[key] = Entry(key, decode(document), revision, created)
        rows = run(
            "SELECT revision, time, author, message, collection, namespace, name, document"
            " FROM commits JOIN changes USING (revision) ORDER BY revision, position"
        )
        commits = []
        for (revision, time, author, message), held in groupby(rows, lambda row: tuple(row[:4])):
            changes = [_replay(entries, revision, Key(*row[4:7]), row[7]) for row in held]
            commits.append(Commit(revision, time, author, message, changes))
        return Recovered(list(entries.values()), commits, meta["compacted"], meta["revision"])

    def append(self, commits: Sequence[Commit]) -> None:
        """
        See L{IJournal.append}.
        """
        with closing(self._database.cursor()) as cursor, self._transaction():
            for commit in commits:
                cursor.execute(
                    "INSERT INTO commits VALUES (?, ?, ?, ?)",
                    (commit.revision, commit.time, commit.author, commit.message),
                )
                cursor.executemany("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)", _rows(commit))
            cursor.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (commits[-1].revision,))

    def compact(self, revision: int) -> None:
        """
        See L{IJournal.compact}. What the forgotten commits made goes into the base.
        """
        with self._transaction():
            run = self._database.execute
            rows = run(
                "SELECT revision, collection, namespace, name, document FROM changes"
                " WHERE revision <= ? ORDER BY revision, position",
                (revision,),
            ).fetchall()
            for made, *key, document in rows:
                if document is None:
                    run("DELETE FROM base WHERE collection = ? AND namespace = ? AND name = ?", key)
                else:
                    run(
                        "INSERT INTO base VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
                        " SET document = excluded.document, revision = excluded.revision",
                        (*key, document, made, made),
                    )
            run("DELETE FROM changes WHERE revision <= ?", (revision,))
            run("DELETE FROM commits WHERE revision <= ?", (revision,))
            run("UPDATE meta SET value = ? WHERE name = 'compacted'", (revision,))

    def close(self) -> None:
        """
        See L{IJournal.close}.
        """
        self._database.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._database)


class _Transaction:
    """
    All that happens within a C{with} is written, or none of it.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        if kind is None:
            try:
                self._database.execute("COMMIT")
                return
            except sqlite3.Error:
                self._rollback()
                raise
        self._rollback()

    def _rollback(self) -> None:
        # After a full disk SQLite has rolled back already.
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")


def _rows(commit: Commit) -> list[tuple[object, ...]]:
    return [
        (commit.revision, position, *written.key, None if written.after is None else encode(written.after.document))
        for position, written in enumerate(commit.changes)
    ]


def _replay(entries: _Entries, revision: int, key: Key, document: str | None) -> Written:
    before = entries.get(key)
    if document is None:
        entries.pop(key, None)
        return Written(key, before, None)
    after = Entry(key, decode(document), revision, revision if before is None else before.created)
    entries[key] = after
    return Written(key, before, after)
