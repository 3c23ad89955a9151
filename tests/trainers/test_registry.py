"""What the web and the command line know of a method without loading it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import fields as dataclass_fields

import pytest

from trainers import registry
from trainers.records import KINDS
from trainers.registry import METHODS, ConfigError, fields, read_config

every_method = pytest.mark.parametrize("method", METHODS)


@every_method
def test_what_the_syntax_tree_says_is_what_python_says(method):
    config = importlib.import_module(METHODS[method].module).Config
    assert [(field.name, field.default) for field in fields(method)] == [
        (field.name, field.default) for field in dataclass_fields(config)
    ]
    assert config(**read_config(method, {})) == config()


@every_method
def test_its_defaults_are_among_the_values_it_allows(method):
    defaults = {field.name: field.default for field in fields(method)}
    assert read_config(method, defaults) == defaults
    assert read_config(method, {name: str(value) for name, value in defaults.items()}) == defaults


@every_method
def test_its_knobs_are_settings_and_its_name_is_its_place(method):
    entry = METHODS[method]
    assert set(entry.knobs) <= {field.name for field in fields(method)}
    assert entry.module == "trainers.methods." + method.replace("/", ".")
    assert entry.family == method.partition("/")[0]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("lr", 0, "'lr' is 0. Expected a number above 0."),
        ("lr", "fast", "'lr' is 'fast'. Expected a number above 0."),
        ("lr", float("nan"), "'lr' is nan. Expected a number above 0."),
        ("lr", True, "'lr' is True. Expected a number above 0."),
        ("epochs", 1.5, "'epochs' is 1.5. Expected a whole number of at least 1."),
        ("epochs", "inf", "'epochs' is 'inf'. Expected a whole number of at least 1."),
        ("warmup", 1.1, "'warmup' is 1.1. Expected a number of at least 0 and at most 1."),
        ("held_out", 1, "'held_out' is 1. Expected a number of at least 0 and below 1."),
        (
            "backbone",
            "gpt",
            "'backbone' is 'gpt'. Expected one of sentence_encoder, tuned_encoder, byte_transformer.",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_was_expected(setting, value, message):
    with pytest.raises(ConfigError) as caught:
        read_config("reward/bradley_terry", {setting: value})
    assert caught.value.field == setting and str(caught.value) == message


def test_values_may_come_as_text_from_a_form():
    config = read_config(
        "reward/bradley_terry", {"lr": "1e-4", "epochs": "2", "backbone": "byte_transformer"}
    )
    assert (config["lr"], config["epochs"], config["backbone"]) == (1e-4, 2, "byte_transformer")
    assert isinstance(config["epochs"], int)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        ConfigError, match="No training method called 'dppo'. Known methods: reward/bradley_terry, "
    ):
        registry.entry("dppo")
    with pytest.raises(ConfigError, match="direct/dpo has no setting 'betta'. It has lr, beta, "):
        read_config("direct/dpo", {"betta": 1})


def test_a_snapshot_lists_the_methods_that_can_learn_from_it():
    written, compared = (
        registry.learns_from({"demonstration": 3}),
        registry.learns_from({"pair": 1, "correction": 0}),
    )
    assert {"correction/sft", "online/rloo", "query/random"} <= set(written)
    assert "direct/dpo" not in written and "direct/dpo" in compared
    assert "correction/edits" not in compared, "none was made"
    assert "direct/kto" in registry.learns_from({"rating": 2})
    assert registry.learns_from({"pair": 0}) == []
    assert registry.learns_from({"critique": 3, "step_labels": 3}) == []  # none reads them by themselves


def test_what_a_method_reads_is_a_kind_of_record():
    assert {kind for method in METHODS.values() for kind in method.reads} <= set(KINDS)


def test_reading_what_methods_there_are_loads_no_torch():
    program = (
        "import sys; from trainers import registry, records, metrics, journal\n"
        "[registry.fields(name) for name in registry.METHODS]\n"
        "[registry.card(name) for name in registry.METHODS]\n"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
