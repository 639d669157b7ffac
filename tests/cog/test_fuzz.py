"""Requests made from openapi.json, valid and invalid ones, by Schemathesis."""

import time
from collections import Counter

import hypothesis
import pytest
import schemathesis
from hypothesis.strategies import one_of
from schemathesis import GenerationMode

from tests.cog.serving import PATIENCE, data_url, png
from tests.cog.test_schema import DOCUMENT
from tests.pictures import smooth

pytestmark = pytest.mark.slow

PICTURE = data_url(png(smooth(24, 32)))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
REQUESTS = one_of(
    SCHEMA[path][method].as_strategy(generation_mode=mode)
    for path, method in (
        ("/predictions", "POST"),
        ("/predictions/{prediction_id}/cancel", "POST"),
        ("/", "GET"),
    )
    for mode in GenerationMode
)
EXAMPLES = 300
SECONDS = 20  # after which no more examples are tried
STATUSES = {200, 400, 404, 405, 415, 422}  # that the server may answer with; 422 to values that the document forbids


def without_the_network(body):
    """The body without an id, for which Cog may stay busy for ever, and without addresses that the server would ask."""
    if not isinstance(body, dict):
        return body
    kept = {name: value for name, value in body.items() if name not in ("id", "webhook")}
    inputs = kept.get("input")
    if isinstance(inputs, dict) and isinstance(inputs.get("image"), str):
        kept["input"] = {**inputs, "image": PICTURE if ":" in inputs["image"] else inputs["image"]}
    return kept


def test_every_request_gets_an_answer_of_one_line(lite):
    seen = Counter()
    end = time.monotonic() + SECONDS

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(REQUESTS)
    def check(case):
        if time.monotonic() > end:
            return
        case.body = without_the_network(case.body)
        while (answer := case.call(base_url=lite.url, timeout=PATIENCE)).status_code == 409:
            time.sleep(0.01)
        assert answer.status_code in STATUSES
        if answer.status_code == 200:
            prediction = answer.json()
            assert "Traceback" not in answer.text
            assert "\n" not in prediction.get("error", "")
            seen[prediction.get("status")] += 1
        seen[answer.status_code] += 1

    check()
    lite.wait("READY")
    assert seen["succeeded"], seen
    assert seen[422], seen
