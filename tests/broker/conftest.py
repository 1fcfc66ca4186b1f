"""The suite's modules are no test modules by name: their asserts are to explain themselves all the same."""

import pytest

pytest.register_assert_rewrite("tests.broker.conformance", "tests.broker.state_machine")
