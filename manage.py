#!/usr/bin/env python
"""Kibitz's command line. Starts the embedded PostgreSQL for the length of the command when none is running."""

import os
import sys

from webapp import embedded


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    with embedded.database():
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
