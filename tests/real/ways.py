"""Fixtures for tests that run once for each way in which events come: `from ways import either_way` in a module is all."""

import pytest

WAYS = "librdkafka", "direct"


@pytest.fixture(params=WAYS, name="tidemill")
def either_way(tidemill, request):
    """The binary, whose hosts get events from librdkafka, or fetch them themselves."""
    return tidemill.fetching(request.param)
