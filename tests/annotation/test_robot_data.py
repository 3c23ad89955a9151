"""What was said about robots, on its way out and in: frozen with the episodes it stands on, exported, imported."""

from __future__ import annotations

import io
import json
import secrets
import shutil
import zipfile
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as parquet
import pytest
from django.conf import settings

from annotation import (
    consent,
    exporters,
    import_jobs,
    import_robots,
    importers,
    review,
    services,
    snapshots,
)  # fmt: skip
from annotation.errors import Invalid
from annotation.exporters import Asked
from annotation.models import Candidate, ImportJob, Item, Label, Membership, Recording, Role, Task
from annotation.recordings import keep_session, store
from annotation.snapshots import Damaged
from tests.annotation import robots, studies
from tests.trainers.lived import live
from trainers import records
from trainers.data import shelf
from trainers.data.language import Spoken, spoken, told
from trainers.episodes import Clip, Episodes, Segment
from trainers.records import ClipPair, Drive, EpisodeMark, LanguageCorrection

pytestmark = pytest.mark.django_db

CORRECTION = {"start": 4, "stop": 9, "text": "stay where you are", "command": "wait"}
REJECTED = {"start": 12, "stop": 20, "type": "rejected"}
SAID = {
    "clips": {"choice": "a", "strength": 2, "marks": "A 2-7", "reason": "gentler"},
    "hindsight": {"corrections": [CORRECTION, REJECTED], "success": "0"},
    "driving": {"start": 3, "stop": 20, "success": True, "note": "smooth"},
}


@pytest.fixture
def study():
    """Each kind of question about robots, answered once by Ada."""
    made = studies.study(*robots.KINDS, items=1, members=1)
    (ada,) = studies.annotators(made)
    while turn := studies.claim(made, ada):
        studies.answer(turn, SAID[turn.task.kind])
    return made


def freeze(study):
    return snapshots.freeze(study=study, by=study.created_by)


def lines(snapshot) -> list[records.Record]:
    return [records.parse(line.decode(), n) for n, line in enumerate(snapshots.lines_of(snapshot), 1)]


def exported(source, **asked) -> bytes:
    return b"".join(exporters.export(source, Asked(**asked)))


def files_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name) for name in packed.namelist()}


# --- frozen


def test_what_was_said_is_frozen_as_records_with_the_steps_it_is_about(study):
    found = lines(freeze(study))
    kinds = [type(one) for one in found]
    assert sorted(one.__name__ for one in kinds) == [
        "ClipPair", "Drive", "EpisodeMark", "EpisodeMark", "LanguageCorrection", "LanguageCorrection",
    ]  # fmt: skip
    by_kind = {type(one): one for one in reversed(found)}
    pair, drive = by_kind[ClipPair], by_kind[Drive]
    assert pair.outcome == "chosen" and pair.strength == 2.0 and len(pair.marks) == 1
    assert pair.source["reason"] == "gentler"
    assert (drive.start, drive.stop) == (3, 20)
    first, second = (one for one in found if isinstance(one, LanguageCorrection))
    assert (first.start, first.stop, first.command, first.live) == (4, 9, "wait", False)
    assert second.type == "rejected" and second.command == ""
    assert [one.success for one in found if isinstance(one, EpisodeMark)] in ([True, False], [False, True])


def test_a_manifest_names_every_episode_by_its_bytes_and_the_card_tells_of_them(study):
    frozen = freeze(study)
    manifest = snapshots.manifest_of(frozen)
    named = {one["episode"] for one in manifest["episodes"]}
    assert named == {name for one in lines(frozen) for name in records.robots.episodes_of(one)}
    for one in manifest["episodes"]:
        episode = store().open(one["episode"])
        assert (one["sha256"], one["steps"]) == (episode.digest, len(episode))
    assert frozen.counts == {"clip_pair": 1, "language_correction": 2, "drive": 1, "episode_mark": 2}
    assert "## Episodes" in frozen.card and "| table_talk | pack | rules-1 |" in frozen.card
    assert manifest["outcomes"] == {"chosen": 1}
    assert freeze(study).pk == frozen.pk


def test_a_snapshot_of_texts_says_nothing_of_episodes():
    plain = studies.study(members=1)
    studies.label_next(plain, studies.annotators(plain)[0])
    frozen = freeze(plain)
    assert "episodes" not in snapshots.manifest_of(frozen) and "## Episodes" not in frozen.card


