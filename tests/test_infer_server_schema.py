"""Whatever the OpenAPI allows, and what it forbids: the service answers as it says, and never fails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from service import Service, model, service


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    weights = str(model(tmp_path_factory.getbasetemp()))
    with service(tmp_path_factory.mktemp("served"), "-l", weights, "-v", weights) as running:
        yield running


@pytest.mark.parametrize("count", [25, pytest.param(200, marks=pytest.mark.long)])
def test_what_the_schema_allows_and_forbids(served: Service, count: int) -> None:
    """So many examples of what is allowed for each operation, and as many of what is not."""
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    found: Counter[tuple[str, int]] = Counter()
    with requests.Session() as session:
        for operation in (result.ok() for result in schema.get_all_operations()):
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if mode is GenerationMode.NEGATIVE and operation.method == "get":
                    continue  # it has no parameters that could be wrong

                @settings(
                    max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck),
                    derandomize=count < 100,
                )  # fmt: skip
                @given(case=operation.as_strategy(generation_mode=mode))
                def check(case: Case) -> None:
                    # A field that is an empty list is not sent in a form at all, so that what is forbidden is gone.
                    form = case.media_type != "application/json" and isinstance(case.body, dict)
                    assume(not (form and [] in case.body.values()))
                    # Text that is allowed need not be an image.
                    answer = case.call_and_validate(session=session, excluded_checks=[positive_data_acceptance])
                    found[case.operation.path, answer.status_code] += 1

                check()
    assert {path for path, _ in found} == {"/crnn", "/crnn/batch", "/healthz", "/readyz", "/metrics"}
    assert {status for _, status in found} == {200, 422}
    for path in ("/crnn", "/crnn/batch"):
        assert found[path, 200] + found[path, 422] >= 2 * count
    assert served.get("/readyz").status == 200
    assert "Traceback" not in served.log.read_text()


def test_openapi_and_its_examples(served: Service) -> None:
    description = served.get("/openapi.json").json
    assert {*description["paths"]} == {"/crnn", "/crnn/batch", "/healthz", "/readyz", "/metrics"}
    sent = 0
    for path in ("/crnn", "/crnn/batch"):
        for kind, content in description["paths"][path]["post"]["requestBody"]["content"].items():
            for example in content.get("examples", {}).values():
                value = example["value"]
                body = json.dumps(value) if kind.endswith("json") else urlencode(value, doseq=True)
                answer = served.post(path, body=body, headers={"Content-Type": kind})
                assert answer.status == 200, (path, example, answer.body)
                assert all("text" in result for result in answer.json.get("results", []))
                sent += 1
    assert sent >= 4
