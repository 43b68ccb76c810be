"""With CI=true, what skips itself fails, and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIPS = {
    "in a test": "import pytest\ndef test_it(): pytest.skip('no cluster')",
    "in a fixture": "import pytest\n@pytest.fixture\ndef it(): pytest.skip('no cluster')\ndef test_it(it): pass",
    "by a mark": "import pytest\n@pytest.mark.skip(reason='no cluster')\ndef test_it(): pass",
    "the whole file": "import pytest\npytest.skip('no cluster', allow_module_level=True)",
}


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str, ci: str) -> pytest.RunResult:
    """What pytest makes of one test file under our conftest.py."""
    monkeypatch.setenv("CI", ci)
    pytester.makeconftest(CONFTEST.read_text())
    pytester.makeini("[pytest]\nmarkers = unit\nasyncio_default_fixture_loop_scope = function")
    pytester.mkdir("unit").joinpath("test_it.py").write_text(source)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider")


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS)
@pytest.mark.parametrize("ci", ["true"])
def test_a_skip_fails_in_ci(run: pytest.RunResult) -> None:
    assert run.ret != 0
    run.stdout.fnmatch_lines(["*skipped, and with CI=true everything must run:*no cluster*"])


@pytest.mark.parametrize("source", SKIPS.values(), ids=SKIPS)
@pytest.mark.parametrize("ci", ["", "false"])
def test_a_skip_is_one_elsewhere(run: pytest.RunResult) -> None:
    assert run.parseoutcomes() == {"skipped": 1}


@pytest.mark.parametrize("source", ["import pytest\n@pytest.mark.xfail\ndef test_it(): assert False"], ids=["xfail"])
@pytest.mark.parametrize("ci", ["true"])
def test_an_expected_failure_is_no_skip(run: pytest.RunResult) -> None:
    assert run.parseoutcomes() == {"xfailed": 1}
