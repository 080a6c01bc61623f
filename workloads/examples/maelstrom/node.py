#!/usr/bin/env python3
"""A small node that speaks Maelstrom's protocol, with the lin-kv workload.

The first node holds the keys; the others pass requests on to it and its replies back, so that every
operation happens at one place: linearizable, though not available to whom the first node cannot be reached.

With --bug local-read a node answers reads from its own copy, which the first node sends after every write:
what a cut link keeps from it, it does not know, and readers see the past.
"""
import json
import sys

BUG = sys.argv[sys.argv.index("--bug") + 1] if "--bug" in sys.argv else None

me, first, others = None, None, []
store = {}
waiting = {}
next_id = 0


def send(dest, body):
    print(json.dumps({"src": me, "dest": dest, "body": body}), flush=True)


def reply(request, body):
    send(request["src"], {**body, "in_reply_to": request["body"]["msg_id"]})


def error(code, text):
    return {"type": "error", "code": code, "text": text}


def carry_out(body):
    """Does one operation at the first node; returns the reply."""
    key = body["key"]
    kind = body["type"]
    if kind == "read":
        return {"type": "read_ok", "value": store[key]} if key in store else error(20, "no such key")
    if kind == "cas":
        if key not in store:
            return error(20, "no such key")
        if store[key] != body["from"]:
            return error(22, "it is %s" % store[key])
    store[key] = body["to"] if kind == "cas" else body["value"]
    for other in others:
        send(other, {"type": "copy", "key": key, "value": store[key]})
    return {"type": kind + "_ok"}


for line in sys.stdin:
    message = json.loads(line)
    body = message["body"]
    kind = body["type"]
    if kind == "init":
        me, first = body["node_id"], body["node_ids"][0]
        others = [node for node in body["node_ids"] if node != me]
        reply(message, {"type": "init_ok"})
    elif kind == "copy":
        store[body["key"]] = body["value"]
    elif kind == "passed_on":
        send(message["src"], {"type": "answer", "number": body["number"], "answer": carry_out(body["operation"])})
    elif kind == "answer":
        asked = waiting.pop(body["number"], None)
        if asked:
            reply(asked, body["answer"])
    elif kind in ("read", "write", "cas"):
        if me == first or (BUG == "local-read" and kind == "read"):
            reply(message, carry_out(body))
        else:
            next_id += 1
            waiting[next_id] = message
            send(first, {"type": "passed_on", "number": next_id, "operation": body})
    else:
        reply(message, error(10, "no such operation: " + kind))