def test_an_episode_that_changed_after_freezing_is_found_when_the_snapshot_is_opened(study):
    frozen = freeze(study)
    name = snapshots.manifest_of(frozen)["episodes"][0]["episode"]
    path = store().place(name) / "steps.bin"
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match=rf"{name} has changed since it ended: steps.bin"):
        snapshots.verify(frozen)
    with pytest.raises(Damaged):
        exported(frozen)
    with pytest.raises(Invalid, match="has changed since it ended"):
        freeze(study)


def test_an_episode_swapped_for_another_whole_one_is_found_too(study):
    frozen = freeze(study)
    name = snapshots.manifest_of(frozen)["episodes"][0]["episode"]
    place = store().place(name)
    place.rename(place.with_name("aside"))
    live(store(), name=name)
    with pytest.raises(Damaged, match="is another one than it was"):
        snapshots.verify(frozen)


def test_what_is_said_about_an_episode_that_is_gone_or_growing_is_left_out_and_counted(study):
    gone = Recording.objects.filter(study=study).order_by("pk").last()
    (store().place(gone.episode) / "end.json").unlink()
    process = snapshots.Process()
    found = list(snapshots.read(study, process))
    assert all(gone.episode not in records.robots.episodes_of(one) for one in found)
    assert process.left_out["episode_gone"] == 1
    assert next(step for step in process.steps() if step["name"] == "episode_gone")["left_out"] == 1


def test_what_somebody_drove_is_left_out_once_they_take_their_consent_back(study):
    bob = studies.person()
    member = services.join_study(study=study, user=bob, role=Role.ANNOTATOR)
    driven = Recording.objects.get(study=study, episode=next(
        one.episode for one in snapshots.read(study) if isinstance(one, Drive)
    ))  # fmt: skip
    Recording.objects.filter(pk=driven.pk).update(by=bob)
    consent.withdraw(member)
    process = snapshots.Process()
    assert not any(isinstance(one, Drive) for one in snapshots.read(study, process))
    assert process.left_out["episode_withdrawn"] == 1


def test_a_live_session_is_frozen_like_what_was_said_in_hindsight(study):
    row = robots.recording(study, seed=9)
    said = [{**CORRECTION, "live": True, "layer": "command", "type": "correction", "predicted": "grasp"}]
    keep_session(study, row, studies.annotators(study)[0], {"corrections": said})
    kept = [one for one in lines(freeze(study)) if isinstance(one, LanguageCorrection) and one.live]
    assert [(one.episode, one.predicted) for one in kept] == [(row.episode, "grasp")]


# --- exported


def test_an_export_with_its_episodes_is_enough_to_learn_from_elsewhere(study, tmp_path):
    frozen = freeze(study)
    files = files_of(exported(frozen, format="episodes"))
    assert files["records.jsonl"] == exported(frozen)
    with zipfile.ZipFile(io.BytesIO(exported(frozen, format="episodes"))) as packed:
        packed.extractall(tmp_path)
    manifest = json.loads(files["manifest.json"])
    there = Episodes(tmp_path / "episodes")
    there.check({one["episode"]: one["sha256"] for one in manifest["episodes"]})
    for episode in there:
        ours = store().open(episode.name)
        assert episode.steps.tobytes() == ours.steps.tobytes() and episode.said() == ours.said()
    assert len(list(there)) == len(manifest["episodes"]) == 4
    assert b"## Episodes" in files["README.md"] and b"robotics" in files["README.md"]


def test_the_same_export_twice_is_the_same_bytes(study):
    frozen = freeze(study)
    assert exported(frozen, format="episodes") == exported(frozen, format="episodes")


def test_in_what_leaves_the_studio_people_are_called_as_they_chose(study):
    (ada,) = studies.annotators(study)
    row = Recording.objects.filter(study=study).first()
    held = live(store(), by=ada.username, scene={"words": "Pack everything"})
    Recording.objects.filter(pk=row.pk).delete()
    episode = store().open(row.episode)
    episode.say(Segment("one", 0, 3, "correction", "left", by=ada.username))
    Recording.objects.create(
        study=study, episode=row.episode, world="table_talk", steps=row.steps, ended=True, by=ada
    )
    content = exported(freeze(study), format="episodes")
    assert ada.username.encode() not in b"".join(files_of(content).values())
    files = files_of(content)
    said = files[f"episodes/{row.episode[:2]}/{row.episode}/segments.jsonl"].splitlines()
    assert json.loads(said[0])["label"] == "left" and len(said) > 1
    assert {json.loads(line)["by"] for line in said} == {snapshots.names.pseudonym(study.pk, ada.pk)}
    Membership.objects.filter(user=ada).update(attribution="named")
    assert ada.username.encode() in b"".join(files_of(exported(study, format="episodes")).values())
    assert held.about.by == ada.username


