"""
Keep a video: from the address that the gateway gave into storage of one's own.

The gateway's address may die within the hour, and the video is paid for. What is promised to every task that
keeps one:

* under the final name there is a whole video or nothing: it is written beside the target and renamed when
  it is complete and checked; what a crash left beside it, the next try removes;
* a target that already holds this video is a success without a download, any other file there is an error;
* memory does not grow with the video;
* nothing is ever generated: an address that has expired is asked for anew, which is free.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pendulum
import tenacity
from airflow.providers.common.compat.sdk import Asset, ObjectStoragePath

from airflow_provider_luma.api.container import SIGNATURE_LENGTH, ContainerReader, is_video
from airflow_provider_luma.api.manifest import Manifest
from airflow_provider_luma.api.models import GenerationStatus, is_absent
from airflow_provider_luma.api.text import one_line, shown_url, without_credentials
from airflow_provider_luma.exceptions import (
    LumaCompletedWithoutVideo,
    LumaDownloadFailed,
    LumaError,
    LumaInvalidRequest,
    LumaNotTheVideo,
    LumaTargetExists,
    LumaUnsafeAddress,
    LumaVideoExpired,
)
from airflow_provider_luma.hooks.download import download

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_luma.api.cost import Cost
    from airflow_provider_luma.hooks.download import Incoming
    from airflow_provider_luma.hooks.luma import LumaHook

#: In the place of a request id, to name a file in a folder before there is one.
NO_REQUEST = "luma-not-yet-submitted"
#: Bytes of a manifest that are read at most; what is larger is somebody else's file.
MAX_MANIFEST = 64 * 1024
#: Bytes that a video has at most where the user names no maximum: an endless answer ends here.
DEFAULT_MAX_BYTES = 16 * 1024**3
#: Downloads of one task at most. Each is free.
MAX_DOWNLOADS = 3

_NOTHING_SENT = "Nothing was sent, nothing is charged."
_CHOOSE = "Choose another destination or set overwrite, then clear this task."


def target_at(destination: Any, request_id: str | None) -> ObjectStoragePath:
    """
    Return where a video is to be kept.

    :param destination: rendered; an address that ends with ``/`` is a folder, in which the file is named
        after the request id.
    :raises LumaInvalidRequest: it cannot be used.
    """
    destination = rendered_destination(destination, money="Nothing was fetched.")
    if destination.endswith("/"):
        if request_id is None:
            raise LumaInvalidRequest(
                "destination is a folder, which needs a request_id to name the file after.",
                money="Nothing was fetched.",
            )
        destination += f"{file_name(request_id)}.mp4"
    try:
        target = ObjectStoragePath(destination)
        _ = target.fs
    except Exception as error:
        raise LumaInvalidRequest(
            f"destination {one_line(without_credentials(destination), 80)} cannot be used: {_said(error)}.",
            money="Nothing was fetched.",
        ) from error
    return target


class VideoKeeper:
    """
    Keeps the videos of one task. Several threads may use one, each with a hook of its own.

    :param hook: whose connection says how to fetch; it is asked for addresses that are not known or have
        expired.
    :param context: of the task.
    :param log: of the task.
    :param overwrite: whether another file under a target's name is replaced.
    :param max_bytes: bytes that a video may have at most; ``None``: :data:`DEFAULT_MAX_BYTES`.
    :param on_address: is told each address that the gateway has given, before anything is fetched.
    :param log_level: at which it says what it has kept.
    """

    def __init__(
        self,
        hook: LumaHook,
        context: Context,
        log: Any,
        *,
        overwrite: bool = False,
        max_bytes: int | None = None,
        on_address: Callable[[str], None] = lambda url: None,
        log_level: int = logging.INFO,
    ) -> None:
        self._hook = hook
        self._context = context
        self._log = log
        self._overwrite = overwrite
        self._max_bytes = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes
        self._on_address = on_address
        self._log_level = log_level
        self._lock = threading.Lock()
        self._swept: set[str] = set()

    def keep(
        self,
        target: ObjectStoragePath,
        request_id: str | None,
        video_url: str | None,
        hook: LumaHook | None = None,
        cost: Cost | None = None,
    ) -> Manifest:
        """
        Have the video at ``target``, and return what is there.

        :param request_id: the generation; ``None`` if only the address is known.
        :param video_url: its address; ``None``: the gateway is asked.
        :param hook: for this video, if another thread has the keeper's own.
        :param cost: what its generation is estimated to cost, for the manifest.
        """
        hook = self._hook if hook is None else hook
        with _store_errors(target, request_id):
            # Before the gateway is asked: what is kept needs nobody any more.
            manifest = _kept_already(target, request_id, video_url, self._overwrite)
            if manifest is not None:
                self._log.log(self._log_level, "Already kept at %s; nothing is downloaded.", _shown(target))
                return manifest
            if video_url is None:
                video_url = _asked_for(hook, str(request_id))
                self._on_address(video_url)
            return self._fetched(hook, target, request_id, video_url, cost)

    def check(self, target: ObjectStoragePath) -> None:
        """
        See whether a new video could be kept at ``target``, before anything is paid for.

        :raises LumaTargetExists: another file is there.
        :raises LumaDownloadFailed: the store cannot be asked.
        """
        try:
            _kept_already(target, None, None, self._overwrite)
        except LumaTargetExists as error:
            raise LumaTargetExists(error.what, money=_NOTHING_SENT, next_step=_CHOOSE) from None
        except Exception as error:
            raise LumaDownloadFailed(
                f"The store of {_shown(target)} cannot be used: {_said(error)}.",
                money=_NOTHING_SENT,
                next_step="A retry is safe.",
            ) from error

    def _sweep(self, target: ObjectStoragePath, mark: str) -> None:
        """Remove what earlier tries left in the target's folder: once for all targets in it."""
        with self._lock:
            folder = str(target.parent)
            if folder not in self._swept:
                self._swept.add(folder)
                _remove_leftovers(target, mark)

    def _fetched(
        self, hook: LumaHook, target: ObjectStoragePath, request_id: str | None, url: str, cost: Cost | None
    ) -> Manifest:
        # A name of this process's own: an earlier try may still be alive, and must not write into this file.
        mark = f".luma-{_task_mark(self._context, target.parent)}."
        own = f"{mark}{uuid4().hex[:8]}"
        part, sidecar_part = target.with_name(f"{own}.part"), target.with_name(f"{own}.json.part")
        address, renewed = url, False

        def once() -> Manifest:
            nonlocal address, renewed
            try:
                return self._download(hook, address, part, target, request_id, asked_for=url)
            except LumaVideoExpired:
                if request_id is None or renewed:
                    raise
                address, renewed = _asked_for(hook, request_id), True
                self._log.info("The address has expired; the gateway gives %s", shown_url(address))
                self._on_address(address)
                return self._download(hook, address, part, target, request_id, asked_for=url)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passing),
            stop=tenacity.stop_after_attempt(MAX_DOWNLOADS),
            wait=tenacity.wait_random_exponential(max=10),
            before_sleep=self._tell_of_retry,
            reraise=True,
        )
        try:
            _make_folder(target)
            self._sweep(target, mark)
            manifest = retrying(once)
            if cost is not None:
                manifest = replace(manifest, estimated_cost=float(cost.amount), currency=cost.currency)
            if part.stat().st_size != manifest.bytes:
                raise LumaDownloadFailed(f"What was stored beside {_shown(target)} is not what was written.")
            # Once more: another task may have kept something there meanwhile.
            if (kept := _kept_already(target, request_id, url, self._overwrite)) is not None:
                return kept
            # The manifest goes first: a target without one would look like somebody else's file. And what is
            # replaced goes before that, or it would pass for what the new manifest describes.
            sidecar_part.write_text(json.dumps(asdict(manifest), indent=1))
            with suppress(FileNotFoundError):
                target.unlink()
            part.fs.mv(sidecar_part.path, _sidecar(target).path)
            part.fs.mv(part.path, target.path)
        finally:
            _remove(part)
            _remove(sidecar_part)
        self._log.log(
            self._log_level,
            "Kept %s at %s: %d bytes, %s s, %s x %s",
            f"request {request_id}" if request_id else shown_url(url),
            _shown(target),
            manifest.bytes,
            manifest.seconds,
            manifest.width,
            manifest.height,
        )
        return manifest

    def _tell_of_retry(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        self._log.warning(
            "Download %d of at most %d failed, the next one starts in %.0f s. %s",
            state.attempt_number,
            MAX_DOWNLOADS,
            state.next_action.sleep if state.next_action is not None else 0.0,
            error.what if isinstance(error, LumaError) else error,
        )

    def _download(
        self,
        hook: LumaHook,
        url: str,
        part: ObjectStoragePath,
        target: ObjectStoragePath,
        request_id: str | None,
        asked_for: str,
    ) -> Manifest:
        most = self._max_bytes
        digest, reader, size = hashlib.sha256(), ContainerReader(), 0
        with download(url, hook.settings) as incoming:
            if incoming.length is not None and incoming.length > most:
                raise _too_large(url, most)
            start, chunks = _started(incoming, url)
            with part.open("wb") as file:
                while start:
                    if hook.stopped.is_set():
                        raise LumaDownloadFailed(f"The task was told to stop: {shown_url(url)}.")
                    size += len(start)
                    if size > most:
                        raise _too_large(url, most)
                    digest.update(start)
                    reader.feed(start)
                    file.write(start)
                    start = next(chunks, b"")
            if incoming.length is not None and size != incoming.length:
                raise LumaDownloadFailed(
                    f"The download ended after {size} of {incoming.length} bytes: {shown_url(url)}."
                )
            if not reader.complete:
                raise LumaDownloadFailed(
                    f"The download ended after {size} bytes, in the middle of the video: {shown_url(url)}."
                )
        return Manifest(
            request_id=request_id,
            source=shown_url(url),
            source_sha256=_sha256(asked_for),
            path=str(target),
            sha256=digest.hexdigest(),
            bytes=size,
            seconds=reader.picture.seconds,
            width=reader.picture.width,
            height=reader.picture.height,
            kept_at=pendulum.now("UTC").to_iso8601_string(),
        )


def rendered_destination(destination: Any, money: str = "This try has sent nothing.") -> str:
    """Return where to keep, as a template has rendered it; one that has rendered to nothing is an error."""
    if not destination or is_absent(destination):
        raise LumaInvalidRequest(
            "destination is blank: the template or the upstream task that should give it probably gave "
            "nothing.",
            money=money,
        )
    text = str(destination).strip()
    if without_credentials(text.partition("?")[0]) != text.partition("?")[0]:
        raise LumaInvalidRequest(
            "destination holds a user and a password, which would stand in XComs and manifests: name an "
            "Airflow connection in their place, as in s3://aws_default@bucket/.",
            money=money,
        )
    return text


def hand_on(
    context: Context,
    outlets: Sequence[Any],
    manifest: Manifest,
    *,
    prompt: str | None = None,
    share_prompt: bool = False,
) -> None:
    """Push the manifest, and give the asset event of each outlet its details."""
    context["ti"].xcom_push(key="manifest", value=asdict(manifest))
    if not outlets:
        return
    extra: dict[str, Any] = {
        "request_id": manifest.request_id,
        "path": manifest.path,
        "sha256": manifest.sha256,
        "bytes": manifest.bytes,
        "seconds": manifest.seconds,
        "aspect_ratio": manifest.aspect_ratio,
    }
    if not is_absent(prompt):
        text = str(prompt)
        extra.update({"prompt": text} if share_prompt else {"prompt_sha256": _sha256(text)})
    events = context["outlet_events"]
    for outlet in outlets:
        if isinstance(outlet, Asset):
            events[outlet].extra.update(extra)


def _asked_for(hook: LumaHook, request_id: str) -> str:
    """Return the address that the gateway gives now. Free."""
    seen = hook.get_status(request_id)
    if seen.status is GenerationStatus.COMPLETED and seen.video_url:
        return seen.video_url
    raise LumaCompletedWithoutVideo(
        f"The gateway gives no video address: the generation is {seen.raw_status or seen.status.value!r}.",
        request_id=request_id,
        money="The generation is paid for.",
        next_step="Wait for it with a LumaStatusSensor first, then clear this task; do not submit again.",
    )


def _kept_already(
    target: ObjectStoragePath, request_id: str | None, video_url: str | None, overwrite: bool
) -> Manifest | None:
    """Return the manifest of a target that holds this video, ``None`` if there is room for it, or raise."""
    if target.is_dir():
        raise LumaTargetExists(f"At {_shown(target)} there is a folder.", request_id=request_id)
    manifest = _read_manifest(_sidecar(target))
    try:
        size = target.stat().st_size
    except FileNotFoundError:
        if manifest is None and not overwrite and _length(_sidecar(target)) > 0:
            raise LumaTargetExists(
                f"At {_shown(_sidecar(target))}, where the manifest goes, there is another file.",
                request_id=request_id,
            ) from None
        return None
    if manifest is not None and manifest.bytes == size:
        if request_id:
            same = manifest.request_id == request_id
        else:
            same = video_url is not None and manifest.source_sha256 == _sha256(video_url)
        if same:
            return replace(manifest, path=str(target))
    if overwrite:
        return None
    whose = f"that of request {manifest.request_id}" if manifest and manifest.request_id else "another file"
    raise LumaTargetExists(f"At {_shown(target)} there is {whose}.", request_id=request_id)


def _length(path: ObjectStoragePath) -> int:
    """Return how long a file is; one that is not there has no length."""
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        return 0


def _read_manifest(sidecar: ObjectStoragePath) -> Manifest | None:
    """Return the manifest in a sidecar file, or ``None`` if there is none that can be read."""
    try:
        with sidecar.open("rb") as file:
            return Manifest.of(json.loads(file.read(MAX_MANIFEST)))
    except (OSError, ValueError, RecursionError):
        return None


def _started(incoming: Incoming, url: str) -> tuple[bytes, Any]:
    """Return the first bytes, having checked that they begin a video, and the rest."""
    chunks = iter(incoming.chunks)
    start = b""
    while len(start) < SIGNATURE_LENGTH and (chunk := next(chunks, b"")):
        start += chunk
    if not start:
        raise LumaDownloadFailed(f"What is served is empty: {shown_url(url)}.")
    if not is_video(start):
        said = one_line(incoming.content_type, 60) or "no content type"
        raise LumaNotTheVideo(f"What is served is not a video ({said}): {shown_url(url)}.")
    return start, chunks


def _passing(error: BaseException) -> bool:
    """Return whether another download may help."""
    final = (LumaUnsafeAddress, LumaVideoExpired, LumaNotTheVideo)
    return isinstance(error, LumaDownloadFailed) and not isinstance(error, final)


def _too_large(url: str, most: int) -> LumaNotTheVideo:
    return LumaNotTheVideo(f"The video has more than max_bytes={most} bytes: {shown_url(url)}.")


def _sidecar(target: ObjectStoragePath) -> ObjectStoragePath:
    return target.with_name(f"{target.name}.json")


def _task_mark(context: Context, folder: ObjectStoragePath) -> str:
    """Return a mark that is the same for every try of one task with one folder, and another for any other."""
    ti = context["ti"]
    key = [str(getattr(ti, name, "")) for name in ("dag_id", "run_id", "task_id", "map_index")]
    return _sha256("\0".join([*key, str(folder)]))[:16]


@contextmanager
def _store_errors(target: ObjectStoragePath, request_id: str | None) -> Iterator[None]:
    """Turn what a store raises into an error that says what it means, and of which request."""
    try:
        yield
    except LumaError as error:
        error.request_id = error.request_id or request_id
        raise
    except Exception as error:
        raise LumaDownloadFailed(
            f"The video could not be stored at {_shown(target)}: {_said(error)}.", request_id=request_id
        ) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(without_credentials(str(error)))}"


