"""Unpacks wheels into a folder and runs the GIL probe on what they contain.

    unpack.py PROBE FOLDER WHEEL...
"""

import os
import sys
import zipfile

probe, folder, *wheels = sys.argv[1:]
for wheel in wheels:
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            first, _, rest = member.filename.partition("/")
            if first.endswith(".data"):
                scheme, _, rest = rest.partition("/")
                if scheme not in ("purelib", "platlib"):
                    continue
                member.filename = rest
            if member.filename:
                archive.extract(member, folder)
# The processes that the probe starts inherit it.
os.environ["PYTHONPATH"] = folder
os.execv(sys.executable, [sys.executable, probe])
