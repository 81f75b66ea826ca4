"""What schemathesis can't know: ids that exist, and requests that would never end. Counts what was answered."""

import atexit
import collections
import json
import os
import re
import time

import requests
import schemathesis

URL = os.environ["WHARF_CONTRACT_URL"]
REPORT = os.environ["WHARF_CONTRACT_REPORT"]
SPEC = {"image": "wharf/demo:latest", "network": "none"}
# How many sessions and workspaces of generated requests are there at once.
KEPT = 40
# How many containers of their own generated sessions may start.
INLINE = 4
# The workspaces that generated requests may not stop or delete.
STANDING = ("stage", "busy", "moved")
# How long something staged may take.
PATIENCE = 30


class Stage:
    """The API, asked for what the next generated request needs. What it asks is not counted."""

    def __init__(self):
        self.http = requests.Session()
        self.http.headers["Authorization"] = "Bearer " + os.environ["WHARF_CONTRACT_TOKEN"]
        self.http.trust_env = False
        self.made = collections.deque()
        self.numbers = collections.Counter()

    def ask(self, method, path, body=None, fine=(200, 201, 202, 204)):
        answer = self.http.request(method, URL + path, json=body, timeout=60)
        if answer.status_code not in fine:
            raise RuntimeError(f"the stage can't be set: {method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def next(self, name):
        self.numbers[name] += 1
        return self.numbers[name]

    def workspace(self, name):
        # One that a generated request made anew has another spec.
        if self.ask("GET", f"/v1/workspaces/{name}", fine=(200, 404)).get("code") == "workspace_not_found":
            self.ask("POST", "/v1/workspaces", SPEC | {"name": name})
        return name

    def session(self, key=None, workspace="stage"):
        self.workspace(workspace)
        body = {"agent": "demo", "workspace": workspace}
        return self.ask("POST", "/v1/sessions", body | ({"key": key} if key else {}))

    def known(self):
        """The same session by each of its names."""
        session = self.session("contract:known")
        names = [session["id"], session["key"], session.get("agent_session_id") or session["id"]]
        return names[self.next("known") % len(names)]

    def closed(self):
        """One that is closed after a turn: its streams end."""
        for session in self.ask("GET", "/v1/sessions?closed=true&status=closed&app=closed")["items"]:
            return session["id"]
        session = self.session("closed:one")["id"]
        self.ask("POST", f"/v1/sessions/{session}/prompts?wait=30s", {"content": "echo hello"})
        self.ask("DELETE", f"/v1/sessions/{session}")
        return session

    def pending(self):
        """A prompt that waits behind a turn that lasts."""
        session = self.session("contract:busy", "busy")
        if session["status"] != "running":
            self.ask("POST", f"/v1/sessions/{session['id']}/prompts", {"content": "slow 100000"})
        queued = self.ask("POST", f"/v1/sessions/{session['id']}/prompts", {"content": "echo later"})
        return session["id"], queued["id"]

    def asking(self):
        """A permission that an agent asks for."""
        session = self.session("contract:asking", "busy")["id"]
        path = f"/v1/sessions/{session}/permissions"
        deadline = time.monotonic() + PATIENCE
        items = self.ask("GET", path)["items"]
        if not items:
            self.ask("POST", f"/v1/sessions/{session}/prompts", {"content": "ask true"})
        while not items:
            if time.monotonic() > deadline:
                raise RuntimeError("the demo agent does not ask")
            time.sleep(0.02)
            items = self.ask("GET", path)["items"]
        return session, items[0]["id"]

    def terminal(self):
        body = {"argv": ["/bin/sh", "-c", "sleep 1000"], "pty": False}
        return self.ask("POST", "/v1/workspaces/stage/terminals", body)["id"]

    def token(self):
        name = f"spare-{self.next('token')}"
        self.ask("POST", "/v1/tokens", {"name": name, "scope": "read"})
        return name

    def file(self):
        self.workspace("stage")
        path = "/v1/workspaces/stage/files?path=contract.txt"
        answer = self.http.put(URL + path, data=b"hello", timeout=60)
        if answer.status_code != 200:
            raise RuntimeError(f"the stage can't be set: PUT {path}: {answer.status_code} {answer.text}")
        return "contract.txt"

    def owns(self, operation, case):
        """Whether a generated request would take away what others stand on: it found it in a list."""
        method, path = operation
        if method == "GET" or not path.startswith("/v1/workspaces/{id}"):
            return False
        named = str((case.path_parameters or {}).get("id", ""))
        if not named.startswith("ws_"):
            return named in STANDING
        view = self.ask("GET", "/v1/workspaces/" + named, fine=(200, 400, 404))
        return view.get("name") in STANDING

    def keep(self, kind, name):
        """Remembers what a generated request made, and lets go of the oldest."""
        self.made.append((kind, name))
        while len(self.made) > KEPT:
            kind, name = self.made.popleft()
            query = "?purge=true" if kind == "sessions" else ""
            self.ask("DELETE", f"/v1/{kind}/{name}{query}", fine=(200, 204, 404))


STAGE = Stage()
STAGE.file()


def known_session(_case):
    return {"id": STAGE.known()}


def changed_session(_case):
    return {"id": STAGE.session("contract:changed", "moved")["id"]}


def listened_session(case):
    # The stream of a closed session ends by itself; any other would last for ever.
    if STAGE.next("listened") % 2:
        case.headers = {**(case.headers or {}), "Accept": "text/event-stream"}
        return {"id": STAGE.closed()}
    return {"id": STAGE.known()}


def pending_prompt(_case):
    session, n = STAGE.pending()
    return {"id": session, "n": n}


def asked_permission(case):
    session, permission = STAGE.asking()
    if isinstance(case.body, dict) and case.body.keys() & {"kind", "option_id"}:
        case.body = {"kind": "allow_once"}
    return {"id": session, "pid": permission}


def read_file(case):
    case.query = {**(case.query or {}), "path": STAGE.file()}
    return {"id": "stage"}


def written_file(case):
    case.query = {**(case.query or {}), "path": f"written/{STAGE.next('written')}"}
    return {"id": "stage"}


def started_terminal(case):
    if isinstance(case.body, dict) and "argv" in case.body:
        case.body = {**case.body, "argv": ["/bin/sh", "-c", "exit 0"], "cwd": "/workspace", "env": {}}
    return {"id": "stage"}


# For each operation with ids: what its request is given instead of generated ones, and every how many requests.
REAL = {
    ("GET", "/v1/sessions/{id}"): (known_session, 1.3),
    ("PATCH", "/v1/sessions/{id}"): (changed_session, 1.3),
    ("DELETE", "/v1/sessions/{id}"): (lambda _: {"id": STAGE.session()["id"]}, 2),
    ("POST", "/v1/sessions/{id}/restore"): (changed_session, 3),
    ("POST", "/v1/sessions/{id}/reset"): (changed_session, 3),
    ("POST", "/v1/sessions/{id}/recreate"): (changed_session, 2),
    ("POST", "/v1/sessions/{id}/cancel"): (known_session, 1.3),
    ("GET", "/v1/sessions/{id}/events"): (listened_session, 1.3),
    ("GET", "/v1/sessions/{id}/prompts"): (known_session, 1.3),
    ("POST", "/v1/sessions/{id}/prompts"): (known_session, 1.3),
    ("DELETE", "/v1/sessions/{id}/prompts/{n}"): (pending_prompt, 1.5),
    ("GET", "/v1/sessions/{id}/permissions"): (known_session, 1.3),
    ("POST", "/v1/sessions/{id}/permissions/{pid}"): (asked_permission, 1.5),
    ("GET", "/v1/workspaces/{id}"): (lambda _: {"id": "stage"}, 1.3),
    ("DELETE", "/v1/workspaces/{id}"): (lambda _: {"id": STAGE.workspace(f"gone-{STAGE.next('gone')}")}, 1.5),
    ("POST", "/v1/workspaces/{id}/start"): (lambda _: {"id": STAGE.workspace("lifecycle")}, 3),
    ("POST", "/v1/workspaces/{id}/stop"): (lambda _: {"id": STAGE.workspace("lifecycle")}, 3),
    ("POST", "/v1/workspaces/{id}/recreate"): (lambda _: {"id": STAGE.workspace("lifecycle")}, 4),
    ("GET", "/v1/workspaces/{id}/logs"): (lambda _: {"id": "stage"}, 1.3),
    ("GET", "/v1/workspaces/{id}/files"): (read_file, 1.5),
    ("PUT", "/v1/workspaces/{id}/files"): (written_file, 1.5),
    ("GET", "/v1/workspaces/{id}/terminals"): (lambda _: {"id": "stage"}, 1.3),
    ("POST", "/v1/workspaces/{id}/terminals"): (started_terminal, 1.5),
    ("DELETE", "/v1/workspaces/{id}/terminals/{tid}"): (lambda _: {"id": "stage", "tid": STAGE.terminal()}, 1.5),
    ("POST", "/v1/tokens/{name}/rotate"): (lambda _: {"name": STAGE.token()}, 1.5),
    ("DELETE", "/v1/tokens/{name}"): (lambda _: {"name": STAGE.token()}, 1.5),
}


def new_session(case):
    body = dict(case.body)
    body["agent"] = "demo"
    if not isinstance(body.get("workspace"), dict):
        body["workspace"] = "stage"
    elif STAGE.next("inline") <= INLINE:
        body["workspace"] = SPEC
    if isinstance(body.get("cwd"), str):
        body["cwd"] = "/workspace"
    body.pop("mcp_servers", None)
    return body


def new_workspace(case):
    # What the machine has: an image, a network, no disk quotas and no mounts.
    body = {name: value for name, value in case.body.items() if name not in ("disk", "mounts", "repo", "setup")}
    return body | SPEC | {"cpus": 0.5}


def changed_workspace(case):
    fine = ("env", "labels", "pids", "memory")
    return {name: value for name, value in case.body.items() if name in fine} | {"cpus": 0.5}


# Bodies that are made true of this machine, for two requests of three.
TRUE = {
    ("POST", "/v1/sessions"): new_session,
    ("POST", "/v1/workspaces"): new_workspace,
    ("POST", "/v1/workspaces/{id}/recreate"): changed_workspace,
}

# What would wait for what never comes: (operation, parameter), and what is sent instead (None: nothing).
ENDLESS = {
    ("GET", "/v1/workspaces/{id}/logs", "follow"): ("^(true|True|1|)$", None),
    ("POST", "/v1/sessions/{id}/prompts", "wait"): ("^[0-9]+(ms|s|m)?$", "300ms"),
}


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = (case.method.upper(), case.path)
    valid = case.meta is None or case.meta.generation.mode.is_positive
    if operation in REAL:
        make, every = REAL[operation]
        n = STAGE.next(operation)
        if int(n / every) != int((n - 1) / every) or STAGE.owns(operation, case):
            case.path_parameters = {**(case.path_parameters or {}), **make(case)}
    if operation in TRUE and valid and isinstance(case.body, dict) and STAGE.next(operation) % 3:
        case.body = TRUE[operation](case)
    for (method, path, name), (taken, instead) in ENDLESS.items():
        if operation == (method, path) and re.match(taken, str((case.query or {}).get(name, "-"))):
            query = {key: value for key, value in case.query.items() if key != name}
            case.query = query | ({name: instead} if instead else {})


ANSWERS = collections.defaultdict(collections.Counter)
BEGUN = time.monotonic()


@schemathesis.hook
def after_call(context, case, response):
    operation = (case.method.upper(), case.path)
    ANSWERS[" ".join(operation)][response.status_code] += 1
    if operation == ("POST", "/v1/sessions") and response.status_code == 201:
        STAGE.keep("sessions", response.json()["id"])
    if operation == ("POST", "/v1/workspaces") and response.status_code == 201:
        STAGE.keep("workspaces", response.json()["id"])
    if operation == ("POST", "/v1/workspaces/{id}/terminals") and response.status_code == 201:
        view = response.json()
        STAGE.ask("DELETE", f"/v1/workspaces/{view['workspace']}/terminals/{view['id']}", fine=(200, 404))


@atexit.register
def report():
    with open(REPORT, "w", encoding="utf-8") as file:
        json.dump({"answers": ANSWERS, "seconds": time.monotonic() - BEGUN}, file)
