"""What the web and the command line know of a method without loading it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import fields as dataclass_fields

import pytest

from trainers import registry
from trainers.envs.registry import place_problem
from trainers.records import KINDS
from trainers.registry import METHODS, ConfigError, fields, inputs_problem, read_config, read_setting

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
            "'backbone' is 'gpt'. Expected one of sentence_encoder, tuned_encoder, byte_transformer, policy.",
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


BYTES = {"backbone": "byte_transformer", "d": 17}


@pytest.mark.parametrize(
    ("method", "config", "field", "words"),
    [
        ("online/ppo", {"steps": 20}, "steps", "5 buffers of 4 steps, so of 20 steps the policy has none"),
        ("online/p3o", {"micro_batch": 1}, "micro_batch", "a whole number of at least 2"),
        ("search/best_of_n", {"n": 1}, "n", "a whole number of at least 2"),
        ("query/information", {"candidates": 1}, "candidates", "a whole number of at least 2"),
        ("reward/bradley_terry", BYTES, "d", "Expected a multiple of 8"),
        ("reward/plackett_luce", BYTES, "d", "Expected a multiple of 8"),
        ("reward/ordinal", BYTES, "d", "Expected a multiple of 8"),
        ("reward/ensemble", BYTES, "d", "Expected a multiple of 8"),
        ("control/bc", {"execute": 5}, "execute", "only 4 actions are foretold at a time"),
        ("control/bc", {"things": 7}, "things", "Expected 3 to 6"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_at_the_one_to_change(method, config, field, words):
    with pytest.raises(ConfigError, match=words) as caught:
        read_config(method, config)
    assert caught.value.field == field


def test_a_setting_that_does_not_matter_may_be_anything():
    assert read_config("reward/bradley_terry", {"d": 17})["backbone"] == "sentence_encoder"
    assert read_config("online/ppo", {"steps": 20, "critic_warmup": 4})["steps"] == 20


def test_one_setting_by_itself_is_not_held_against_the_defaults_of_the_others():
    """A form's field, and a setting of a run under way, are read before the others are known."""
    assert read_setting("online/ppo", "steps", "20") == 20
    with pytest.raises(ConfigError, match="Expected a whole number of at least 1"):
        read_setting("online/ppo", "steps", 0)
    with pytest.raises(ConfigError, match="online/ppo has no setting 'step'. It has lr, "):
        read_setting("online/ppo", "step", 1)


def test_a_byte_transformer_that_a_method_makes_has_the_heads_that_the_registry_reckons_with():
    from trainers.nn.byte_transformer import ByteTransformerConfig

    assert ByteTransformerConfig().heads == registry.HEADS


@every_method
def test_the_kinds_of_model_that_a_method_asks_for_are_kinds_that_some_method_makes(method):
    from trainers.nn.storage import KINDS as MODELS

    for role, kinds in METHODS[method].made_as.items():
        assert role in (*METHODS[method].inputs, *METHODS[method].optional_inputs)
        assert set(kinds) <= set(MODELS) and set(kinds) <= set(registry.MAKERS)
    assert all(name in METHODS for said in registry.MAKERS.values() for name in said.split(" or "))


@pytest.mark.parametrize(
    ("method", "config", "kinds", "field", "words"),
    [
        ("query/disagreement", {}, {"reward_model": "byte_reward"}, "reward_model", "reward/ensemble made"),
        ("query/information", {}, {"reward_model": "encoder_reward"}, "reward_model", "ensemble_reward"),
        ("query/clips", {}, {"robot_policy": "yay_robot"}, "robot_policy", "control/preference_ppo made"),
        ("correction/rt_h", {}, {"robot_policy": "yay_robot"}, "robot_policy", "control/rt_h_base made"),
        ("correction/yay", {}, {"robot_policy": "motion_policy"}, "robot_policy", "control/bc made"),
        ("control/dagger", {}, {"robot_policy": "yay_robot"}, "robot_policy", "control/dagger made"),
        ("control/ppo", {}, {"reward_model": "byte_reward"}, "reward_model", "clip_preferences made"),
        ("online/grpo", {}, {"reward_model": "clip_reward"}, "reward_model", "one that scores answers"),
        ("query/random", {"prompts": "rule"}, {}, "prompts", "this run names no rule"),
        (
            "online/ppo",
            {"critic_from": "reward_model"},
            {"policy": "byte_transformer", "reward_model": "encoder_reward"},
            "critic_from",
            "token by token",
        ),
    ],
)
def test_a_model_that_a_method_can_do_nothing_with_is_refused_at_its_role(
    method, config, kinds, field, words
):
    found = inputs_problem(method, read_config(method, config), kinds, "")
    assert found and found[0] == field and words in found[1]


def test_models_that_will_do_are_not_refused():
    fine = {"policy": "byte_transformer", "reward_model": "ensemble_reward"}
    assert inputs_problem("query/disagreement", read_config("query/disagreement", {}), fine, "") is None
    shown = read_config("query/random", {"prompts": "rule"})
    assert inputs_problem("query/random", shown, {}, "hotel") is None
    critic = read_config("online/ppo", {"critic_from": "reward_model"})
    for mine, theirs in (("byte_transformer", "byte_reward"), ("hugging_face", "hugging_face_reward")):
        assert inputs_problem("online/ppo", critic, {"policy": mine, "reward_model": theirs}, "") is None
    assert (
        inputs_problem("control/ppo", read_config("control/ppo", {}), {"reward_model": "clip_reward"}, "")
        is None
    )


@pytest.mark.parametrize(
    ("method", "config", "field", "words"),
    [
        ("control/bc", {"world": "tabel_talk"}, "world", "Known worlds: table_talk, "),
        ("control/bc", {"world": "pendulum"}, "world", "named things on a table"),
        ("control/bc", {"task": "juggle"}, "task", "table_talk has no task 'juggle'. It has pack, "),
        ("control/ppo", {"world": "moon"}, "world", "Known worlds"),
        ("control/dagger", {"tasks": " , "}, "tasks", "tasks is empty"),
        ("control/dagger", {"world": "table_talk"}, "tasks", "table_talk has no task 'red'"),
        ("control/rt_h_base", {"tasks": "red, juggle"}, "tasks", "reach has no task 'juggle'"),
    ],
)
def test_a_world_or_a_task_that_does_not_exist_is_refused_at_its_setting(method, config, field, words):
    found = place_problem(method, read_config(method, config))
    assert found and found[0] == field and words in found[1]


@every_method
def test_the_worlds_of_the_defaults_exist(method):
    assert place_problem(method, read_config(method, {})) is None
