"""The Django project: settings, addresses, and the apps for people and for training runs."""
