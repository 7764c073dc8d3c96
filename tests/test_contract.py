"""The tap's requests and the sandbox's responses conform to sandbox/openapi.yaml."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import requests
import yaml
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate as validate_document
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from sandbox.data import csv_file
from sandbox.server import API_TOKEN, ENVIRONMENT_ID, Fault, SandboxExport
from tests.conftest import ROOT

if TYPE_CHECKING:
    from sandbox.server import RecordedRequest, Sandbox
    from tests.conftest import Tap

TEXT = (ROOT / "sandbox" / "openapi.yaml").read_text()
# Absolute references, so that each schema can be used on its own.
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT.replace('"#/', '"urn:openapi#/'))
REGISTRY: Any = Registry().with_resource("urn:openapi", DRAFT202012.create_resource(DOCUMENT))


def validate(schema: dict[str, Any], value: Any) -> None:
    Draft202012Validator(schema, registry=REGISTRY, format_checker=FormatChecker()).validate(value)


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        name = node["$ref"].removeprefix("urn:openapi#/").split("/")
        node = DOCUMENT
        for part in name:
            node = node[part]
    return node


def check(request: RecordedRequest) -> str:
    """Validate a request and its response; return the operation and the status."""
    parts = urlsplit(request.path)
    patterns = {
        "/api/v0" + re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path): item for path, item in DOCUMENT["paths"].items()
    }
    matches = [(item, match) for pattern, item in patterns.items() if (match := re.fullmatch(pattern, parts.path))]
    assert len(matches) == 1, parts.path
    path_item, match = matches[0]
    operation = path_item[request.method.lower()]
    for parameter in map(resolve, path_item["parameters"]):
        validate(parameter["schema"], match[parameter["name"]])
    query = {p["name"]: p["schema"] for p in map(resolve, operation.get("parameters", []))}
    for name, value in parse_qsl(parts.query):
        validate(query[name], value)
    if request.status < 400:
        assert request.headers["Authorization"] == f"Bearer {API_TOKEN}"
    if "requestBody" in operation and request.status < 400:
        validate(operation["requestBody"]["content"]["application/json"]["schema"], json.loads(request.body))
    else:
        assert not request.body or request.method == "POST"
    response = resolve(operation["responses"][str(request.status)])
    if content := response.get("content"):
        validate(content["application/json"]["schema"], json.loads(request.response_body))
    return f"{operation['operationId']} {request.status}"


def test_the_document_is_valid() -> None:
    validate_document(yaml.safe_load(TEXT))


def test_tap_and_sandbox_conform_to_the_document(sandbox: Sandbox, tap: Tap) -> None:
    sandbox.add("users", status="failed")
    sandbox.add("users", csv_file("users", 3), has_url=False)
    sandbox.add("visits", csv_file("visits", 3), status="pending", polls_left=99)
    sandbox.export_factory = lambda model: SandboxExport(
        model, csv_file(model, 3), polls_left=2, has_url=model == "users"
    )
    tap()
    sandbox.faults = [
        Fault("list", status=429, headers={"Retry-After": "0"}),
        Fault("create", status=500, body=b'{"error": "x"}'),
    ]
    tap(request_exports=True)
    tap(export_ids=["99999999-9999-4999-8999-999999999999"])
    tap(environment_id="99999999-9999-4999-8999-999999999999")
    url = f"{sandbox.api_url}/environments/{ENVIRONMENT_ID}/exports"
    requests.post(url, json={"model": "wallets"}, headers={"Authorization": f"Bearer {API_TOKEN}"}, timeout=5)
    requests.get(
        f"{url}/99999999-9999-4999-8999-999999999999/download",
        headers={"Authorization": f"Bearer {API_TOKEN}"},
        timeout=5,
    )
    requests.get(url, timeout=5)
    sandbox.create_allowed = False
    tap(request_exports=True)
    checked = {check(request) for request in sandbox.requests if request.kind != "file"}
    assert checked == {
        "listExports 200", "listExports 401", "listExports 403", "listExports 429",
        "createExport 201", "createExport 403", "createExport 422", "createExport 500",
        "getExport 200", "getExport 404", "downloadExport 302", "downloadExport 404",
    }  # fmt: skip
