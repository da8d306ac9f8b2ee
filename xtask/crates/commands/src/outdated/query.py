"""Says what the package index has of projects, and which addresses exist; both are asked as JSON on standard input.

pip itself asks, so that its index, its credentials, proxies and certificates hold here too.
"""

import hashlib
import json
import logging
import sys
import time
from urllib.parse import urlsplit

from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version
from pip._internal.commands import create_command
from pip._internal.index.collector import parse_links
from pip._internal.models.link import Link

# No file whose digest is wanted is larger, in bytes, or takes longer, in seconds.
LARGEST = 1 << 30
LONGEST = 1800


def version_of(filename: str) -> Version | None:
    parse = parse_wheel_filename if filename.endswith(".whl") else parse_sdist_filename
    try:
        return parse(filename)[1]
    except ValueError:  # an egg, an installer for Windows, or a name from before there were rules
        return None


def releases(collector, project: str, pinned: list[str]) -> list[dict]:
    """The versions from a pinned one on, oldest first, with their files; `withdrawn` is what PEP 592 calls yanked."""
    pages = (collector.fetch_response(Link(url)) for url in collector.search_scope.get_index_urls_locations(project))
    found: dict[Version, list[dict]] = {}
    for page in filter(None, pages):
        for link in parse_links(page):
            version = version_of(link.filename)
            if version is not None and link.hash_name == "sha256":
                file = {"name": link.filename, "sha256": link.hash, "withdrawn": link.is_yanked}
                found.setdefault(version, []).append(file)
    known = [version for version, files in found.items() if any(file["sha256"] in pinned for file in files)]
    return [
        {"version": str(version), "stable": not version.is_prerelease, "files": files}
        for version, files in sorted(found.items())
        if version >= min(known, default=version)
    ]


def exists(session, url: str, deaf: dict[str, str]) -> bool | str:
    """Whether an address has something, or why that could not be asked; a host that is out of reach is asked once."""
    host = urlsplit(url).netloc
    if host not in deaf:
        try:
            answer = session.head(url, allow_redirects=True, timeout=20)
        except Exception as error:  # whatever it was, the table says it
            deaf[host] = type(error).__name__
        else:
            return answer.ok if answer.ok or answer.status_code in (404, 410) else f"answer {answer.status_code}"
    return deaf[host]


def sha256(session, url: str) -> str:
    answer = session.get(url, stream=True, timeout=60)
    answer.raise_for_status()
    if url.startswith("https:"):
        check_https(url, answer)
    digest = hashlib.sha256()
    size, end = 0, time.monotonic() + LONGEST
    for chunk in answer.iter_content(1 << 16):
        digest.update(chunk)
        size += len(chunk)
        if size > LARGEST or time.monotonic() > end:
            raise SystemExit(f"{url} is larger than {LARGEST} bytes, or took longer than {LONGEST} s")
    return digest.hexdigest()


def check_https(url: str, answer) -> None:
    """Refuse an answer that came, by redirects, over plain HTTP."""
    if not all(step.url.startswith("https:") for step in [*answer.history, answer]):
        raise SystemExit(f"{url} redirects to plain HTTP")


def is_plain(url: str) -> bool:
    """Whether anybody on the way could have changed what an index sends."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    asked = json.load(sys.stdin)
    command = create_command("download")
    # A host that is out of reach is no news after the second try.
    options, _ = command.parse_args(["--retries", "1"])
    deaf: dict[str, str] = {}
    with command.main_context():
        session = command.get_default_session(options)
        collector = command._build_package_finder(options, session)._link_collector
        answer = {
            "projects": {name: releases(collector, name, pinned) for name, pinned in asked["projects"].items()},
            "addresses": {url: exists(session, url, deaf) for url in asked["addresses"]},
            "digests": {url: sha256(session, url) for url in asked["digests"]},
            "plain_index": any(is_plain(url) for url in collector.search_scope.index_urls),
        }
    json.dump(answer, sys.stdout)


main()
