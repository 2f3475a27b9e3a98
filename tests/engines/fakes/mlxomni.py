"""mlx-omni-server: chat models in a cache, which is cleared as a whole."""

from tests.engines.fake import FakeEngine


class FakeMlxOmni(FakeEngine):
    unknown = (404, {"detail": "Not Found"})
    keyless = True

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /v1/models":
            return 200, {"object": "list", "data": [{"id": m, "owned_by": m} for m in self.models]}
        if call == "GET /v1/cache":
            return 200, self._cache()
        if call == "POST /v1/cache/clear":
            count = len(self.loaded)
            for model in list(self.loaded):
                self._leave(model)
            return 200, {"cleared_count": count, "cache_info": self._cache()}
        return None

    def _cache(self):
        keys = {m: f"WrapperCacheKey(model_id={m!r}, adapter_path=None)" for m in self.loaded}
        ttl = [{"key": k, "expires_at": 1787390300.5 + self.worked[m]} for m, k in keys.items()]
        held = {"cached_keys": list(keys.values()), "lru_order": list(keys.values())[::-1]}
        return (
            {"cache_size": len(keys), "max_size": 2, "ttl_seconds": 300} | held | {"ttl_info": ttl}
        )


FAKE = FakeMlxOmni
