"""What the developers of this project run: a real Airflow to order, the demo, the search for secrets."""
