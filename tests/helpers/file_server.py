"""A server of files on a free port of this machine: plain files, and a hub with one repository for the hub's client."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


@dataclass
class Served:
    """What is served: path -> content. The next answers with a body of `cut` bytes or more break off there."""

    files: dict[str, bytes]
    address: str = ""
    cut: int | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)  # method and path, ranges too


@contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Served]:
    served = Served(files=dict(files))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            wanted = self.headers.get("Range", "")
            served.asked.append((self.command, self.path + (f" {wanted}" if wanted else "")))
            content = served.files.get(self.path.partition("?")[0])
            if content is None:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.send_header("X-Error-Code", "RepoNotFound")  # as the hub does
                self.end_headers()
                return
            start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if not body:
                return
            if served.cut is not None and len(content) - start > served.cut:
                self.wfile.write(content[start : start + served.cut])
                served.cut = None
                self.close_connection = True
                return
            self.wfile.write(content[start:])

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hub_files(repository: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """The answers of a hub with one repository: files of 1000 bytes or more are kept as git-lfs does."""
    entries, tree = [], []
    for name, content in files.items():
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        sha256 = hashlib.sha256(content).hexdigest()
        lfs = {"sha256": sha256, "size": len(content), "pointerSize": 134} if len(content) >= 1000 else None
        entries.append({"rfilename": name, "size": len(content), "blobId": blob, "lfs": lfs})
        kept = {"lfs": {"oid": sha256, "size": len(content), "pointerSize": 134}} if lfs else {}
        tree.append({"type": "file", "path": name, "size": len(content), "oid": blob} | kept)
    info = json.dumps({"id": repository, "sha": COMMIT, "siblings": entries}).encode()
    listed = {f"/api/models/{repository}/revision/{name}": info for name in ("main", COMMIT)}
    listed[f"/api/models/{repository}/tree/{COMMIT}"] = json.dumps(tree).encode()
    return listed | {f"/{repository}/resolve/{COMMIT}/{name}": content for name, content in files.items()}
