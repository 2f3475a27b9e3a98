"""The engines that Ullage can talk to: one line each."""

from .a1111 import A1111
from .base import Engine
from .comfyui import ComfyUI
from .container import Container
from .dmr import DockerModelRunner
from .gpustack import GPUStack
from .http import Http
from .infinity import Infinity
from .koboldcpp import KoboldCpp
from .kubernetes import Kubernetes
from .lemonade import Lemonade
from .llamacpp import LlamaCpp
from .llamaswap import LlamaSwap
from .lmstudio import LMStudio
from .localai import LocalAI
from .mlxlm import MlxLm
from .mlxomni import MlxOmni
from .ollama import Ollama
from .omlx import Omlx
from .process import OwnProcess
from .sglang import SgLang
from .speaches import Speaches
from .systemd import Systemd
from .tabbyapi import TabbyApi
from .tei import Tei
from .textgen import TextGen
from .tgi import Tgi
from .torchserve import TorchServe
from .triton import Triton
from .tryll import Tryll
from .vllm import Vllm
from .xinference import Xinference

# Who answers is asked in this order; whoever imitates others comes before them.
ENGINES: dict[str, type[Engine]] = {
    "tryll": Tryll,  # before anybody speaks HTTP to it
    "http": Http,
    "process": OwnProcess,
    "systemd": Systemd,
    "container": Container,
    "kubernetes": Kubernetes,
    "lmstudio": LMStudio,
    "localai": LocalAI,
    "dmr": DockerModelRunner,
    "koboldcpp": KoboldCpp,
    "lemonade": Lemonade,
    "omlx": Omlx,
    "tabbyapi": TabbyApi,
    "textgen": TextGen,
    "comfyui": ComfyUI,
    "a1111": A1111,
    "speaches": Speaches,
    "triton": Triton,
    "torchserve": TorchServe,
    "llamaswap": LlamaSwap,
    "vllm": Vllm,
    "sglang": SgLang,
    "tgi": Tgi,
    "tei": Tei,
    "infinity": Infinity,
    "xinference": Xinference,
    "gpustack": GPUStack,
    "mlxomni": MlxOmni,
    "mlxlm": MlxLm,
    "llamacpp": LlamaCpp,
    "ollama": Ollama,
}
