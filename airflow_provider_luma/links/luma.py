"""One click from a task instance to its video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_provider_luma.api.models import is_web_address

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class LumaVideoLink(BaseOperatorLink):
    """
    The button "Luma video" of a task instance, as soon as the video's address is known.

    It reads the XCom ``video_url``, which the tasks push before any step that can fail. It never raises, and
    leads to http(s) addresses only: Airflow shows no button for an empty link.
    """

    name = "Luma video"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the video's address, or nothing."""
        try:
            url = XCom.get_value(ti_key=ti_key, key="video_url")
        except Exception:
            return ""
        return url if is_web_address(url) else ""