@pytest.fixture
def taken_along(tmp_path):
    """The episodes of an export, as whoever unpacks it has them."""

    def unpack(source, **asked) -> Episodes:
        place = tmp_path / secrets.token_hex(4)
        with zipfile.ZipFile(io.BytesIO(exported(source, format="episodes", **asked))) as packed:
            packed.extractall(place)
        return Episodes(place / "episodes")

    return unpack


def about_whom(study, kind) -> Task:
    return Task.objects.get(study=study, kind=kind)


def test_what_was_said_of_an_episode_leaves_with_it_as_segments_and_the_studio_s_own_stay_as_they_are(
    study, taken_along
):
    before = {one.name: one.history() for one in store()}
    there = taken_along(freeze(study))
    (corrected,) = (Clip.read(one.text) for one in about_whom(study, "hindsight").item.candidates.all())
    found = there.open(corrected.episode).segments
    assert [(one.kind, one.start, one.stop, one.label) for one in found] == [
        ("failure", 0, corrected.stop, ""), ("correction", 4, 9, "wait"), ("rejected", 12, 20, ""),
    ]  # fmt: skip
    ada = snapshots.names.pseudonym(study.pk, studies.annotators(study)[0].pk)
    label = Label.objects.get(kind="hindsight")
    assert {(one.by, one.version) for one in found} == {(ada, 1)}
    assert found[0].at == pytest.approx(
        label.created_at.timestamp(), rel=0, abs=0.001
    )  # a record has milliseconds
    assert found[1].source["text"] == "stay where you are" and found[1].source["record"].endswith("-000")
    (driven,) = (Clip.read(one.text) for one in about_whom(study, "driving").item.candidates.all())
    kinds = {(one.kind, one.start, one.stop) for one in there.open(driven.episode).segments}
    assert kinds == {("action", 3, 20), ("success", 0, driven.stop)}
    for one in there:
        one.verify()
    assert {one.name: one.history() for one in store()} == before


def test_a_changed_mind_leaves_as_a_newer_version_of_the_same_segment(study, taken_along):
    (ada,) = studies.annotators(study)
    task = about_whom(study, "hindsight")
    (clip,) = (Clip.read(one.text) for one in task.item.candidates.all())
    first = next(one for one in taken_along(study).open(clip.episode).segments if one.kind == "correction")
    changed = {"corrections": [{**CORRECTION, "stop": 12, "command": "move a bit to the left"}]}
    frozen = freeze(study)
    for said in (changed, {**changed, "success": True}):
        services.revise_label(task=task, annotator=ada, answer=said, key=uuid4())
    now = [one for one in taken_along(study).open(clip.episode).segments if one.kind == "correction"]
    assert [(one.name, one.version, one.stop, one.label) for one in now] == [
        (first.name, 3, 12, "move a bit to the left")
    ]
    held = [one for one in taken_along(frozen).open(clip.episode).segments if one.kind == "correction"]
    assert held == [first], "a snapshot says what was frozen"


def test_a_reviewer_s_verdict_leaves_in_place_of_the_labels(study, taken_along):
    task = about_whom(study, "hindsight")
    (clip,) = (Clip.read(one.text) for one in task.item.candidates.all())
    for said in ({**CORRECTION, "stop": 6}, {**CORRECTION, "stop": 7}):
        review.settle(task=task, by=study.created_by, answer={"corrections": [said]}, reason="So.")
    (one,) = taken_along(study).open(clip.episode).segments
    assert (one.kind, one.stop, one.version) == ("correction", 7, 2)
    assert one.by == snapshots.names.pseudonym(study.pk, study.created_by.pk)


