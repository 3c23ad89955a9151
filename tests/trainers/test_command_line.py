"""What `python -m trainers` does, for people and for programs."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainers.lived import live
from tests.trainers.toys import (
    STRINGS,
    demonstrations,
    liking,
    pairs,
    policy,
    rankings,
    ratings,
    reward_model,
    snapshot,
)
from trainers import api, nn
from trainers.__main__ import main
from trainers.nn.table import SeqTable
from trainers.registry import METHODS, card, fields
from trainers.sampling.asked import prompts_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "command-line.md"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command_line")
    snapshot(folder / "answers", [*pairs(), *demonstrations()])
    policy(folder / "policy")
    policy(folder / "rival", seed=5)
    reward_model(folder / "judge")
    return folder


def said(capsys, *arguments: object) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    code = main([str(one) for one in arguments])
    return code, *capsys.readouterr()


def printed(capsys, *arguments: object):
    """The JSON that a command prints."""
    code, out, err = said(capsys, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_list_names_every_method_and_describe_its_settings(capsys):
    code, out, _ = said(capsys, "list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == list(METHODS)
    assert [one["name"] for one in printed(capsys, "list")] == list(METHODS)
    about = printed(capsys, "describe", "direct/dpo")
    assert about["inputs"] == ["policy"] and about["produces"] == "policy" and "module" not in about
    assert [one["name"] for one in about["settings"]] == [field.name for field in fields("direct/dpo")]
    assert about["card"] == card("direct/dpo") == said(capsys, "describe", "direct/dpo")[1]


def test_training_by_hand_ends_with_what_it_made(capsys, place, tmp_path):
    found = printed(
        capsys, "train", "direct/dpo", place / "answers", "--policy", place / "policy",
        "--out", tmp_path / "run", "--set", "lr=0.2", "--set", "beta=0.5", "--epochs", 3,
    )  # fmt: skip
    assert found["code"] == 0 and found["out"] == str(tmp_path / "run")
    assert [(one["kind"], one["path"]) for one in found["artifacts"]] == [
        ("policy", str(tmp_path / "run" / "policy"))
    ]
    same = api.train(
        "direct/dpo", out=tmp_path / "other", snapshot=place / "answers",
        inputs={"policy": place / "policy"}, lr=0.2, beta=0.5, epochs=3,
    )  # fmt: skip
    assert nn.digest(same / "policy") == nn.digest(tmp_path / "run" / "policy")


def test_a_run_in_bfloat16_is_the_same_by_hand_and_from_python(capsys, place, tmp_path):
    start = ["train", "reward/bradley_terry", place / "answers", "--epochs", 1]
    small = {"backbone": "byte_transformer", "d": 16, "layers": 1, "control": False, "epochs": 1}
    settings = [item for name, value in small.items() for item in ("--set", f"{name}={value}")]
    printed(capsys, *start, *settings, "--out", tmp_path / "run", "--precision", "bfloat16")
    digests = {
        precision: nn.digest(
            api.train(
                "reward/bradley_terry", out=tmp_path / precision, snapshot=place / "answers",
                precision=precision, **small,
            ) / "reward_model"
        )
        for precision in ("float32", "bfloat16")
    }  # fmt: skip
    assert nn.digest(tmp_path / "run" / "reward_model") == digests["bfloat16"] != digests["float32"]
    code, _, err = said(capsys, *start, *settings, "--out", tmp_path / "run")
    assert code == 2 and "a run whose precision is 'bfloat16', and not 'float32'" in err


def test_records_may_be_a_file_by_itself_and_the_old_spelling_works(capsys, place, tmp_path):
    file = tmp_path / "my answers.jsonl"
    file.write_text((place / "answers" / "records.jsonl").read_text())
    start = ["--policy", place / "policy", "--batch-size", 64]
    assert said(capsys, "train", "correction/sft", file, "--out", tmp_path / "file", *start)[0] == 0
    old = ["--snapshot", place / "answers", "--out", tmp_path / "old", *start]
    assert said(capsys, "train", "correction/sft", *old)[0] == 0
    assert nn.digest(tmp_path / "file" / "policy") == nn.digest(tmp_path / "old" / "policy")


def test_a_run_that_is_there_goes_on_and_is_not_mistaken_for_another(capsys, place, tmp_path):
    start = [
        "train",
        "correction/sft",
        place / "answers",
        "--policy",
        place / "policy",
        "--out",
        tmp_path / "a",
    ]
    assert said(capsys, *start, "--set", "lr=0.1")[0] == 0
    before = nn.digest(tmp_path / "a" / "policy")
    assert said(capsys, *start, "--lr", "0.1")[0] == 0
    assert nn.digest(tmp_path / "a" / "policy") == before
    code, _, err = said(capsys, *start, "--set", "lr=0.2")
    assert code == 2 and "a run whose lr is 0.1, and not 0.2" in err
    assert nn.digest(tmp_path / "a" / "policy") == before


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (["--set", "lr=-1"], "lr", "'lr' is '-1'. Expected a number above 0."),
        (["--set", "lr"], "set", "Expected KEY=VALUE"),
        (["--set", "leaning_rate=1"], "leaning_rate", "has no setting 'leaning_rate'"),
        (["--policy", "nowhere"], "policy", "nowhere holds no model"),
        (["--policy", "JUDGE"], "policy", "where a policy is needed"),
        (["--reference", "JUDGE"], "reference", "where a policy is needed"),
        (["--snapshot", "nowhere"], "records", "No such file"),
        (["--snapshot", "DEMONSTRATIONS"], "records", "holds demonstration. Expected records of kind pair"),
        (["--snapshot", "BROKEN"], "records", "Line 1"),
        (["--gold", "motel"], "gold", "No rule called 'motel'"),
        (["--device", "abacus"], "device", "'abacus' cannot be used"),
        (
            ["--precision", "float8"],
            "precision",
            "There is no precision 'float8'. Expected float32 or bfloat16.",
        ),
        (["--seed", "-1"], "seed", "Found the seed -1; expected a whole number from 0 to"),
        (["--threads", "0"], "threads", "Found 0 threads; expected 1 to 256."),
        (["--processes", "0"], "processes", "Found 0 processes; expected 1 to 64."),
        (["--processes", "2"], "sharding", "Found 2 processes and the sharding 'none'."),
        (["--sharding", "ddp"], "sharding", "Found 1 process and the sharding 'ddp'."),
        (["--snapshot", "moon://nope"], "records", "moon://nope cannot be read"),
        (["--snapshot", "file:///nowhere/at/all"], "records", "holds no file"),
        (["--policy", "file:///nowhere/at/all"], "policy", "holds no file"),
        (["--policy", "URL OF JUDGE"], "policy", "where a policy is needed"),
    ],
)
def test_bad_values_are_refused_by_name_before_anything_starts(
    change, field, message, capsys, place, tmp_path
):
    snapshot(tmp_path / "demonstrations", demonstrations())
    (tmp_path / "broken.jsonl").write_text("{\n")
    places = {
        "JUDGE": place / "judge",
        "URL OF JUDGE": f"file://{place / 'judge'}",
        "DEMONSTRATIONS": tmp_path / "demonstrations",
        "BROKEN": tmp_path / "broken.jsonl",
    }
    given = {"--snapshot": place / "answers", "--policy": place / "policy"}
    rest = [str(places.get(one, one)) for one in change]
    start = [item for pair in given.items() if pair[0] not in change for item in pair]
    code, out, err = said(capsys, "train", "direct/dpo", "--out", tmp_path / "run", *start, *rest, "--json")
    assert code == 2
    told = json.loads(out)
    assert told["field"] == field and message in told["problem"] and field in err
    assert not (tmp_path / "run").exists()


def test_what_trains_nothing_is_not_started_in_several_processes(capsys, place, tmp_path):
    start = [
        "train",
        "query/random",
        place / "answers",
        "--policy",
        place / "policy",
        "--out",
        tmp_path / "a",
    ]
    code, out, _ = said(capsys, *start, "--processes", 2, "--sharding", "ddp", "--json")
    assert code == 2 and json.loads(out)["field"] == "processes" and "trains nothing" in out


def test_a_run_that_fails_names_the_problem(capsys, place, tmp_path):
    start = [
        "train",
        "direct/dpo",
        place / "answers",
        "--policy",
        place / "policy",
        "--out",
        tmp_path / "run",
    ]
    code, out, err = said(capsys, *start, "--held-out", 0.9999, "--json")
    told = json.loads(out)
    assert code == told["code"] == 1 and "Traceback" in err
    assert told["problem"].startswith("ValueError: All 240 records fall to the held-out part")
    assert told["artifacts"] == [] and told["report"] == {}


def test_an_earlier_attempts_problem_is_no_problem_of_a_run_that_went_on(place, tmp_path):
    known = {"snapshot": place / "answers", "inputs": {"policy": place / "policy"}, "out": tmp_path / "run"}
    with pytest.raises(ValueError, match="held-out part"):
        api.train("direct/dpo", held_out=0.9999, **known)
    assert "held-out part" in api.made(tmp_path / "run")["problem"]
    api.train("direct/dpo", **known)
    assert set(api.made(tmp_path / "run")) == {"artifacts", "report"}


def test_a_missing_input_or_missing_records_are_named(capsys, place, tmp_path):
    code, _, err = said(capsys, "train", "direct/dpo", place / "answers", "--out", tmp_path / "run")
    assert code == 2 and "needs a policy" in err
    code, _, err = said(
        capsys, "train", "direct/dpo", "--policy", place / "policy", "--out", tmp_path / "run"
    )
    assert code == 2 and "learns from pair or ranking or correction" in err


def test_a_policy_that_a_reward_model_would_not_read_is_refused(capsys, place, tmp_path):
    asked = "train", "reward/bradley_terry", place / "answers", "--out", tmp_path / "run", "--json"
    for backbone in ((), ("--set", "backbone=byte_transformer")):
        code, out, _ = said(capsys, *asked, "--policy", place / "policy", *backbone)
        told = json.loads(out)
        assert code == 2 and told["field"] == "policy" and "Choose the backbone policy" in told["problem"]
    code, out, _ = said(capsys, *asked, "--set", "backbone=policy")
    assert code == 2 and "starts from a policy, and none is named" in json.loads(out)["problem"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["ranking", "rating"])
def test_prompts_that_were_ranked_or_rated_are_asked(kind, capsys, place, tmp_path):
    records = {"ranking": rankings, "rating": ratings}[kind](24)
    answers = snapshot(tmp_path / "answers", records)
    models = "--policy", place / "policy", "--reward-model", place / "judge"
    config = ("--set", "steps=2", "--set", "prompts_per_step=2", "--set", "k=2", "--set", "max_new_tokens=3")
    made = printed(capsys, "train", "online/rloo", answers, *models, "--out", tmp_path / "online", *config)
    assert [one["kind"] for one in made["artifacts"]] == ["policy"]
    config = ("--set", "count=5", "--set", "max_new_tokens=3")
    printed(capsys, "train", "query/random", answers, *models[:2], "--out", tmp_path / "asked", *config)
    lines = (tmp_path / "asked" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    asked = {json.loads(line)["context"]["prompt"] for line in lines}
    assert len(lines) == 5 and asked <= {one.prompt for one in records}


def test_score_on_pairs_gives_accuracy_its_interval_and_calibration(capsys, place):
    report = printed(capsys, "score", place / "judge", place / "answers")
    one = report["readings"]["accuracy"]
    assert one["value"] == 1.0 and 0.5 < one["low"] < 1 and one["n"] == 163
    assert {"ece_before", "ece_after"} <= set(report["readings"])
    code, out, _ = said(capsys, "score", place / "judge", place / "answers" / "records.jsonl")
    assert code == 0 and "Right on 100.0% of 163" in out
    both = printed(capsys, "score", place / "judge", place / "judge", place / "answers")
    assert [one["readings"] for one in both] == [report["readings"]] * 2


def test_score_without_records_reads_standard_input(capsys, place, monkeypatch):
    monkeypatch.setattr(
        sys, "stdin", io.StringIO('{"id": 4, "prompt": "prompt 1", "answers": ["aab", "bcd"]}\n')
    )
    code, out, _ = said(capsys, "score", place / "judge")
    assert code == 0 and json.loads(out) == {"id": 4, "scores": [[2.0, 0.0]]}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"garbage", "Line 2: not JSON: Expecting value at column 1. Write one JSON object a line."),
        (b"[1]", "Line 2: found [1], expected an object."),
        (
            b'{"id": 1, "prompt": "p", "answer": "a"}',
            "field 'answers': found nothing, expected a list of texts.",
        ),
        (
            b'{"id": 1, "prompt": "p", "answers": "ab"}',
            "field 'answers': found \"ab\", expected a list of texts.",
        ),
        (b'{"id": 1, "prompt": "p", "answers": ["a", 2]}', "field 'answers[1]': found 2, expected text."),
        (b'{"id": 1, "answers": ["a"]}', "field 'prompt': found id, answers, expected a prompt."),
        (b'{"id": 1, "prompt": 5, "answers": ["a"]}', "field 'prompt': found 5, expected text or a list"),
        (b'{"id": 1, "messages": [{"role": "bard"}], "answers": ["a"]}', "field 'messages[0].role': found"),
        (b'{"prompt": "p", "answers": ["a"]}', "field 'id': found nothing"),
        (
            b'{"id": 1, "prompt": "\xff", "answers": []}',
            "Line 2: not UTF-8: found the byte 0xff at column 22.",
        ),
    ],
)
def test_a_line_that_cannot_be_scored_is_named_with_its_field(line, words, capsys, place, monkeypatch):
    rows = b'{"id": 4, "prompt": "prompt 1", "answers": ["aab"]}\n' + line + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(rows), encoding="utf-8"))
    code, out, err = said(capsys, "score", place / "judge", "--json")
    assert code == 1 and json.loads(out)["problem"] == err.rstrip("\n")
    assert err.startswith("Line 2") and words in err


def test_what_is_not_utf_8_is_named_with_its_file_and_line(capsys, place, tmp_path):
    file = tmp_path / "latin.jsonl"
    file.write_bytes(
        (place / "answers" / "records.jsonl").read_bytes().split(b"\n")[0] + b'\n{"id": "\xe9"}\n'
    )
    words = f"{file}: Line 2: not UTF-8: found the byte 0xe9 at column 9. Save the file again as UTF-8.\n"
    assert said(capsys, "score", place / "judge", file)[::2] == (1, words)
    assert said(capsys, "sample", place / "policy", file)[::2] == (1, words)
    file.write_bytes(file.read_bytes().split(b"\n")[1])
    start = ["train", "correction/sft", file, "--policy", place / "policy", "--out", tmp_path / "run"]
    assert said(capsys, *start)[::2] == (2, f"records: {words.replace('Line 2', 'Line 1')}")
    assert not (tmp_path / "run").exists()


def test_sample_gives_exact_log_probabilities(capsys, place):
    table = nn.load_policy(place / "policy")
    assert isinstance(table, SeqTable)
    start = ["sample", place / "policy", "prompt 3", "prompt 5", "--max-new-tokens", 3]
    found = printed(capsys, *start, "--n", 4, "--seed", 2)
    assert [one["prompt"] for one in found] == ["prompt 3", "prompt 5"]
    for number, row in zip((3, 5), found, strict=True):
        assert len(row["answers"]) == 4
        for one in row["answers"]:
            logp = table.logp_all()[number][STRINGS.index(one["text"])].item()
            assert one["logp"] == pytest.approx(logp, abs=1e-9)
            assert one["tokens"] == 3 and one["finished"]
    assert printed(capsys, *start, "--n", 4, "--seed", 2) == found != printed(capsys, *start, "--n", 4)


def test_sample_in_every_way(capsys, place):
    start = ["sample", place / "policy", "prompt 3", "--max-new-tokens", 3]
    table = nn.load_policy(place / "policy")
    mode = STRINGS[int(table.logp_all()[3].argmax())]
    (beam,) = printed(capsys, *start, "--beam", 64, "--n", 2)
    assert beam["answers"][0]["text"] == mode and len(beam["answers"]) == 2
    (best,) = printed(capsys, *start, "--best-of", 16, "--reward-model", place / "judge", "--n", 3)
    assert all(one["score"] == liking(one["text"]) >= 1 for one in best["answers"])
    (nucleus,) = printed(capsys, *start, "--top-p", 0.5, "--n", 3)
    assert all(set(one) == {"text"} for one in nucleus["answers"])
    (stopped,) = printed(capsys, *start, "--stop", "a", "--n", 32)
    assert not any("a" in one["text"] for one in stopped["answers"])
    rows = printed(capsys, "sample", place / "policy", place / "answers", "--max-new-tokens", 3)
    assert len(rows) == 12 and len({row["prompt"] for row in rows}) == 12
    code, out, _ = said(capsys, *start)
    assert code == 0 and out.startswith("> prompt 3\n") and "[logp" in out


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (["--n", 0], "n"),
        (["--temperature", 0], "temperature"),
        (["--top-p", 1.5], "top_p"),
        (["--top-k", -1], "top_k"),
        (["--stop", ""], "stop"),
        (["--best-of", 4], "best_of"),
        (["--beam", 4, "--top-p", 0.5], "beam"),
        (["--beam", 2, "--n", 3], "n"),
        (["--beam", 2, "--begin", "a"], "begin"),
    ],
)
def test_sample_refuses_what_cannot_be_by_name(change, field, capsys, place):
    code, out, _ = said(capsys, "sample", place / "policy", "prompt 1", *change, "--json")
    assert code == 2 and json.loads(out)["field"] == field


def test_prompts_of_a_file_are_read_with_care(capsys, place, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "prompt 1"}\n\n{"prompt": "prompt 2"}\n{"prompt": "prompt 1"}\n')
    rows = printed(capsys, "sample", place / "policy", file, "--max-new-tokens", 3)
    assert [row["prompt"] for row in rows] == ["prompt 1", "prompt 2"]
    file.write_text('{"question": "prompt 1"}\n')
    code, _, err = said(capsys, "sample", place / "policy", file)
    assert code == 1 and "Line 1, field 'prompt'" in err
    code, _, err = said(capsys, "sample", place / "policy", tmp_path / "none.jsonl")
    assert code == 1 and "none.jsonl" in err


def test_a_file_that_is_not_jsonl_is_not_taken_for_the_prompt(capsys, place, tmp_path):
    (tmp_path / "prompts.txt").write_text("prompt 1\nprompt 2\n")
    code, out, _ = said(capsys, "sample", place / "policy", tmp_path / "prompts.txt", "--json")
    told = json.loads(out)
    assert code == 2 and told["field"] == "prompts" and "prompts.txt is a file whose name" in told["problem"]
    (tmp_path / "prompts.txt").unlink()
    assert prompts_of(["prompts.txt", "x" * 5000]) == ["prompts.txt", "x" * 5000]


def test_evaluate_a_reward_model_is_score(capsys, place):
    assert printed(capsys, "evaluate", place / "judge", place / "answers") == printed(
        capsys, "score", place / "judge", place / "answers"
    )
    code, out, _ = said(
        capsys, "evaluate", place / "judge", place / "answers", "--rival", place / "policy", "--json"
    )
    assert code == 2 and json.loads(out)["field"] == "rival"


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        (["--n", 0], "n", "'n' is 0. Expected 1 or more."),
        (["--temperature", 0], "temperature", "'temperature' is 0.0. Expected a number above 0."),
        (["--temperature", "nan"], "temperature", "Expected a number above 0."),
        (["--max-new-tokens", 0], "max_new_tokens", "Expected 1 or more."),
        (["--seed", 2**64], "seed", "expected a whole number from 0 to"),
    ],
)
def test_evaluate_refuses_what_cannot_be_by_name(change, field, message, capsys, place):
    judged = ["--rival", place / "rival", "--reward-model", place / "judge"]
    code, out, _ = said(capsys, "evaluate", place / "policy", place / "answers", *judged, *change, "--json")
    told = json.loads(out)
    assert code == 2 and told["field"] == field and message in told["problem"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="it can be used here")
@pytest.mark.parametrize(
    "line", ["sample POLICY x --json", "evaluate POLICY ANSWERS --json", "score JUDGE ANSWERS --json", "score JUDGE"]
    + ["evaluate JUDGE ANSWERS --json", "serve POLICY"],
)  # fmt: skip
def test_a_device_that_is_not_here_and_no_threads_are_said_in_words(line, capsys, place):
    places = {"POLICY": place / "policy", "JUDGE": place / "judge", "ANSWERS": place / "answers"}
    start = [places.get(word, word) for word in line.split()]
    code, out, err = said(capsys, *start, "--device", "cuda")
    assert code == 2 and "The device 'cuda' cannot be used" in err
    assert "--json" not in line or json.loads(out)["field"] == "device"
    assert said(capsys, *start, "--threads", 0)[2] == "threads: Found 0 threads; expected 1 to 256.\n"


@pytest.mark.parametrize(
    ("line", "field", "problem"),
    [
        ("sample a b --n x", "n", "argument --n: invalid int value: 'x'"),
        ("sample a b --max-new-tokens", "max_new_tokens", "argument --max-new-tokens: expected one argument"),
        ("train direct/dpo", "out", "the following arguments are required: --out"),
        ("train direct/dppo", "method", "argument METHOD: invalid choice: 'direct/dppo'"),
        ("list --loudly", "", "unrecognized arguments: --loudly"),
    ],
)
def test_a_line_that_cannot_be_read_is_told_as_json_where_json_was_asked_for(line, field, problem, capsys):
    code, out, err = said(capsys, *line.split(), "--json")
    told = json.loads(out)
    assert code == 2 and told["field"] == field and told["problem"].startswith(problem)
    assert err.startswith("usage: python -m trainers") and f"error: {problem}" in err
    code, out, plain = said(capsys, *line.split())
    assert (code, out, plain) == (2, "", err)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("{", "holds no JSON"),
        ("[]", "holds a list. Expected an object"),
        ("{}", "lacks home and method"),
    ],
)
def test_a_spec_that_cannot_be_read_is_told_in_words(text, words, capsys, tmp_path):
    if text is not None:
        (tmp_path / "spec.json").write_text(text)
    code, out, err = said(capsys, "run", tmp_path / "spec.json")
    assert code == 1 and words in err and str(tmp_path) in err and err.count("\n") == 1


def test_evaluate_a_policy(capsys, place):
    found = printed(
        capsys, "evaluate", place / "policy", place / "answers", "--reference", place / "rival",
        "--rival", place / "rival", "--reward-model", place / "judge", "--max-new-tokens", 3, "--n", 2,
    )  # fmt: skip
    assert {"perplexity", "implied_accuracy", "win_rate", "win_rate_length_controlled"} <= set(
        found["readings"]
    )
    assert all(name in found["text"] for name in ("Perplexity", "reward it implies", "than its rival"))
    code, out, _ = said(
        capsys, "evaluate", place / "policy", place / "answers", "--rival", place / "rival", "--json"
    )
    assert code == 2 and json.loads(out)["field"] == "reward_model"


WITHOUT_DJANGO = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("django", "celery", "channels", "webapp", "annotation"):
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Wall())
from trainers.__main__ import main
place, out = sys.argv[1:]
for line in (
    f"list", f"list --json", f"describe direct/dpo",
    f"train direct/dpo {place}/answers --policy {place}/policy --out {out}/run --set lr=0.1",
    f"score {place}/judge {place}/answers", f"sample {out}/run/policy prompt_1.jsonl --max-new-tokens 3",
    f"evaluate {out}/run/policy {place}/answers",
):
    assert main(line.split()) == 0, line
"""


