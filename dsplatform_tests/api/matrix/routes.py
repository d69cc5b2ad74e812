"""Requests made from the description of the API: each parameter and each body has a maker, each route a line that says what it takes.

A new route fails the tests until it has its line here, and makers for what it asks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from urllib.parse import quote

from dsplatform.api.app import create_app
from dsplatform.core.settings import Settings
from dsplatform_tests.api.matrix.world import PASSWORD, Target

API: dict[str, Any] = create_app(Settings.from_env({"DSPLATFORM_DATABASE_URL": "postgresql://x@127.0.0.1/x"})).openapi()

Maker = Callable[[Target], Any]
_numbers = count(1)


def fresh() -> str:
    """A name that nothing has yet."""
    return f"fresh-{next(_numbers):05d}"


@dataclass(frozen=True)
class Line:
    """What a route takes, and what it leaves behind."""

    needs: str | None = None
    """A right on the dataset or the file of the path, or a right of a role. None: whoever is known may."""
    notes: str = ""
    """The action in the audit log when it is done. Empty: the route changes nothing."""
    give: Mapping[str, Maker] = field(default_factory=dict)
    """Other values than the makers', by the names of parameters; `body` is the body."""
    public: bool = False
    """Whether it needs no credential."""
    admin_only: bool = False
    """Whether no right suffices: it takes the role `admin`."""
    session: bool = False
    """Whether it takes a credential of a session."""
    unseen: bool = False
    """Whether who lacks the right is told that the thing does not exist: it is somebody's own."""
    silent: str = ""
    """Why what it changes is not noted."""


def _read(**give: Maker) -> Line:
    return Line("read", give=give)


def _of(right: str, notes: str = "", **give: Maker) -> Line:
    return Line(right, notes, give)


CAPTURED = "what it keeps can be found again at any time"