def test_lerobot_and_rlds_made_of_an_export_say_what_people_corrected(study, taken_along, tmp_path):
    (clip,) = (Clip.read(one.text) for one in about_whom(study, "hindsight").item.candidates.all())
    episode = taken_along(study).open(clip.episode)
    assert told(episode)[4:9] == ["wait"] * 5 and told(store().open(clip.episode))[4:9] != ["wait"] * 5
    assert Spoken(4, 9, "wait") in spoken(episode)
    shelf.export([episode], tmp_path / "lerobot", "lerobot")
    frames = parquet.read_table(tmp_path / "lerobot/data/chunk-000/file-000.parquet")
    numbers = parquet.read_table(tmp_path / "lerobot/meta/subtasks.parquet").to_pylist()
    names = {row["subtask_index"]: row["subtask"] for row in numbers}
    subtasks = [names[number] for number in frames["subtask_index"].to_pylist()]
    assert subtasks == told(episode) and subtasks[4] == "wait"
    assert shelf.export([episode], tmp_path / "rlds", "rlds").startswith(f"{len(spoken(episode))} stretches")


def test_a_motion_that_was_put_right_leaves_as_a_motion_and_no_command(taken_along):
    made = studies.study("hindsight", items=0, members=1)
    robots.episodes(made, 1, motions=True)
    said = {**CORRECTION, "layer": "motion", "command": "move arm up", "text": "up"}
    studies.label_next(made, studies.annotators(made)[0], {"corrections": [said]})
    (episode,) = taken_along(made)
    (one,) = (one for one in episode.segments if one.by.startswith("annotator-"))
    assert (one.kind, one.label, one.source["layer"]) == ("motion", "move arm up", "motion")
    assert told(episode) == episode.said()


def test_a_filtered_export_has_the_segments_of_its_own_records_alone(study, taken_along):
    for one in taken_along(study, kinds=("episode_mark",)):
        assert {segment.kind for segment in one.segments} <= {"success", "failure"} and one.segments


def test_a_dataset_keeps_what_is_about_robots_apart_from_what_is_about_texts(study):
    files = files_of(exported(freeze(study), format="dataset"))
    names = [name for name in files if name.endswith(".parquet")]
    assert names == ["data/robot/train/00000.parquet"]
    assert b"robotics" in files["README.md"]


# --- imported


@pytest.fixture
def elsewhere(tmp_path, settings):
    """Another studio: nothing of the first is there but the files that were taken along."""

    def go(*kinds):
        settings.EPISODES = tmp_path / "other" / "episodes"
        Recording.objects.all().delete()
        return studies.study(*(kinds or robots.KINDS), items=0)

    return go


def bring(study, content: bytes, format="episodes") -> ImportJob:
    path = settings.KIBITZ_HOME / "given"
    path.write_bytes(content)
    job = ImportJob.objects.create(study=study, format=format, filename="given", created_by=study.created_by)
    import_jobs.import_file(job, path)
    return ImportJob.objects.get(pk=job.pk)


def said_of(found: list[records.Record]) -> list[dict]:
    """What records say, without whose they are and where they are from."""
    rows = [one.to_json() for one in found]
    return [
        {name: value for name, value in row.items() if name not in ("id", "annotator", "source")}
        for row in rows
    ]


def test_what_was_exported_comes_in_elsewhere_and_says_the_same(study, elsewhere):
    frozen = freeze(study)
    before, content = lines(frozen), exported(frozen, format="episodes")
    there = elsewhere()
    job = bring(there, content)
    assert (job.status, job.errors) == ("finished", [])
    assert job.counts == {
        "episodes": 4, "items": 3, "comparisons of clips": 1, "episodes corrected": 1, "driven demonstrations": 1,
    }  # fmt: skip
    after = list(snapshots.read(there))
    assert said_of(after) == said_of(before)
    assert {row.episode for row in there.recordings.all()} == {one.name for one in store()}
    assert said_of(lines(freeze(there))) == said_of(before)
    (marked,) = [one for one in after if isinstance(one, ClipPair)]
    assert marked.source["reason"] == "gentler"
    again = bring(there, content)
    assert "already" in again.errors[0]["message"]


def test_episodes_may_come_first_and_records_about_them_later(study, elsewhere):
    frozen = freeze(study)
    everything, alone = exported(frozen, format="episodes"), exported(frozen)
    only = io.BytesIO()
    with zipfile.ZipFile(only, "w") as packed:
        for name, content in files_of(everything).items():
            if name.startswith("episodes/"):
                packed.writestr(f"my data/{name}", content)
    there = elsewhere()
    assert bring(there, only.getvalue()).counts == {"episodes": 4}
    job = bring(there, alone, format="kibitz")
    assert (job.status, job.counts["items"]) == ("finished", 3)
    assert said_of(snapshots.read(there)) == said_of(lines(frozen))


