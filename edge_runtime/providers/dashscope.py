"""Alibaba Cloud's DashScope (Model Studio): Qwen-Image-Edit. One call that answers with a link to the picture.

Keys of Beijing and Singapore are separate, and so are the addresses. There are no masks. Errors may come with status
200, as members `code` and `message`. No size is asked for: the model's own choice keeps the photo's proportions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_runtime import outgoing
from edge_runtime.exchange import Exchange
from edge_runtime.images import Decode
from edge_runtime.provider import Accepts, ProviderSettings, RemotePicture
from edge_runtime.request import EditRequest

_PATH: Final = "services/aigc/multimodal-generation/generation"
_MODERATED: Final = ("DataInspectionFailed", "DataInspection")


class DashScope:
    """`base_url` is https://dashscope-intl.aliyuncs.com/api/v1 (Singapore) or https://dashscope.aliyuncs.com/api/v1."""

    options: Mapping[str, tuple[str, ...]] = {"prompt_extend": ("no", "yes")}
    key_hosts: tuple[str, ...] = ()

    def headers(self, key: str) -> Mapping[str, str]:
        """Return the bearer token."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def accepts(self, settings: ProviderSettings) -> Accepts:
        """Return what it takes."""
        return Accepts(pictures=3, fields=frozenset({"seed", "negative"}))

    def edit(self, request: EditRequest, settings: ProviderSettings, exchange: Exchange) -> RemotePicture:
        """Ask, and fetch what the link of the answer leads to."""
        answer = exchange.submit(settings.url(_PATH), _body(request, settings, exchange.decode))
        if isinstance(answer, dict) and answer.get("code"):
            told = f"{answer['code']}: {answer.get('message', '')}"
            raise exchange.refused(told) if str(answer["code"]).startswith(_MODERATED) else exchange.failed(told)
        try:
            content = answer["output"]["choices"][0]["message"]["content"]
            link = next(str(part["image"]) for part in content if "image" in part)
        except (LookupError, TypeError, StopIteration) as error:
            raise exchange.failed("an answer without a picture") from error
        return RemotePicture(data=exchange.picture(link), model=settings.model)


def _body(request: EditRequest, settings: ProviderSettings, decode: Decode) -> dict[str, Any]:
    content: list[dict[str, str]] = [{"image": one.data_url} for one in outgoing.pictures(request, decode)]
    parameters: dict[str, Any] = {
        "n": 1, "watermark": False, "prompt_extend": settings.options["prompt_extend"] == "yes",
    }
    if request.negative is not None:
        parameters["negative_prompt"] = request.negative
    if request.seed is not None:
        parameters["seed"] = request.seed % 2**31
    message = {"role": "user", "content": [*content, {"text": request.instruction or ""}]}
    return {"model": settings.model, "input": {"messages": [message]}, "parameters": parameters}


PROVIDER = DashScope()
