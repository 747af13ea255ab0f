"""A publisher's server on this machine: it serves bytes with a version and by ranges, or misbehaves as it is told."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalServer:
    """Answers GET for the names in `files`; "redirect/NAME" leads to NAME.

    Attributes:
        files: name -> content; may be changed between requests.
        etag: content -> the version that is told; None tells none.
        piece: bytes of a piece.
        plan: what is done with the next requests, one word each: "whole" (the default), "break" (after a piece the
            connection ends), "stall" (after a piece nothing comes), "no range" (all, whatever was asked for), "any
            version" (a range even of another version than was asked for), or a status such as "503".
        requests: (name, Range header or "") of each.
    """

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.etag = lambda content: f'"{hash(content)}"'
        self.piece = 0
        self.plan: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.released = threading.Event()  # ends stalls
        handler = type("Handler", (_Handler,), {"site": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    site: LocalServer

    def do_GET(self):
        site, name = self.site, self.path.lstrip("/")
        asked = self.headers.get("Range", "")
        site.requests.append((name, asked))
        deed = site.plan.pop(0) if site.plan else "whole"
        if deed.isdigit():
            return self.send_error(int(deed))
        if name.startswith("redirect/"):
            self.send_response(302)
            self.send_header("Location", f"/{name.removeprefix('redirect/')}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if name not in site.files:
            return self.send_error(404)
        content = site.files[name]
        etag, start = site.etag(content), 0
        if asked and deed != "no range" and (deed == "any version" or self.headers.get("If-Range", etag) == etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            return self.send_error(416)
        part = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        if etag is not None:
            self.send_header("ETag", etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(part[: site.piece] if deed in ("break", "stall") else part)
        if deed == "stall":
            self.wfile.flush()
            site.released.wait(20)

    def log_message(self, *_):
        pass