def test_what_left_as_labels_and_as_segments_comes_back_once(study, elsewhere):
    (clip,) = (Clip.read(one.text) for one in about_whom(study, "hindsight").item.candidates.all())
    store().open(clip.episode).say(Segment("motion-0", 0, 10, "motion", "move arm up", by="script"))
    content = exported(study, format="episodes")
    there = elsewhere()
    bring(there, content)
    assert [one.name for one in store().open(clip.episode).segments] == ["motion-0"]
    out = files_of(exported(there, format="episodes"))[
        f"episodes/{clip.episode[:2]}/{clip.episode}/segments.jsonl"
    ]
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert sorted(kinds) == ["correction", "failure", "motion", "rejected"]


def test_episodes_that_come_without_records_keep_what_was_said_of_them(study, elsewhere):
    (clip,) = (Clip.read(one.text) for one in about_whom(study, "hindsight").item.candidates.all())
    content = exported(study, format="episodes")
    bring(elsewhere(), changed(content, lambda name, one: None if name.endswith("records.jsonl") else one))
    kinds = [one.kind for one in store().open(clip.episode).segments]
    assert sorted(kinds) == ["correction", "failure", "rejected"]


def test_who_steered_and_drove_in_one_episode_says_both_elsewhere_too(elsewhere):
    made = studies.study("hindsight", "driving", items=0, members=2)
    ada, bob = studies.annotators(made)
    row = robots.recording(made, seed=9)
    live = {**CORRECTION, "live": True, "predicted": "grasp", "source": {"key": "left", "said": 4}}
    for person in (ada, bob):
        keep_session(made, row, person, {"corrections": [live, REJECTED], "success": person == ada})
        keep_session(made, row, person, {"start": 3, "stop": 20, "note": "smooth"}, kind="driving")
    before, content = said_of(snapshots.read(made)), exported(made, format="episodes")
    there = elsewhere()
    job = bring(there, content)
    assert (job.status, job.errors) == ("finished", [])
    assert job.counts == {"episodes": 1, "items": 1, "episodes corrected": 2, "driven demonstrations": 2}
    key, after = records.canonical, list(snapshots.read(there))
    assert sorted(map(key, said_of(after))) == sorted(map(key, before))
    details = [one.source["details"] for one in after if isinstance(one, LanguageCorrection) and one.live]
    assert details == [{"key": "left", "said": 4}] * 2
    assert "driven" not in there.items.get().candidates.get().source, "a policy flew, and people took over"


def test_an_item_of_three_clips_comes_in_as_one_item_with_all_its_comparisons(elsewhere):
    made = studies.study("clips", items=0, members=2)
    one, two = (robots.recording(made, seed=seed).episode for seed in (1, 2))
    clips = [f"clip:{one}:0-20", f"clip:{one}:1-30", f"clip:{two}:0-20"]
    item = {"context": {"prompt": "Pack"}, "candidates": clips, "external_id": "three"}
    services.add_items(study=made, items=[item])
    for person in studies.annotators(made):
        while turn := studies.claim(made, person):  # the later one is always better
            later = max((0, 1), key=lambda side: turn.candidates[side].index)
            studies.answer(turn, {"choice": "ab"[later], "marks": "A 2-7"})
    before, content = said_of(snapshots.read(made)), exported(made, format="episodes")
    assert len(before) == 3
    there = elsewhere("clips")
    job = bring(there, content)
    assert (job.status, job.errors) == ("finished", [])
    (item,) = there.items.all()
    assert (item.external_id, item.tasks.count()) == ("three", 3)
    assert [one.text for one in item.candidates.all()] == clips
    for label in there.labels.all():
        (mark,) = label.answer["marks"]
        assert mark["candidate"] in (label.answer["chosen"], label.answer["rejected"])
    key = records.canonical
    assert sorted(map(key, said_of(snapshots.read(there)))) == sorted(map(key, before))


def nothing_is_left(study) -> None:
    assert not Item.objects.filter(study=study).exists() and not study.recordings.exists()
    assert not Candidate.objects.filter(item__study=study).exists()
    assert not Task.objects.filter(study=study).exists() and not Label.objects.filter(study=study).exists()


