"""A long-lived handler for the tests: the payload says how to misbehave."""
import json
import os
import signal
import subprocess
import sys
import time

waiting = []


def tell(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def serve(request):
    id, payload = request["id"], request["payload"]
    do = payload["do"]
    if do == "echo":
        tell(id=id, result={"request": request, "pid": os.getpid()})
    elif do == "tell":
        tell(id=id, progress={"done": 1, "total": 3, "message": "one"})
        tell(id=id, log={"level": "warn", "message": "careful"})
        tell(id=id, partial={"so far": 1})
        print("on standard error", file=sys.stderr, flush=True)
        tell(id=id, result=None)
    elif do == "answer":
        for line in payload["lines"]:
            sys.stdout.write(line.replace("ID", id) + "\n")
        sys.stdout.flush()
    elif do == "rubbish":
        for n in range(payload["lines"]):
            sys.stdout.write("rubbish %d\n" % n)
        tell(id=id, result=os.getpid())
    elif do == "flood":
        for _ in range(1 << 14):
            sys.stdout.write("x" * (1 << 16))
        tell(id=id, result="too much")
    elif do == "exit":
        print("no", "good", file=sys.stderr, flush=True)
        sys.exit(payload["code"])
    elif do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "wait":
        tell(id=id, progress={"done": 0, "total": 0, "message": "waiting"})
        waiting.append(id)
    elif do == "release":
        for other in waiting:
            tell(id=other, result="released")
        waiting.clear()
        tell(id=id, result=None)
    elif do == "hang":
        child = subprocess.Popen(["sleep", "1000"])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tell(id=id, progress={"done": child.pid, "total": 0, "message": "hanging"})
        time.sleep(1000)
    elif do == "deaf":
        os.close(0)
        tell(id=id, result="deaf")
        time.sleep(1000)


for line in sys.stdin:
    message = json.loads(line)
    if "cancel" in message:
        waiting.remove(message["cancel"])
        tell(id=message["cancel"], error={"message": "gave up: " + message["reason"]})
    else:
        serve(message)
if len(sys.argv) > 1 and sys.argv[1] == "stay":
    time.sleep(1000)
