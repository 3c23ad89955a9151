"""The borders that linters cannot see: what a fresh process really loads."""

import os
import subprocess
import sys

LOADED = "import sys; print(sorted({name.split('.')[0] for name in sys.modules}))"


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {LOADED}"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(eval(done.stdout.splitlines()[-1]))


def test_the_site_and_the_queue_load_without_torch():
    loaded = loaded_by(
        "import webapp.asgi, trainers.tasks, annotation.tasks; "
        "from django.urls import get_resolver; get_resolver().url_patterns; "
        "from trainers import registry; [registry.fields(name) for name in registry.METHODS]"
    )
    assert "django" in loaded
    assert not loaded & {"torch", "transformers", "peft"}


def test_a_method_trains_without_django_celery_or_channels():
    loaded = loaded_by(
        "import importlib, trainers.__main__; from trainers import registry; "
        "[importlib.import_module(entry.module) for entry in registry.METHODS.values()]"
    )
    assert "torch" in loaded
    assert not loaded & {"django", "celery", "channels"}


def test_a_method_on_the_byte_transformer_loads_no_language_model_library():
    loaded = loaded_by("import trainers.api, trainers.nn, trainers.methods.online.rloo")
    assert not loaded & {"transformers", "peft"}
