from tests.collectors.conftest import driver, nvml_library

__all__ = ["driver", "nvml_library"]