def test_every_command_works_where_there_is_no_django(place, tmp_path):
    (tmp_path / "prompt_1.jsonl").write_text('{"prompt": "prompt 1"}\n')
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DJANGO, str(place), str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Perplexity" in done.stdout and "done:" in done.stdout


# --- the page ---------------------------------------------------------------------------------------


def commands_of_the_page() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def test_every_example_of_the_page_works_as_it_stands(tmp_path, monkeypatch, capsys):
    (tmp_path / "answers").mkdir()
    (records,) = re.findall(r"```jsonl\n(.*?)```", PAGE.read_text(), re.S)
    (tmp_path / "answers" / "records.jsonl").write_text(records)
    (tmp_path / "trainers").symlink_to(ROOT / "trainers")
    live(tmp_path / "episodes", name="0123456789abcdef" * 2)
    monkeypatch.chdir(tmp_path)
    examples = commands_of_the_page()
    assert len(examples) >= 12
    for example in examples:
        prefix, rest = example[: len("python -m trainers ")], example[len("python -m trainers ") :]
        assert prefix == "python -m trainers "
        assert main(shlex.split(rest)) == 0, f"{example}\n{capsys.readouterr().err}"
        assert capsys.readouterr().out, example


def test_the_page_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    named = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.M)
    assert {
        "list",
        "describe",
        "train",
        "score",
        "sample",
        "evaluate",
        "run",
        "serve",
        "lora",
        "merge",
        "episodes",
        "motions",
        "live",
        "drive",
    } == set(named)
    assert all(f"`{name}" in PAGE.read_text() or f"trainers {name}" in PAGE.read_text() for name in named)


@pytest.mark.parametrize(
    ("method", "setting", "words"),
    [
        ("query/disagreement", "candidates=2", "reward/ensemble made"),
        ("online/ppo", "steps=20", "of 20 steps the policy has none"),
        ("online/p3o", "held_out=1", "of at least 0 and below 1"),
    ],
)
def test_what_could_not_run_is_refused_before_a_process_starts(
    capsys, place, tmp_path, method, setting, words
):
    models = ["--policy", place / "policy", "--reward-model", place / "judge"]
    given = [place / "answers", "--out", tmp_path / "run", "--set", setting]
    code, _, err = said(capsys, "train", method, *models, *given)
    assert code == 2 and words in err and not (tmp_path / "run").exists()