def _make_folder(target: ObjectStoragePath) -> None:
    """Make the target's folder where there are folders; a bucket is never made."""
    if target.protocol in ("file", "local"):
        target.parent.mkdir(parents=True, exist_ok=True)


def _remove(part: ObjectStoragePath) -> None:
    # What stays behind, the next try removes; why this one failed matters more.
    with suppress(Exception):
        part.unlink(missing_ok=True)


def _remove_leftovers(target: ObjectStoragePath, mark: str) -> None:
    """Remove what earlier tries of this task left beside the target."""
    with suppress(Exception):
        for beside in target.parent.iterdir():
            if beside.name.startswith(mark) and beside.name.endswith(".part"):
                _remove(beside)
    # A process that was killed in the middle of an upload to S3 leaves its parts, which are billed and which
    # no listing shows. s3fs can name and abort them.
    if hasattr(target.fs, "list_multipart_uploads") and hasattr(target.fs, "abort_mpu"):
        with suppress(Exception):
            for upload in target.fs.list_multipart_uploads(target.bucket):
                if upload["Key"].rsplit("/", 1)[-1].startswith(mark):
                    target.fs.abort_mpu(target.bucket, upload["Key"], upload["UploadId"])


def file_name(request_id: str) -> str:
    """Return a request id as a file name: it comes from outside."""
    name = "".join(char if char.isalnum() or char in "-_" else "_" for char in request_id)
    return name if len(name.encode()) <= 128 else _sha256(request_id)


def _shown(target: ObjectStoragePath) -> str:
    return one_line(without_credentials(str(target)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
