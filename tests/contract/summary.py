"""Tells what was asked and answered, and fails where an operation never succeeded: then it was not tested."""

import collections
import json
import sys

# A WebSocket, which schemathesis can't open: what it answers else is tested here, the rest in tests/access/.
NEVER = {"GET /v1/workspaces/{id}/terminals/{tid}"}

with open(sys.argv[1], encoding="utf-8") as file:
    report = json.load(file)
with open(sys.argv[2], encoding="utf-8") as file:
    paths = json.load(file)["paths"]

methods = ("get", "post", "put", "patch", "delete")
operations = {f"{m.upper()} {path}" for path, item in paths.items() for m in methods if m in item}
answers = {name: collections.Counter(report["answers"].get(name, {})) for name in operations}
kinds = collections.Counter()
for statuses in answers.values():
    for status, count in statuses.items():
        kinds[f"{status[0]}xx"] += count
calls = sum(kinds.values())
other = sum(sum(s.values()) for name, s in report["answers"].items() if name not in operations)
shares = ", ".join(f"{count} {kind} ({100 * count // calls} %)" for kind, count in sorted(kinds.items()))
print(
    f"{len(operations)} operations, {calls} calls: {shares}; {other} calls with other methods; "
    f"{report['seconds']:.0f} s"
)
untouched = sorted(n for n in operations - NEVER if not any(status[0] == "2" for status in answers[n]))
for name in untouched:
    print(f"never answered with success: {name}: {dict(answers[name])}")
sys.exit(1 if untouched or "5xx" in kinds else 0)
