from __future__ import annotations

import pytest

from odml.errors import ConfigurationError
from odml.serving.limits import Allowed, Limits, answers_requests


def test_nothing_set_gives_the_defaults():
    assert Limits.of({"ODML_SERVE_MAX_ROWS": ""}) == Limits()
    assert Allowed.of({}) == Allowed((), ())


def test_limits_are_read():
    given = {"ODML_SERVE_MAX_ROWS": "2", "ODML_SERVE_MAX_PIXELS": "100"}
    assert Limits.of(given) == Limits(max_rows=2, max_pixels=100)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_limit_that_is_no_number_is_refused(text):
    with pytest.raises(ConfigurationError) as raised:
        Limits.of({"ODML_SERVE_MAX_IMAGE_BYTES": text})
    assert str(raised.value) == (
        f"ODML_SERVE_MAX_IMAGE_BYTES: {text} is no whole number of at least 1; correct it, or leave it out"
    )


def test_folders_and_addresses_are_read(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    given = {"ODML_SERVE_PATHS": f"{tmp_path}:{tmp_path}/link", "ODML_SERVE_URLS": "https://a/b/  http://c/"}
    assert Allowed.of(given) == Allowed((tmp_path.resolve(),) * 2, ("https://a/b/", "http://c/"))


def test_folder_that_is_missing_is_refused():
    with pytest.raises(ConfigurationError) as raised:
        Allowed.of({"ODML_SERVE_PATHS": "/no/such"})
    assert str(raised.value) == "ODML_SERVE_PATHS: /no/such is no folder; name folders, or leave it empty"


@pytest.mark.parametrize("text", ["host/", "file:///etc/", "https://host"])
def test_address_that_is_none_is_refused(text):
    with pytest.raises(ConfigurationError) as raised:
        Allowed.of({"ODML_SERVE_URLS": text})
    assert str(raised.value) == (
        f"ODML_SERVE_URLS: {text} is no address with a path; write for instance https://host/photos/"
    )


def test_server_is_known_by_the_environment():
    assert answers_requests({"_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true"})
    assert not answers_requests({})
