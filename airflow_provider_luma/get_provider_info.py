"""What Airflow's provider registry reads. Metadata only: importing this imports nothing else."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return this provider's metadata, by Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-luma",
        "name": "Luma Dream Machine",
        "description": "Luma Dream Machine video generation through the Appy Pie gateway.",
        "integrations": [
            {
                "integration-name": "Luma Dream Machine",
                "external-doc-url": "https://lumalabs.ai/dream-machine",
                "tags": ["ai"],
            }
        ],
        "operators": [
            {
                "integration-name": "Luma Dream Machine",
                "python-modules": ["airflow_provider_luma.operators.luma"],
            }
        ],
        "sensors": [
            {
                "integration-name": "Luma Dream Machine",
                "python-modules": ["airflow_provider_luma.sensors.luma"],
            }
        ],
        "hooks": [
            {
                "integration-name": "Luma Dream Machine",
                "python-modules": ["airflow_provider_luma.hooks.luma"],
            }
        ],
        "triggers": [
            {
                "integration-name": "Luma Dream Machine",
                "python-modules": ["airflow_provider_luma.triggers.luma"],
            }
        ],
        "transfers": [
            {
                "source-integration-name": "Luma Dream Machine",
                "target-integration-name": "Common IO",
                "python-module": "airflow_provider_luma.transfers.luma_to_object_storage",
            }
        ],
        "task-decorators": [
            {"name": "luma", "class-name": "airflow_provider_luma.decorators.luma.luma_task"},
        ],
        "extra-links": ["airflow_provider_luma.links.luma.LumaVideoLink"],
        "connection-types": [
            {
                "connection-type": "luma",
                "hook-class-name": "airflow_provider_luma.hooks.luma.LumaHook",
                "hook-name": "Luma Dream Machine",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema", "port"],
                    "relabeling": {"password": "Subscription key", "host": "Base URL"},
                    "placeholders": {"host": "https://gateway.appypie.com"},
                },
            }
        ],
    }