LINES: dict[str, Line] = {
    "live": Line(public=True),
    "ready": Line(public=True),
    "version": Line(public=True),
    "metrics": _of("operate"),
    "login": Line(None, "session.login", public=True),
    "refresh_session": Line(
        public=True, silent="a session of a quarter of an hour would fill the log; its beginning and its end are noted"
    ),
    "logout": Line(None, "session.end", session=True),
    "me": Line(),
    "change_password": Line(None, "user.password", session=True),
    "list_tokens": Line(),
    "list_tokens of another": _of("users", of=lambda t: t.robot),
    "create_token": Line(None, "token.create"),
    "create_token for some datasets": Line(None, "token.create", {"body": lambda t: {"name": fresh(), "dataset_ids": [t.dataset]}}),
    "create_token of a robot": _of("users", "token.create", body=lambda t: {"name": fresh(), "of": t.robot}),
    "revoke_token": Line("users", "token.revoke", unseen=True),
    "list_users": _of("users"),
    "create_user": _of("users", "user.create"),
    "get_user": _of("users"),
    "change_user": _of("users", "user.deactivate"),
    "set_password": Line("users", "user.password", admin_only=True),
    "list_groups": _of("users"),
    "create_group": _of("users", "group.create"),
    "get_group": _of("users"),
    "delete_group": _of("users", "group.delete"),
    "list_members": _of("users"),
    "add_member": _of("users", "group.join"),
    "remove_member": _of("users", "group.leave", username=lambda t: t.member),
    "list_roles": _of("users"),
    "set_role_rights": _of("users", "role.change"),
    "delete_role": _of("users", "role.delete"),
    "get_usage": _of("operate"),
    "get_dataset_usage": _read(),
    "get_gc_plan": _of("operate"),
    "explain_content": _of("operate"),
    "explain_content by hash": _of("operate", subject=lambda t: t.hash),
    "list_inbox": _of("operate"),
    "list_datasets": Line(),
    "list_datasets by word": Line(give={"search": lambda t: t.word, "total": lambda _: "true"}),
    "list_datasets by label": Line(give={"label": lambda t: t.word, "total": lambda _: "true"}),
    "list_datasets by owner": Line(give={"owner": lambda t: t.owner, "search": lambda t: t.word, "total": lambda _: "true"}),
    "list_datasets after another": Line(give={"after": lambda t: t.slug}),
    "create_dataset": _of("create", "dataset.create"),
    "get_dataset": _read(),
    "get_dataset by slug": _read(dataset=lambda t: t.slug),
    "update_dataset": _of("admin", "dataset.update"),
    "delete_dataset": _of("admin", "dataset.delete"),
    "delete_dataset as a trial": _of("admin", dry_run=lambda _: "true"),
    "change_labels": _of("admin", "dataset.update"),
    "list_deleted_datasets": Line(),
    "restore_dataset": _of("admin", "dataset.restore", dataset=lambda t: t.gone),
    "list_grants": _of("admin"),
    "grant": _of("admin", "permission.grant"),
    "who_can": _of("admin"),
    "revoke": _of("admin", "permission.revoke"),
    "list_file_grants": _of("admin"),
    "grant_file": _of("admin", "permission.grant"),
    "revoke_file_grant": _of("admin", "permission.revoke", grant=lambda t: t.file_grant),
    "list_holdings": Line(),
    "list_holdings of another": _of("users", user=lambda t: t.username),
    "check_permission": _read(dataset=lambda t: str(t.dataset)),
    "check_permission by slug": _read(dataset=lambda t: t.slug),
    "check_permission on a file": _read(file=lambda t: t.file),
    "check_permission of another": _of("admin", dataset=lambda t: t.slug, user=lambda t: t.username),
    "list_protections": _read(),
    "protect_branch": _of("admin", "branch.protect"),
    "unprotect_branch": _of("admin", "branch.unprotect", branch=lambda t: t.held),
    "list_audit_entries": _of("audit"),
    "export_audit_log": _of("audit"),
    "verify_audit_log": _of("audit"),
    "get_retention": _of("admin"),
    "set_retention": _of("admin", "retention.set"),
    "set_retention as a trial": _of("admin", dry_run=lambda _: "true"),
    "remove_retention": _of("admin", "retention.set"),
    "get_schema": _read(),
    "get_arrow_schema": _read(component=lambda t: t.component),
    "get_json_schema": _read(component=lambda t: t.component),
    "get_ddl": _read(component=lambda t: t.component),
    "get_stats": _read(),
    "compare_schemas": _read(),
    "compare_schemas of two datasets": _read(from_dataset=lambda t: t.slug),
    "get_schema_history": _read(),
    "get_hints": _read(),
    "set_hints": _of("admin", "hints.set"),
    "preview_rows": Line("read", give={"component": lambda t: t.component}, silent=CAPTURED),
    "get_contract": _read(),
    "set_contract": _of("admin", "contract.set"),
    "learn_contract": Line("read", silent=CAPTURED),
    "check_contract": Line("read", silent=CAPTURED),
    "list_quarantined": _read(),
    "accept": _of("write", "quarantine.accept"),
    "dismiss": _of("write", "quarantine.dismiss"),
    "get_job": _read(number=lambda _: 3),
    "upload_file": _of("write", "version.commit"),
    "upload_files": _of("write", "version.commit"),
    "list_versions": _read(),
    "get_file": _read(),
    "download_file": _read(path=lambda t: t.component),
    "download_version": _read(),
    "list_branches": _read(),
    "create_branch": _of("write", "branch.create"),
    "update_branch": _of("write", "branch.move"),
    "update_branch by name": _of("write", "branch.rename", body=lambda _: {"name": fresh()}),
    "delete_branch": _of("write", "branch.delete"),
    "list_tags": _read(),
    "create_tag": _of("write", "tag.create"),
    "delete_tag": _of("write", "tag.delete"),
    "merge": _of("write", "version.merge"),
    "make_version": _of("write", "version.commit"),
    "make_version of another's": _of("write", "version.commit", body=lambda t: _taking(t, dataset=t.slug)),
    "diff": _read(),
    "diff of two datasets": _read(from_dataset=lambda t: t.slug),
    "history": _read(),
    "graph": _read(),
    "merge_bases": _read(),
    "ancestry": _read(),
    "get_version": _read(),
    "delete_version": _of("admin", "version.delete"),
    "delete_version as a trial": _of("admin", dry_run=lambda _: "true"),
}
"""By operation, and where one has several ways to be asked, by a word for the way."""

PARAMETERS: dict[str, Maker] = {
    "dataset": lambda t: t.dataset,
    "file": lambda t: t.file,
    "file_id": lambda t: t.file,
    "grant": lambda t: t.grant,
    "token_id": lambda t: t.token,
    "username": lambda t: t.username,
    "group": lambda t: t.group,
    "role": lambda t: t.role,
    "subject": lambda t: t.file,
    "branch": lambda t: t.side,
    "tag": lambda t: t.tag,
    "path": lambda t: f"new/{t.word}",
    "number": lambda _: 5,
    "ref": lambda _: 1,
    "from": lambda _: "2",
    "to": lambda _: "main",
    "ours": lambda _: "3",
    "theirs": lambda _: "4",
    "older": lambda _: "1",
    "younger": lambda _: "3",
    "right": lambda _: "read",
}
"""What is put into a parameter that is needed. One that names nothing is the same whatever the target is."""

OPTIONAL = {
    *("after", "limit", "total", "search", "label", "owner", "right", "of", "user", "dry_run", "create", "decided", "state"),
    *("ref", "to", "from_dataset", "component", "sheet", "columns", "where", "cursor", "format", "spreadsheet", "ranges", "redirect"),
    *("branch", "message", "mode", "expected_head", "first_parent", "dataset", "file"),
    *("by", "action", "object", "since", "until", "head"),
    *("Range", "if-range", "if-match", "if-none-match", "idempotency-key", "content-digest", "repr-digest"),
}
"""What may be left out, and is, unless a line gives it. The tests of hashes and of payloads fill all of them in."""

