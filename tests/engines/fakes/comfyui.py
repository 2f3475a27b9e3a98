"""ComfyUI on one CUDA device: an API that names no model."""

from tests.engines.fake import FakeEngine

LEFT = 32 << 20  # what torch keeps when all is freed


class FakeComfyUI(FakeEngine):
    unknown = (404, "404: Not Found")
    keyless = True
    kind = "cuda"  # of its device, as torch calls it

    def __init__(self, models=(), **options):
        """Whatever it is said to have, it has one name for it."""
        super().__init__(["comfyui"], **options)

    def model_of(self, call, body):
        return "comfyui" if call == "POST /prompt" else None

    def answer(self, call, query, body):
        if call == "GET /system_stats":
            return 200, {"system": {"comfyui_version": "0.3.64"}, "devices": [self._device()]}
        if call == "GET /prompt":
            return 200, {"exec_info": {"queue_remaining": self.busy["comfyui"]}}
        if call == "POST /interrupt":
            self._cut()
            return 200, ""
        if call == "POST /free":
            if body["unload_models"] and not self.busy["comfyui"]:  # else when the job has ended
                self._leave("comfyui")
            return 200, ""
        return None

    def _device(self):
        held = LEFT + (self.sizes["comfyui"] if self.loaded else 0)
        total = 24 << 30
        if self.kind == "cpu":
            held = total
        return {
            "name": f"{self.kind}:0",
            "type": self.kind,
            "index": 0,
            "vram_total": total,
            "vram_free": total - held,
            "torch_vram_total": held,
            "torch_vram_free": LEFT // 2,
        }


FAKE = FakeComfyUI
