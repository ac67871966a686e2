"""
A generation that somebody hears about: a pool, a deadline alert, and a notifier.

The pool bounds how many tasks submit or fetch at the same moment, in all DAGs (a deferred task gives its slot
back): `airflow pools set luma 4 "Submits to the Luma gateway"`, and `LUMA_POOL=luma` where Airflow runs.

The deadline (Airflow 3.2 and later) is the business's: it cancels nothing, the generation goes on, and so
does the wait. The notifier says what a failure means for money. Both send mail by the connection
`smtp_default`; Slack's and others' notifiers are used alike.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.providers.smtp.notifications.smtp import SmtpNotifier

from airflow_provider_luma.operators.luma import LumaGenerateOperator

POOL = os.environ.get("LUMA_POOL", "default_pool")
MAIL = {"to": "video-team@example.com", "from_email": "airflow@example.com"}
LATEST = timedelta(minutes=float(os.environ.get("LUMA_DEADLINE_MINUTES", "30")))

try:
    from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference
except ImportError:  # before Airflow 3.2
    deadline = {}
else:
    deadline = {
        "deadline": DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=LATEST,
            callback=AsyncCallback(
                SmtpNotifier,
                kwargs={
                    **MAIL,
                    "subject": "The video is late",
                    "html_content": "It is paid for and is waited for; do not submit it again.",
                },
            ),
        )
    }

with DAG(
    dag_id="luma_watched",
    schedule=None,
    start_date=pendulum.datetime(2025, 1, 1, tz="UTC"),
    catchup=False,
    tags=["luma", "example"],
    doc_md=__doc__,
    **deadline,
):
    LumaGenerateOperator(
        task_id="make",
        prompt="A lighthouse in a storm, seen from the sea",
        wait_for_completion=True,
        deferrable=True,
        pool=POOL,
        on_failure_callback=SmtpNotifier(
            **MAIL,
            subject="No video: {{ ti.task_id }} of {{ run_id }}",
            # The error says what happened, to which request id, what that means for money, and what to do.
            html_content="{{ exception | e }}",
        ),
    )
