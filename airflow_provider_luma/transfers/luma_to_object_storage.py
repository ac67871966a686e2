"""
Keep the video that a gateway's address leads to, in a task of its own.

How it is kept, and what is promised, is in :mod:`airflow_provider_luma.steps.keep`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_luma.api.lineage import TaskLineage
from airflow_provider_luma.api.models import is_absent, is_web_address, rendered_bool, rendered_request_id
from airflow_provider_luma.exceptions import LumaInvalidRequest, LumaUnsafeAddress
from airflow_provider_luma.hooks.luma import LumaHook
from airflow_provider_luma.hooks.metrics import failures_counted
from airflow_provider_luma.links.luma import LumaVideoLink
from airflow_provider_luma.steps.keep import VideoKeeper, hand_on, target_at
from airflow_provider_luma.steps.lineage import WithLineage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context


class LumaToObjectStorageOperator(WithLineage, BaseOperator):
    """
    Download a generated video into object storage or a folder, and say what was kept.

    :param destination: an ``ObjectStoragePath`` address, with its connection where one is needed:
        ``s3://aws_default@bucket/videos/{{ ds }}.mp4``, ``gs://…``, ``abfs://…``, ``file:///…``. One that
        ends with ``/`` is a folder, in which the file is named after the request id. Templated.
    :param request_id: the generation; its address is asked for where ``video_url`` is not given, and anew
        where it has expired. Templated.
    :param video_url: the address, usually the sensor's output. Templated. One of the two is needed.
    :param overwrite: whether another file under the target's name is replaced; default ``False``: an error.
        A file that holds this very video is left alone either way. Templated.
    :param max_bytes: bytes that the video may have at most; default 16 GiB.
    :param luma_conn_id: id of the Airflow connection; default ``luma_default``. Templated.
    :param prompt: the prompt, for the asset event only. Templated.
    :param share_prompt: whether the asset event carries the prompt itself; default ``False``: its SHA-256.

    Returns the path. Pushes the XComs ``video_url`` and ``manifest`` (see
    :class:`~airflow_provider_luma.api.manifest.Manifest`), and gives each outlet's asset event an ``extra``
    with request id, path, SHA-256, bytes, seconds and aspect ratio.

    :raises LumaInvalidRequest: an argument cannot be what was meant. Nothing was fetched.
    :raises LumaConnectionNotFound: there is no such connection, or it cannot be looked up just now. Airflow's
        retries apply.
    :raises LumaConfigurationError: the connection cannot be used. Nothing was fetched.
    :raises LumaCompletedWithoutVideo: the gateway gives no address for the id: wait for it first.
    :raises LumaVideoExpired: the address no longer holds, and no id is known to ask for another, or the fresh
        one does not hold either.
    :raises LumaNotTheVideo: what is served is no video, or has more than ``max_bytes``.
    :raises LumaTargetExists: another file is there. Nothing was fetched.
    :raises LumaUnsafeAddress: the address leads where a worker should not go. Nothing was fetched.
    :raises LumaDownloadFailed: it could not be fetched or stored; nothing is under the final name. A retry
        fetches it again, for free.
    """

    template_fields: Sequence[str] = (
        "destination",
        "request_id",
        "video_url",
        "overwrite",
        "luma_conn_id",
        "prompt",
    )
    operator_extra_links = (LumaVideoLink(),)
    ui_color = "#c9e4de"

    def __init__(
        self,
        *,
        destination: str,
        request_id: str | None = None,
        video_url: str | None = None,
        overwrite: bool | str = False,
        max_bytes: int | None = None,
        luma_conn_id: str = LumaHook.default_conn_name,
        prompt: str | None = None,
        share_prompt: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.request_id = request_id
        self.video_url = video_url
        self.overwrite = overwrite
        self.max_bytes = max_bytes
        self.luma_conn_id = luma_conn_id
        self.prompt = prompt
        self.share_prompt = share_prompt

    @failures_counted
    def execute(self, context: Context) -> str:
        """Keep the video, and return where it is."""
        request_id = None if is_absent(self.request_id) else rendered_request_id(self.request_id)
        video_url = None if is_absent(self.video_url) else str(self.video_url).strip()
        if video_url is not None:
            if not is_web_address(video_url):
                raise LumaUnsafeAddress("video_url is not an http or https address without credentials.")
            # The link comes first: whatever fails from here on, there is something to look at.
            context["ti"].xcom_push(key="video_url", value=video_url)
        elif request_id is None:
            raise LumaInvalidRequest(
                "Neither request_id nor video_url has a value: the upstream task that should give it "
                "probably gave nothing.",
                money="Nothing was sent. If a generation was submitted, its id is in that task's log.",
            )
        overwrite = rendered_bool("overwrite", self.overwrite)
        target = target_at(self.destination, request_id)
        with LumaHook(self.luma_conn_id) as hook:
            keeper = VideoKeeper(
                hook,
                context,
                self.log,
                overwrite=overwrite,
                max_bytes=self.max_bytes,
                on_address=lambda url: context["ti"].xcom_push(key="video_url", value=url),
            )
            manifest = keeper.keep(target, request_id, video_url)
        self._known = TaskLineage(
            self.luma_conn_id,
            request_ids=[] if request_id is None else [request_id],
            sources=[manifest.source],
            kept=[manifest],
        )
        hand_on(context, self.outlets, manifest, prompt=self.prompt, share_prompt=self.share_prompt)
        return manifest.path
