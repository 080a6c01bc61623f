"""A small replicated store to put to the test: notes by name, kept in memory.

The first node has the truth. The others pass writes on to it and answer reads from copies that it
sends them a moment later, which is where they go wrong. `?fresh=1` passes a read on as well.

    notes.py NAME ADDRESS NAME=ADDRESS,...
"""

import http.client
import http.server
import json
import queue
import sys
import threading
import urllib.parse

PORT = 8000
name, address = sys.argv[1], sys.argv[2]
members = dict(member.split("=") for member in sys.argv[3].split(","))
first = next(iter(members))
notes, lock = {}, threading.Lock()
queues = {other: queue.Queue() for other in members if other != name}


def ask(node, method, path, body=b""):
    """One request to another node: status and body."""
    connection = http.client.HTTPConnection(members[node], PORT, timeout=1)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def copy(other):
    """Sends what is written here to another node, in order, until each arrived."""
    while True:
        key, value = queues[other].get()
        while True:
            try:
                ask(other, "PUT", f"/copy/{key}", value.encode())
                break
            except OSError:
                pass


def write(key, value):
    notes[key] = value
    for waiting in queues.values():
        waiting.put((key, value))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, **fields):
        self.send(status, json.dumps(fields).encode())

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self):
        url = urllib.parse.urlsplit(self.path)
        _, what, *rest = url.path.split("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if what == "copy":
            with lock:
                notes[rest[0]] = body.decode()
            return self.answer(200)
        if what == "ready":
            return self.answer(200)
        local = self.command == "GET" and "fresh" not in url.query
        if name != first and not local:
            try:
                return self.send(*ask(first, self.command, self.path, body))
            except OSError as error:
                return self.answer(503, error=f"{first}: {error}")
        key = rest[0]
        with lock:
            now = notes.get(key)
            if self.command == "GET" and now is None:
                return self.answer(404, error="no such note")
            if self.command == "GET":
                return self.answer(200, value=now)
            if self.command == "PUT":
                write(key, body.decode())
                return self.answer(200)
            asked = json.loads(body)
            if now != asked["old"]:
                return self.answer(409, current=now)
            write(key, asked["new"])
            return self.answer(200)

    do_GET = do_PUT = do_POST = handle_any


if name == first:
    for other in queues:
        threading.Thread(target=copy, args=(other,), daemon=True).start()
http.server.ThreadingHTTPServer.request_queue_size = 128
http.server.ThreadingHTTPServer((address, PORT), Handler).serve_forever()
