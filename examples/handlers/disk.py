#!/usr/bin/env python3
"""Reports how full file systems are; exits with 3 if one is above the limit."""
import json
import os
import shutil
import sys

events = os.fdopen(int(os.environ["TASKER_FD"]), "w", buffering=1)


def report(**event):
    print(json.dumps(event), file=events)


task = json.load(sys.stdin)  # {"paths": ["/", "/var"], "limit": 90}
used = {}
for path in task["paths"]:
    usage = shutil.disk_usage(path)
    used[path] = round(100 * usage.used / usage.total)
    report(progress={"done": len(used), "total": len(task["paths"]), "message": path})
    report(log={"level": "info", "message": f"{path} is {used[path]} % full"})
    report(partial=used)
print(json.dumps(used))
full = [path for path in used if used[path] > task["limit"]]
if full:
    sys.exit(print("too full:", *full, file=sys.stderr) or 3)
