"""What tests of the tools share: stand-ins for model and runner."""

import pytest

from tests.training.toys import NotingRunner, registered


@pytest.fixture
def made():
    """The stand-ins are registered; the runners that tools make by them."""
    with registered():
        yield NotingRunner.made
