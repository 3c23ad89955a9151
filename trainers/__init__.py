"""Learning from what people said: records in, models out. No Django, no Celery, but for `tasks.py`."""
