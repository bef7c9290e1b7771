"""The table of verbs: paths, requests, results, summaries and errors fit together."""

import importlib
import inspect
import pkgutil
import re
from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

import dreamserve_protocol
from dreamserve_protocol.errors import ProblemError, error_classes
from dreamserve_protocol.markers import Message, Request
from dreamserve_protocol.verbs import BY_NAME, BY_REQUEST, VERBS, Verb


def names_of(verb: Verb) -> list[str]:
    return [field.name for field in fields(verb.request)]


def test_names_requests_and_paths_are_unique():
    assert len(VERBS) == len(BY_NAME) == len(BY_REQUEST)
    assert len({(verb.method, verb.path) for verb in VERBS}) == len(VERBS)
    assert all(BY_NAME[verb.name] is verb is BY_REQUEST[verb.request] for verb in VERBS)


def test_every_request_of_the_contract_has_a_verb():
    declared = set()
    for module in pkgutil.iter_modules(dreamserve_protocol.__path__):
        members = vars(importlib.import_module(f"dreamserve_protocol.{module.name}")).values()
        declared |= {kind for kind in members if isinstance(kind, type) and is_dataclass(kind)}
    assert {kind for kind in declared if issubclass(kind, Request)} == set(BY_REQUEST)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_names_in_a_path_are_required_fields_of_the_request(verb):
    required = {f.name for f in fields(verb.request) if f.default is f.default_factory}
    in_path = set(re.findall(r"{(\w+)}", verb.path))
    assert in_path <= required
    assert re.fullmatch(r"(/[a-z]+|/{\w+})+", verb.path)
    if not verb.has_body:
        assert in_path | set(verb.query_fields) == set(names_of(verb)), "no place for the rest"
        assert not required & set(verb.query_fields)
    if verb.body is not None:
        assert in_path | {verb.body} == set(names_of(verb))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_request_is_typed_with_the_result_of_its_row(verb):
    (base,) = verb.request.__orig_bases__
    (result,) = get_args(base)
    named = getattr(result, "__forward_arg__", getattr(result, "__name__", None))
    assert named == (verb.result or type(None)).__name__
    if verb.result is not None:
        assert issubclass(verb.result, Message)
        assert is_dataclass(verb.result)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_has_a_summary_of_one_sentence(verb):
    assert re.fullmatch(r"[A-Z][^\n]*\.", verb.summary)
    assert verb.summary == (inspect.getdoc(verb.request) or "").splitlines()[0]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_field_of_a_request_has_a_type_and_the_session_comes_first(verb):
    assert get_type_hints(verb.request).keys() >= set(names_of(verb))
    assert verb.of_session is ("session_id" in names_of(verb))
    if verb.of_session and verb.name != "reset":
        assert names_of(verb)[0] == "session_id"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_errors_of_a_verb_are_leaves_each_once(verb):
    answered = verb.all_errors
    assert len(set(answered)) == len(answered)
    assert set(answered) <= set(error_classes(ProblemError))
    assert {error.code for error in answered} >= {"invalid_request", "overloaded", "draining"}


def test_a_verbs_errors_fit_what_it_does():
    codes = {verb.name: {error.code for error in verb.all_errors} for verb in VERBS}
    assert {"step_conflict", "dream_ended", "dream_not_finite"} <= codes["step"]
    assert "session_not_found" not in codes["reset"] | codes["restore"] | codes["worlds"]
    assert "session_expired" in codes["delete"]
    assert "snapshot_refused" in codes["restore"]
    assert "unsupported_media_type" not in codes["session"]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_about_sessions_declares_the_errors_of_their_store(verb):
    of_store = {"session_moved", "store_unavailable"}
    codes = {error.code for error in verb.all_errors}
    assert codes & of_store == (of_store if verb.of_session or verb.of_rows else set())
    assert ("session_lost" in codes) is ("session_not_found" in codes)
