"""The model zoo (federation room): nets with a body and a head, by name; importing it does not import torch."""

from .build import NetBytes, build_net, count_parameters, net_bytes
from .registry import MODELS, ModelPlugin, check_model, fitting, model, model_names

__all__ = [
    "MODELS",
    "ModelPlugin",
    "NetBytes",
    "build_net",
    "check_model",
    "count_parameters",
    "fitting",
    "model",
    "model_names",
    "net_bytes",
]
