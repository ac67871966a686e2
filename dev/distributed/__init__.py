"""What production is: PostgreSQL, Redis, Celery's workers, two triggerers; and what goes wrong there."""
