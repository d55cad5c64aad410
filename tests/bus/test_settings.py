from __future__ import annotations

import pytest

from shared.errors import InputError
from shared.settings import Settings


def test_labels_are_pairs() -> None:
    read = Settings.from_environment({"COX_LABELS": "rack=a1, role=web,os=a=b,"})
    assert read.labels == {"rack": "a1", "role": "web", "os": "a=b"}
    assert Settings.from_environment({}).labels == {}


@pytest.mark.parametrize("text", ["rack", "rack=", "=a1", "a b=c", "a=" + "x" * 121, "a=\x1b[0m"])
def test_labels_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        Settings.from_environment({"COX_LABELS": text})


def test_what_a_planner_does_about_a_drift_is_set_for_all_its_requests() -> None:
    assert Settings.from_environment({}).drift == "optimize"
    assert Settings.from_environment({"COX_DRIFT": "off"}).drift == "off"
    with pytest.raises(InputError, match="COX_DRIFT"):
        Settings.from_environment({"COX_DRIFT": "on"})
