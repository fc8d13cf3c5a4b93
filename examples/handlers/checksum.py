#!/usr/bin/env python3
"""Computes checksums, as a process that keeps running."""
import hashlib
import json
import os
import sys
import threading

lock = threading.Lock()
stops = {}  # of the running requests, by id


def report(**message):
    with lock:
        print(json.dumps(message), flush=True)


def perform(id, payload, stop):
    try:
        size, done, digest = os.path.getsize(payload["path"]), 0, hashlib.sha256()
        with open(payload["path"], "rb") as file:
            while chunk := file.read(1 << 20):
                if stop.is_set():
                    raise RuntimeError(f"stopped after {done} bytes")
                digest.update(chunk)
                done += len(chunk)
                report(id=id, progress={"done": done, "total": size, "message": "reading"})
        report(id=id, result={"bytes": done, "sha256": digest.hexdigest()})
    except FileNotFoundError as error:
        report(id=id, error={"message": str(error), "code": 2, "permanent": True})
    except Exception as error:
        report(id=id, error={"message": repr(error)})
    finally:
        del stops[id]


for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message:
        if stop := stops.get(message["cancel"]):
            stop.set()
        continue
    id, stop = message["id"], threading.Event()
    stops[id] = stop
    threading.Thread(target=perform, args=(id, message["payload"], stop)).start()