def test_a_clip_of_an_unknown_episode_or_of_steps_it_has_not_is_refused_with_line_and_field(study, elsewhere):
    rows = [{**json.loads(line), "source": {}} for line in exported(freeze(study)).splitlines()]
    pair = next(row for row in rows if row["kind"] == "clip_pair")
    drive = next(row for row in rows if row["kind"] == "drive")
    beyond = {**pair, "id": "x", "marks": [], "chosen": pair["chosen"].rpartition("-")[0] + "-999"}
    item = {"kind": "item", "id": "i", "prompt": "Which?", "candidates": [pair["chosen"], beyond["chosen"]]}
    theirs = studies.study(*robots.KINDS, items=0)
    for format, given, line, field, why in [
        ("kibitz", [{**drive, "episode": "0" * 32}], 1, "episode", "which is not here"),
        ("kibitz", [pair, beyond], 2, "chosen", "the episode has"),
        ("kibitz", [pair, {**drive, "stop": 999}], 2, "stop", "has"),
        ("kibitz", [drive, {**pair, "marks": [drive["episode"]]}], 2, "marks[0]", "found"),
        ("kibitz", [item], 1, "candidates[1]", "names the steps"),
    ]:
        job = bring(study, "\n".join(map(json.dumps, given)).encode(), format=format)
        assert job.status == "failed", given
        found = job.errors[0]
        assert (found["line"], found["field"]) == (line, field) and why in found["message"] and found["cure"]
    job = bring(theirs, json.dumps(drive).encode(), format="kibitz")
    assert (
        job.errors[0]["field"] == "candidates[0]"
        and "this study has no ended recording" in job.errors[0]["message"]
    )
    nothing_is_left(theirs)


def test_a_correction_that_is_too_long_is_named_by_its_own_line(study):
    rows = [{**json.loads(line), "source": {}} for line in exported(freeze(study)).splitlines()]
    said = [row for row in rows if row["kind"] == "language_correction"]
    said[1] |= {"type": "correction", "command": "left " * 100}
    job = bring(study, "\n".join(map(json.dumps, said)).encode(), format="kibitz")
    assert (job.errors[0]["line"], job.errors[0]["field"]) == (2, "command")


def changed(content: bytes, change) -> bytes:
    """A zip with its files changed: `change` gets a name and its bytes, and returns others, or None for no file."""
    files, out = files_of(content), io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, one in files.items():
            new = change(name, one)
            if new is not None:
                packed.writestr(name, new)
    return out.getvalue()


