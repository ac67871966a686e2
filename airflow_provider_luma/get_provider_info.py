"""What Airflow's provider registry reads. Metadata only: importing this imports nothing else."""

from __future__ import annotations

from typing import Any


def connection_fields() -> dict[str, dict[str, Any]]:
    """
    Return the extras of a connection as fields of its form, in the order in which they are shown.

    The form stores what its fields show. A field that is left alone must not freeze today's default into
    the connection, so only a switch that is on has one here; the others say in words what empty means.
    """
    return {
        "gateway": {
            "label": "Gateway",
            "description": "Which door to Luma's models the key opens. Empty: appypie.",
            "schema": {"type": ["string", "null"], "enum": ["appypie", "luma", "luma_agents", "pixazo"]},
        },
        "timeout": {
            "label": "Answer time-out",
            "description": "Seconds to wait for an answer, from the moment the connection stands. Empty: 30.",
            "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
        },
        "connect_timeout": {
            "label": "Connect time-out",
            "description": "Seconds to connect, proxy and TLS included. Empty: 10.",
            "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
        },
        "max_concurrent_requests": {
            "label": "Requests at once",
            "description": "Most requests under way at once, for each triggerer or task. Empty: 16.",
            "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 1000},
        },
        "requests_per_second": {
            "label": "Requests per second",
            "description": "Most requests started in a second, for each triggerer or task. Empty: no limit.",
            "schema": {"type": ["number", "null"], "minimum": 0, "maximum": 100_000},
        },
        "typical_seconds": {
            "label": "Typical generation",
            "description": "Seconds that a generation usually takes; says when to look first. Empty: 60.",
            "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 86_400},
        },
        "status_id_field": {
            "label": "Id field of getStatus",
            "description": "The name under which the gateway takes a request id. auto: found out by asking.",
            "schema": {"type": ["string", "null"], "enum": ["auto", "task_id", "requestId"]},
        },
        "retry_generate_on_503": {
            "label": "Send again on 503",
            "description": "Sends a submit again after HTTP 503. It may pay twice: ask the vendor first.",
            "schema": {"type": ["boolean", "null"]},
        },
        "allow_http": {
            "label": "Allow plain http",
            "description": "Lets the key travel unencrypted to a host that is not this machine.",
            "schema": {"type": ["boolean", "null"]},
        },
        "allow_private_addresses": {
            "label": "Allow private addresses",
            "description": "Lets videos be fetched from loopback, private and link-local networks.",
            "schema": {"type": ["boolean", "null"]},
        },
        "verify": {
            "label": "TLS verification",
            "description": "Empty: certificates are checked. A path: against that CA bundle. false: not.",
            "schema": {"type": ["string", "null"]},
        },
        "cert": {
            "label": "Client certificate",
            "description": "Path of a PEM file; or the certificate's and the key's, with a comma between.",
            "schema": {"type": ["string", "null"]},
        },
        "proxies": {
            "label": "Proxies",
            "description": 'Such as {"https": "http://proxy:3128"}. Stored and shown in clear.',
            "schema": {"type": ["object", "null"]},
        },
        "price_table": {
            "label": "Prices",
            "description": 'For estimates, such as {"currency": "USD", "text_to_video": 0.4}.',
            "schema": {"type": ["object", "null"]},
        },
        "trust_env": {
            "label": "Use the environment's proxies",
            "description": "Whether environment variables for proxies and CA bundles count. Default: yes.",
            "schema": {"type": ["boolean", "null"], "default": True},
        },
    }


def get_provider_info() -> dict[str, Any]:
    """Return this provider's metadata, by Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-luma",
        "name": "Luma Dream Machine",
        "description": "Luma Dream Machine video generation: the Appy Pie gateway, Luma's own APIs, Pixazo.",
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
                "python-modules": [
                    "airflow_provider_luma.operators.luma",
                    "airflow_provider_luma.operators.batch",
                ],
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
                    "hidden-fields": ["login", "schema"],
                    "relabeling": {"password": "Subscription key", "host": "Base URL"},
                    "placeholders": {
                        "host": "https://gateway.appypie.com",
                        "password": "the vendor's Ocp-Apim-Subscription-Key",
                        "port": "443",
                    },
                },
                "conn-fields": connection_fields(),
            }
        ],
    }
