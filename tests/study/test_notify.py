"""`notify` in the study file: who is told of a running study, and what is no part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import StudyError
from orchestrator.study.cells import make_plan
from orchestrator.study.identity import differences, frozen_view
from orchestrator.study.loading import load_mapping, load_study
from orchestrator.study.notify import NotifySpec, address_of, in_words, lacking_variables, words_for
from orchestrator.study.secrets import environment_secrets, masked
from orchestrator.study.spec import StudySpec

STUDY = """\
name: small
entrypoint: code:train
metric: {name: loss, mode: min}
baseline: {lr: 0.1}
seeds: 3
stopping: {max: 2}
"""
HOOK = "${SLACK_WEBHOOK}"


def load(folder: Path, line: str = "", *words: str) -> StudySpec:
    path = folder / "study.yaml"
    path.write_text(STUDY + line)
    return load_study(path, words).spec


def faults(folder: Path, line: str) -> list[tuple[str | None, str, str | None]]:
    with pytest.raises(StudyError) as caught:
        load(folder, line)
    return [(fault.field, fault.message, fault.hint) for fault in caught.value.faults]


def test_who_is_told_may_change_and_makes_no_other_study(tmp_path: Path) -> None:
    plain = load(tmp_path)
    told = load(tmp_path, f"notify: {{webhook: '{HOOK}', command: 'mail-me {{event}}', on: [end]}}")
    assert plain.notify is None
    assert told.notify == NotifySpec(webhook=HOOK, command="mail-me {event}", on=("end",))
    assert differences(frozen_view(plain), frozen_view(told)) == []
    assert make_plan(plain).hash == make_plan(told).hash
    assert load(tmp_path, "", f"notify.webhook={HOOK}").notify == NotifySpec(webhook=HOOK)


def test_a_variable_stays_a_name_in_what_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_WEBHOOK", "https://hooks.slack.com/services/T0/B0/very-secret")
    spec = load(tmp_path, f"notify: {{webhook: '{HOOK}'}}")
    assert spec.to_dict()["notify"]["webhook"] == HOOK
    again = load_mapping(spec.to_dict(), tmp_path).spec
    assert again.notify == spec.notify


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ("notify: {}", "notify", "names neither a webhook nor a command"),
        ("notify: {webhook: ftp://a/b}", "notify.webhook", "must be an http:// or https:// URL"),
        ("notify: {webhook: 'https://a b/c'}", "notify.webhook", "must be an http:// or https:// URL"),
        ("notify: {webhook: '${oc.env:X}'}", "notify.webhook", "holds a reference that is no variable"),
        ("notify: {webhook: 3}", "notify.webhook", "must be a URL such as"),
        ("notify: {command: 'mail {evnt}'}", "notify.command", "a placeholder names nothing"),
        ("notify: {command: 'mail {text}'}", "notify.command", "a placeholder names nothing"),
        ("notify: {command: 'mail \"'}", "notify.command", "cannot be split into words"),
        ("notify: {command: mail, on: [ends]}", "notify.on.0", "must be end or failure or look"),
        ("notify: {command: mail, on: []}", "notify.on", "names nothing that would be told"),
        ("notify: {command: mail, when: end}", "notify.when", "unknown key"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, line: str, field: str, message: str) -> None:
    ((where, said, _),) = faults(tmp_path, line)
    assert where == field
    assert message in said


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0123/B0123/abcdefgh",
        "https://discord.com/api/webhooks/123456/abcdefgh",
        "https://me:password@host/x",
    ],
)
def test_a_secret_url_belongs_into_the_environment(tmp_path: Path, url: str) -> None:
    ((field, message, hint),) = faults(tmp_path, f"notify: {{webhook: '{url}'}}")
    assert (field, "looks like a secret" in message) == ("notify.webhook", True)
    assert hint is not None
    assert hint.startswith("write ${SLACK_WEBHOOK}")
    assert "abcdefgh" not in masked(f"posting to {url}")
    assert environment_secrets({"SLACK_WEBHOOK": url, "HOOK_WEBHOOK_URL": "ntfy-topic"}) == (
        url,
        "ntfy-topic",
    )


def test_variables_are_filled_in_where_the_study_runs() -> None:
    notify = NotifySpec(webhook="https://${HOST}/x?token=${KEY}", command=("sh", "-c", "mail {event}"))
    assert lacking_variables(notify, {"HOST": "a"}) == ["KEY"]
    assert address_of(str(notify.webhook), {"HOST": "a", "KEY": "b"}) == "https://a/x?token=b"
    assert address_of("${URL}", {"URL": "https://a/b\n"}) == "https://a/b"
    assert address_of("${URL}", {"URL": "file:///etc/passwd"}) is None
    assert address_of("${URL}", {}) is None
    assert words_for("mail-me '{study}: {event}' {{}}", "end", "small") == ["mail-me", "small: end", "{}"]
    assert in_words(notify, {"HOST": "a"}) == (
        "webhook https://${HOST}/x?token=${KEY} and command sh -c mail {event} at end, failure, look "
        "(KEY is not set here)"
    )
