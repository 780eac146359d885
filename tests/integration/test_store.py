"""
A store whose process is killed, at moments that nobody chose.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from meshproxy.controlplane.store.sqlite import SQLiteJournal

_WRITER = """
import sys
from meshproxy.controlplane.store.sqlite import SQLiteJournal
from meshproxy.controlplane.store.values import Commit, Entry, Key, Written

journal = SQLiteJournal(sys.argv[1])
revision = journal.recover().revision
while True:
    revision += 1
    entry = Entry(Key("c", "n", str(revision % 7)), {"n": revision}, revision, revision)
    journal.append([Commit(revision, 0.0, "ann", "", [Written(entry.key, None, entry)])])
    if revision % 10 == 0:
        journal.compact(revision - 5)
    sys.stdout.write(f"{revision}\\n")
    sys.stdout.flush()
"""


class KillTests(SynchronousTestCase):
    """
    C{kill -9} loses nothing that was acknowledged.
    """

    def test_kill(self) -> None:
        """
        Time after time: what the writer acknowledged is there when the file is opened again, and the file is whole.
        """
        path = Path(self.mktemp())
        for lines in (1, 3, 17, 40, 59):
            writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(lines)]
            writer.send_signal(signal.SIGKILL)
            rest, _ = writer.communicate()
            acknowledged += [int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
            journal = SQLiteJournal(path)
            recovered = journal.recover()
            journal.close()
            self.assertIn(recovered.revision - acknowledged[-1], (0, 1))
            newest = {entry.key.name: entry.revision for entry in recovered.entries}
            wanted = range(max(1, recovered.revision - 6), recovered.revision + 1)
            self.assertEqual(newest, {str(revision % 7): revision for revision in wanted})
