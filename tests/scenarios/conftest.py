from tests.collectors.conftest import driver

__all__ = ["driver"]
