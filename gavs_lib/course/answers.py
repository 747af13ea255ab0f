"""Answers on their way out of a student's kernel: values as text that can be read without running anything.

The kernel calls `publish` and `call`; the checks, in another process, read what arrives with `decode`. Only plain
values pass (numbers, texts, lists, tuples, sets, dictionaries, NumPy arrays, tensors), and what is derived from one
arrives as the plain one: a defaultdict as a dict, a fraction as a float, a float whose `==` always says yes as the
number it holds. Pickles, which can carry code, are not used.
"""

import base64
import json
import numbers
from decimal import Decimal

import numpy as np
import torch

MIME = "application/x-gavs-answer+json"
MOST_BYTES = 64 * 2**20
_COLLECTIONS = {"list": list, "tuple": tuple, "set": set}
_KINDS = "biuf"  # NumPy's letters for bool, int, unsigned, float


class AnswerError(TypeError):
    """A value that cannot be handed to the checks."""


def encode(value: object) -> str:
    """A value as JSON text.

    Raises:
        AnswerError: the value, or something in it, is of another type than those the module names, or too large.
    """
    try:
        text = json.dumps(_plain(value))
    except RecursionError:
        raise AnswerError("a value that contains itself cannot be checked.") from None
    if len(text) > 2 * MOST_BYTES:
        raise AnswerError(f"the value is too large to be checked ({len(text) / 2**20:.0f} MiB).")
    return text


def decode(text: str) -> object:
    """The value that `encode` wrote.

    Raises:
        AnswerError: the text was not written by `encode`.
    """
    try:
        return _value(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError, MemoryError) as error:
        raise AnswerError(f"what arrived is no answer ({type(error).__name__}).") from None


def publish(name: str) -> None:
    """In the kernel: display the value of a global name, or that it is a function, or that there is no such name."""
    known = _globals()
    if name not in known:
        _show({"missing": name})
    elif callable(known[name]):
        _show({"function": name})
    else:
        _show({"value": encode(known[name])})


def call(name: str, arguments: str) -> None:
    """In the kernel: display what a global function returns for `encode`d positional arguments."""
    _show({"value": encode(_globals()[name](*decode(arguments)))})


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, numbers.Real | Decimal):
        return float(value)
    if isinstance(value, torch.Tensor):
        return {"tensor": _numbers(value.detach().cpu().numpy())}
    if isinstance(value, np.ndarray):
        return {"array": _numbers(value)}
    if isinstance(value, dict):
        return {"dict": [[_plain(key), _plain(item)] for key, item in value.items()]}
    for name, kind in _COLLECTIONS.items():
        if isinstance(value, kind):
            return {name: [_plain(item) for item in value]}
    raise AnswerError(
        f"a value of type {type(value).__name__} cannot be checked: give numbers, texts, lists, arrays or tensors."
    )


def _numbers(array: np.ndarray) -> list:
    if array.dtype.kind not in _KINDS or array.nbytes > MOST_BYTES:
        raise AnswerError(f"an array of {array.dtype} and {array.nbytes} bytes cannot be checked.")
    array = np.ascontiguousarray(array).reshape(array.shape)
    return [array.dtype.str, list(array.shape), base64.b64encode(array.tobytes()).decode("ascii")]


def _value(plain: object) -> object:
    if not isinstance(plain, dict):
        if isinstance(plain, list):
            raise TypeError("a bare list")
        return plain
    ((kind, content),) = plain.items()
    if kind in ("tensor", "array"):
        dtype, shape, data = content
        if np.dtype(dtype).kind not in _KINDS:
            raise TypeError(dtype)
        array = np.frombuffer(base64.b64decode(data, validate=True), dtype=dtype).reshape(shape).copy()
        return torch.from_numpy(array) if kind == "tensor" else array
    if kind == "dict":
        return {_value(key): _value(item) for key, item in content}
    return _COLLECTIONS[kind](_value(item) for item in content)


def _globals() -> dict:
    from IPython import get_ipython

    return get_ipython().user_ns


def _show(message: dict) -> None:
    from IPython.display import display

    display({MIME: json.dumps(message)}, raw=True)
