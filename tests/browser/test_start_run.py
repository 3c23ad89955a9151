"""Starting a run in a real browser: a method is chosen, a wrong value is refused at its field, a right one is taken."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.annotation.studies import person
from tests.webapp.runs import study_of
from tests.webapp.test_run_pages import frozen, model
from webapp.runs.models import Run


@pytest.fixture
def ada(transactional_db):
    return person("ada")


@pytest.fixture
def study(ada, sign_in, settings):
    sign_in(ada)
    study = study_of(owner=ada)
    model(study, "policy", "demo policy", settings)
    frozen(study, pair=40)
    return study


def visit(page: Page, study) -> None:
    page.goto(f"/studies/{study.pk}/runs/new/")


def test_a_method_is_chosen_by_keyboard_and_its_settings_stand_beside_it(page, study):
    visit(page, study)
    chosen = page.locator("[type=radio][value='direct/dpo']")
    chosen.focus()
    page.keyboard.press("Space")
    settings = page.locator("[data-settings]")
    expect(settings.locator("h2").first).to_have_text("DPO: direct preference optimization")
    expect(chosen).to_be_focused()
    assert "method=direct%2Fdpo" in page.url
    page.keyboard.press("ArrowDown")
    expect(settings.locator("h2").first).not_to_have_text("DPO: direct preference optimization")
    expect(chosen).not_to_be_checked()
    page.keyboard.press("ArrowUp")
    expect(settings.locator("h2").first).to_have_text("DPO: direct preference optimization")

    settings.locator(".method-card summary").click()
    expect(settings.locator(".method-card")).to_contain_text("Rafailov")
    beta = settings.get_by_label("beta", exact=True)
    expect(beta).to_have_value("0.1")
    expect(settings.locator("#id_config_beta_helptext")).to_contain_text(
        "How closely to keep to the reference"
    )


def test_a_method_that_cannot_run_says_why_and_another_snapshot_opens_it(page, study):
    frozen_later = frozen(study_of(owner=study.created_by), rating=9)
    frozen_later.study = study
    frozen_later.save()
    visit(page, study)
    dpo = page.locator(".method-choice", has=page.locator("[value='direct/dpo']"))
    expect(dpo).to_contain_text("Needs pairs, rankings or corrections; this snapshot has none.")
    expect(dpo.locator("input")).to_be_disabled()
    page.locator("#snapshot").select_option(index=1)
    expect(dpo.locator("input")).to_be_enabled()
    expect(dpo).not_to_contain_text("this snapshot has none")
    settings = page.locator("[data-settings]")
    expect(settings).to_contain_text("cannot run on this")
    expect(settings).to_contain_text("needs ratings; this snapshot has none. Choose another method")
    dpo.locator("input").check()
    expect(settings.locator("[name=start]")).to_be_visible()


def test_a_wrong_value_is_said_at_once_and_refused_and_a_right_one_starts_the_run(page, study):
    visit(page, study)
    page.locator("[type=radio][value='direct/dpo']").check()
    page.locator("#id_config_beta").fill("-1")
    page.locator("#id_config_lr").fill("3e-6")
    row = page.locator(".setting", has=page.locator("#id_config_beta"))
    expect(row.locator(".errorlist")).to_have_text("'beta' is '-1'. Expected a number above 0.")
    expect(page.locator("#id_config_beta")).to_have_attribute("aria-invalid", "true")

    page.get_by_role("button", name="Start the run").click()
    summary = page.get_by_role("alert").first
    expect(summary).to_contain_text("The run was not started.")
    expect(page.locator("#id_config_lr")).to_have_value("3e-6")
    summary.get_by_role("link", name="beta").click()
    expect(page.locator("#id_config_beta")).to_be_focused()
    expect(row.locator(".errorlist")).to_have_text("'beta' is '-1'. Expected a number above 0.")
    assert not Run.objects.exists()

    page.locator("#id_config_beta").fill("0.3")
    page.locator("#id_config_lr").focus()
    expect(row.locator(".errorlist")).to_have_count(0)
    page.get_by_role("button", name="Start the run").click()
    expect(page.locator("[data-show=status]")).to_be_visible()
    run = Run.objects.get()
    assert (run.method, run.config["beta"], run.config["lr"]) == ("direct/dpo", 0.3, 3e-6)
