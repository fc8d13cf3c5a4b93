#!/usr/bin/env python3
"""What every checked endpoint does with a task: it adds a line to the file in the payload, waits, and returns the payload."""
import json
import sys
import time

payload = sys.stdin.read()
task = json.loads(payload)
with open(task["file"], "a") as runs:
    runs.write("run\n")
time.sleep(task["ms"] / 1000)
sys.stdout.write(payload)