WRONG = {
    "a changed byte": lambda name, one: one[:-1] + b"!" if name.endswith("steps.bin") else one,
    "a missing end": lambda name, one: None if name.endswith("end.json") else one,
    "no rows": lambda name, one: b"" if name.endswith("steps.bin") else one,
    "nonsense": lambda name, one: b"[1, 2]" if name.endswith("episode.json") else one,
    "an unknown field": lambda name, one: b'{"evil": 1}' if name.endswith("episode.json") else one,
    "a bad row": lambda name, one: one + b'{"kind": "pear"}\n' if name == "records.jsonl" else one,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_of_a_zip_in_which_anything_is_wrong_nothing_comes_in(study, elsewhere, wrong):
    content = exported(freeze(study), format="episodes")
    there = elsewhere()
    job = bring(there, changed(content, WRONG[wrong]))
    assert job.status == "failed" and job.errors[0]["message"] and job.errors[0]["cure"]
    nothing_is_left(there)
    assert not list(store())


def zip_of(episode) -> bytes:
    """A zip of one episode alone, its files unpacked."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for path in sorted(episode.place.iterdir()):
            packed.write(path, f"episodes/{episode.name[:2]}/{episode.name}/{path.name}")
    return out.getvalue()


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"world": "x" * 101}, "world"),
        ({"task": "y" * 201}, "task"),
        ({"task": "a\x00b"}, "task"),
        ({"policy": {"name": "z" * 201}}, "policy"),
    ],
)
def test_an_episode_that_says_what_no_row_can_hold_is_refused_at_its_field(elsewhere, tmp_path, facts, field):
    there = elsewhere()
    job = bring(there, zip_of(live(Episodes(tmp_path / "away"), **facts)))
    assert job.status == "failed" and f"its {field}." in job.errors[0]["message"], job.errors
    nothing_is_left(there)
    assert not list(store())


def test_a_zip_that_is_damaged_locked_or_packed_in_an_unknown_way_is_refused_in_words(elsewhere, tmp_path):
    episode = live(Episodes(tmp_path / "away"))
    content, there = zip_of(episode), elsewhere()
    assert bring(there, content).counts == {"episodes": 1}
    Recording.objects.all().delete()
    shutil.rmtree(store().place(episode.name))
    middle = content.index(episode.steps.tobytes()[:40]) + 9
    damaged = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    for place, value in ((8, 1), (10, 99)):  # of an entry of the list at the end: its flags, how it is packed
        wrong = bytearray(content)
        for mark, shift in ((b"PK\x01\x02", 0), (b"PK\x03\x04", -2)):
            at = wrong.find(mark)
            while at >= 0:
                wrong[at + place + shift] = value
                at = wrong.find(mark, at + 4)
        for one, why in ((bytes(wrong), "encrypted" if place == 8 else "compression"), (damaged, "CRC")):
            job = bring(there, one)
            assert job.status == "failed" and why in job.errors[0]["message"], job.errors
    nothing_is_left(there)
    assert not list(store())


def test_an_import_asks_once_about_each_episode_of_its_clips(study, django_assert_max_num_queries):
    one, two = (f"clip:{row.episode}:0-5" for row in study.recordings.all()[:2])
    known, theirs = {}, [one, {"text": two}, "a text", 7]
    with django_assert_max_num_queries(2):
        for line in range(20):
            import_robots.check_clips(study, theirs, known, line)


def test_what_a_file_says_of_weights_stays_with_its_records(study):
    (drive,) = (one for one in snapshots.read(study) if isinstance(one, Drive))
    row = {"kind": "drive", "prompt": "Pack", "episode": drive.episode, "start": 1, "stop": 3}
    rows = [{**row, "id": "heavy", "weight": 0.25}, {**row, "id": "plain", "annotator": "bob"}]
    job = bring(study, "\n".join(map(json.dumps, rows)).encode(), format="kibitz")
    assert job.errors == []
    drives = [one for one in snapshots.read(study) if isinstance(one, Drive) and one.start == 1]
    assert sorted(one.weight for one in drives) == [0.25, 1.0]


@pytest.mark.parametrize("name", ["text", "command", "predicted"])
def test_what_no_database_can_keep_is_refused_before_anything_is_stored(study, name):
    (drive,) = (one for one in snapshots.read(study) if isinstance(one, Drive))
    said = {"kind": "language_correction", "id": "x", "prompt": "Pack", "episode": drive.episode, "start": 1, "stop": 3,
            "text": "left", "command": "move a bit to the left", name: "a\x00b"}  # fmt: skip
    job = bring(study, json.dumps(said).encode(), format="kibitz")
    assert job.status == "failed" and job.errors[0]["line"] == 1, job.errors


def test_what_is_no_zip_is_refused_in_words(study, elsewhere):
    there = elsewhere()
    for content in (b"", b"PK\x03\x04 and then nothing", b"{}"):
        job = bring(there, content)
        assert job.status == "failed" and job.errors[0]["message"]
    nothing_is_left(there)


def test_a_file_with_a_name_that_leads_elsewhere_is_no_file_of_an_episode(elsewhere, tmp_path):
    there, packed = elsewhere(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr(f"episodes/00/{'0' * 32}/../../../../evil.json", "x")
        zipped.writestr("/etc/episodes/evil", "x")
    assert bring(there, packed.getvalue()).status == "failed"
    assert not list(Path(tmp_path).rglob("evil*"))


def test_an_import_that_fails_while_storing_takes_its_episodes_out_again(study, elsewhere, monkeypatch):
    content = exported(freeze(study), format="episodes")
    there = elsewhere()

    def fails(*given):
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(importers, "store_batch", fails)
    job = bring(there, content)
    assert job.status == "failed" and "the disk is full" in job.errors[0]["message"]
    nothing_is_left(there)
    assert not list(store())


def test_an_episode_of_another_study_does_not_come_in_by_the_back_door(study):
    content = exported(freeze(study), format="episodes")
    theirs = studies.study(*robots.KINDS, items=0)
    job = bring(theirs, content)
    assert job.status == "failed" and "another study's" in job.errors[0]["message"]
    nothing_is_left(theirs)
    assert len(list(store())) == Recording.objects.filter(study=study).count()
