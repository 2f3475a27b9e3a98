"""One connection to a Kubernetes API server: calls with a deadline, and errors in our words.

lightkube reads kubeconfigs and a pod's own account, keeps tokens fresh, and knows the types. Its
client is async and imported when it is first needed: 8 MiB, 60 ms.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from collectors.reading import Seconds
from supervisor.extras import needs

from . import base
from .base import EngineConfused, EngineDown, EngineError, EngineRefused

if TYPE_CHECKING:
    from lightkube import AsyncClient

T = TypeVar("T")
ALLOWED = "the Role in deploy/kubernetes/ullage-scale-rbac.yaml allows what Ullage needs"
UNKNOWN = "name a file with `kubeconfig`, or run in the cluster"


class Cluster:
    """`kubeconfig` None: the pod's own account, else $KUBECONFIG, else ~/.kube/config."""

    def __init__(self, engine: str, kubeconfig: Path | None) -> None:
        self._engine, self._kubeconfig = engine, kubeconfig
        self._client: AsyncClient | None = None

    async def ask(
        self,
        call: str,
        work: Callable[[AsyncClient], Awaitable[T]],
        within: Seconds | None = None,
    ) -> T:
        """What `work` makes of it. `call` is for errors, as "get deployment llm"."""
        bound = base.CALL_TIMEOUT if within is None else within
        try:
            async with asyncio.timeout(bound):
                client = self._client = self._client or self._connected()
                return await work(client)
        except ModuleNotFoundError as missing:
            raise EngineDown(self._engine, call, needs("kubernetes")) from missing
        except TimeoutError as late:
            raise EngineDown(self._engine, call, f"no answer within {bound:g} s") from late
        except EngineError:
            raise
        except Exception as error:
            raise self._worded(call, error) from error

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def server(self) -> str:
        """Where it is, once it has been asked."""
        return "" if self._client is None else self._client.config.cluster.server

    def _connected(self) -> AsyncClient:
        from lightkube import AsyncClient, KubeConfig

        if self._kubeconfig is not None:
            config = KubeConfig.from_file(self._kubeconfig)
        else:
            config = KubeConfig.from_env()
        return AsyncClient(config=config.get())

    def _worded(self, call: str, error: Exception) -> EngineError:
        """Whatever the library raises: it does not say what that may be."""
        import httpx2
        from lightkube import ApiError
        from lightkube.core.exceptions import ConfigError

        if isinstance(error, ApiError):
            code, words = error.status.code or 0, error.status.message or "without a word"
            if code == 403:
                words = f"{words}; {ALLOWED}"
            # 409: somebody else changed it at the same time, which is no sign of work.
            return EngineRefused(self._engine, call, words, 0 if code == 409 else code)
        if isinstance(error, httpx2.HTTPStatusError):
            status = error.response.status_code
            return EngineRefused(self._engine, call, f"{status} without a word", status)
        if isinstance(error, ConfigError):
            return EngineDown(self._engine, call, f"{error}; {UNKNOWN}")
        if isinstance(error, httpx2.TransportError | httpx2.InvalidURL | ssl.SSLError | OSError):
            words = str(error) or type(error).__name__
            return EngineDown(self._engine, call, f"{self.server} {words}".strip())
        words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return EngineConfused(self._engine, call, words)