BODIES: dict[str, Maker] = {
    "Login": lambda _: {"username": "sue", "password": PASSWORD},
    "Refreshing": lambda _: {"refresh_token": "dsr_" + "0" * 40},
    "PasswordChange": lambda _: {"old": PASSWORD, "new": PASSWORD},
    "TokenRequest": lambda _: {"name": fresh()},
    "NewUser": lambda _: {"username": fresh()},
    "UserChange": lambda _: {"is_active": False},
    "PasswordSetting": lambda _: {"password": PASSWORD},
    "NewGroup": lambda _: {"name": fresh()},
    "RoleRights": lambda _: {"rights": ["create"]},
    "NewDataset": lambda _: {"name": fresh()},
    "DatasetChange": lambda _: {"description": fresh()},
    "LabelChange": lambda _: {"add": [fresh()]},
    "Restoring": lambda _: {},
    "NewGrant": lambda _: {"grantee": {"kind": "user", "name": "sue"}, "right": "read"},
    "NewProtection": lambda _: {"demands": "merge"},
    "RetentionRule": lambda _: {"keep_last": 50},
    "Hints": lambda _: {"delimiter": ";"},
    "NewTerms": lambda _: {"policy": "warn"},
    "Check": lambda _: {},
    "Acceptance": lambda _: {"reason": "it is right"},
    "Dismissal": lambda _: {"reason": "it is wrong"},
    "NewPointer": lambda _: {"name": fresh(), "at": "1"},
    "BranchChange": lambda _: {"to": "1", "expected_head": 4},
    "Merge": lambda t: {"theirs": t.side},
    "Change": lambda t: _taking(t),
    "*/*": lambda _: f"id\n{fresh()}\n".encode(),
    "multipart/form-data": lambda _: [("files", (f"{fresh()}.csv", f"id\n{fresh()}\n".encode())) for _ in range(2)],
}
"""By the name of a JSON body's type, or by the type of any other body."""


def _taking(target: Target, **where: str) -> dict[str, Any]:
    return {"take": {f"{fresh()}.csv": {"ref": "1", "name": target.component, **where}}}


@dataclass(frozen=True)
class Request:
    """One request, and of which route."""

    key: str
    method: str
    path: str
    values: Mapping[str, Any]
    """Of the path, the query and the headers, by name."""
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Operation:
    """A way to ask a route."""

    key: str
    method: str
    path: str
    parameters: tuple[Mapping[str, Any], ...]
    body: str | None
    line: Line

    @property
    def mutates(self) -> bool:
        """Whether it changes something."""
        return bool(self.line.notes)

    @property
    def on_object(self) -> bool:
        """Whether its right is one on a dataset or a file."""
        return self.line.needs in {"read", "write", "admin"}

    def makers(self) -> dict[str, Maker]:
        """A maker for each place that is filled in."""
        found: dict[str, Maker] = {}
        for parameter in self.parameters:
            name = parameter["name"]
            if name in self.line.give:
                found[name] = self.line.give[name]
            elif parameter["required"]:
                found[name] = PARAMETERS[name]
        if self.body is not None:
            found["body"] = self.line.give.get("body") or BODIES[self.body]
        return found

    def request(self, values: Mapping[str, Any]) -> Request:
        """The request with these values in its places."""
        path, query, headers = self.path, {}, {}
        for parameter in self.parameters:
            name, value = parameter["name"], values.get(parameter["name"])
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", quote(str(value), safe=""))
            elif value is not None and parameter["in"] == "query":
                query[name] = value
            elif value is not None:
                headers[name] = value
        kwargs: dict[str, Any] = {"params": query, "headers": headers}
        if "body" in values and self.body is not None:
            kwargs[{"*/*": "content", "multipart/form-data": "files"}.get(self.body, "json")] = values["body"]
        return Request(self.key, self.method, path, values, kwargs)

    def on(self, target: Target, **values: Any) -> Request:
        """The request about one target."""
        return self.request({**{name: make(target) for name, make in self.makers().items()}, **values})


def described() -> dict[str, tuple[str, str, Mapping[str, Any]]]:
    """(method, path, description) of each operation."""
    return {
        operation["operationId"]: (method, path, operation)
        for path, methods in API["paths"].items()
        for method, operation in methods.items()
    }


def operations() -> list[Operation]:
    """Every way to ask every route."""
    known = described()
    found = []
    for key, line in LINES.items():
        method, path, operation = known[key.split()[0]]
        found.append(Operation(key, method, path, tuple(operation.get("parameters", ())), body_of(operation), line))
    return found


def body_of(operation: Mapping[str, Any]) -> str | None:
    """The name of the body's type."""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        return str(content["schema"]["$ref"]).rpartition("/")[2] if media == "application/json" else str(media)
    return None


def without(operation: Operation, name: str) -> Operation:
    """The same without a parameter."""
    return replace(operation, parameters=tuple(each for each in operation.parameters if each["name"] != name))
