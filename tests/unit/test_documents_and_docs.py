"""The documents tell the truth: codes, tables, settings, fields, examples and links are compared with the code."""

import ast
import json
import re
from pathlib import Path

import msgspec
import pytest

from tacc_sync import config
from tacc_sync.pipeline import syncer
from tacc_sync.rules import (
    certificate,
    completion,
    documents,
    external,
    forecast,
    legacy,
    liveness,
    manifest_chain,
    ownership,
    route,
    site_rates,
    standing,
    validity,
)
from tacc_sync.rules.settings import Settings
from tacc_sync.workspace import layout, queues

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src/tacc_sync"
MARKDOWN = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
MODULES = sorted(path for path in SOURCE.rglob("*.py") if "testbed" not in path.relative_to(SOURCE).parts)

CODE = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)+")
SINGLE = re.compile(r"[A-Z][A-Z0-9]+")
# Who takes a code as its first or second argument, or as `code`.
SAYERS = re.compile(r"(Fault|Why|NotDelivered|GiveUp|Ended|InProgress|Trouble|Finding|_finding|_broken|_untidy)$")
# In capitals with a dash, but no codes.
NO_CODES = {"UTF-8"}
# A command that was fenced says so itself, as text; a session that we ended ourselves says so as data.
SAID_OTHERWISE = {"FENCED", "STOPPED"}


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def section(text, heading):
    """What stands below a heading, up to the next one of its level or above."""
    marks = heading.split(" ")[0]
    lines = text.split("\n")
    assert heading in lines, heading
    below = lines[lines.index(heading) + 1 :]
    end = next((n for n, line in enumerate(below) if re.match(rf"#{{1,{len(marks)}}} ", line)), len(below))
    return "\n".join(below[:end])


def tables(text):
    """The tables of a Markdown text: lists of rows, without the head."""
    found, rows = [], []
    for line in [*text.split("\n"), ""]:
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append(tuple(cell.strip().replace("\\|", "|") for cell in cells))
        elif rows:
            assert re.fullmatch(r"[-: |]+", "|".join(rows[1])), rows[1]
            found.append(rows[2:])
            rows = []
    return found


def bare(cell):
    return cell.strip("`")


# --- codes ---------------------------------------------------------------------------------------------------------


def is_code(text):
    return CODE.fullmatch(text) is not None and text not in NO_CODES


def codes_in_source():
    found = {}
    for module in MODULES:
        tree = ast.parse(module.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            said = node.value if isinstance(node, ast.Constant) else None
            if isinstance(said, str) and (is_code(said) or said in SAID_OTHERWISE):
                found.setdefault(said, module)
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                arguments = [*node.args[:2], *(k.value for k in node.keywords if k.arg == "code")]
                for argument in arguments if SAYERS.search(name) else ():
                    text = argument.value if isinstance(argument, ast.Constant) else None
                    if isinstance(text, str) and (SINGLE.fullmatch(text) or is_code(text)):
                        found.setdefault(text, module)
    return found


def sections_of_runbook():
    return re.findall(r"^### (\S+)$", text_of("docs/runbook.md"), re.MULTILINE)


def test_each_code_has_its_section_in_the_runbook():
    known = set(sections_of_runbook())
    missing = {code: str(module.relative_to(ROOT)) for code, module in codes_in_source().items() if code not in known}
    assert missing == {}


def test_each_section_of_the_runbook_is_a_code_of_the_source():
    sections = sections_of_runbook()
    assert sorted(sections) == sorted(set(sections))
    assert set(sections) - set(codes_in_source()) == set()


@pytest.mark.parametrize("code", sections_of_runbook())
def test_each_section_of_the_runbook_is_whole(code):
    text = section(text_of("docs/runbook.md"), f"### {code}")
    parts = ["**You see**", "**It means**", "**Do**", "**Don't**"]
    places = [text.find(part) for part in parts]
    assert -1 not in places, f"{code} lacks a part"
    assert places == sorted(places)


# --- the table of faults --------------------------------------------------------------------------------------------


def rows_of_faults():
    (table,) = tables(section(text_of("docs/runbook.md"), "## What can happen, and what tacc-sync does"))
    return table


def is_mark_of_faults(node):
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault"


def faults_with_tests():
    """row -> the tests that are marked with it; the keys of a dictionary, when its name is given as `*NAME`."""
    found = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        dictionaries = {
            ast.unparse(node.targets[0]): [ast.literal_eval(key) for key in node.value.keys if key is not None]
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Dict)
            and all(isinstance(key, ast.Constant) for key in node.value.keys)
        }
        for test in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            for mark in filter(is_mark_of_faults, test.decorator_list):
                assert test.name.startswith("test_"), f"{path}: {test.name} is no test"
                assert mark.args, f"{path}: {test.name} stands for no row"
                for argument in mark.args:
                    starred = isinstance(argument, ast.Starred)
                    for row in dictionaries[argument.value.id] if starred else [argument.value]:
                        found.setdefault(row, []).append(f"{path.name}: {test.name}")
    return found


def test_each_row_of_the_table_of_faults_has_its_test_and_each_mark_its_row():
    rows = [bare(row[0]) for row in rows_of_faults()]
    assert len(rows) == len(set(rows)) > 40
    marked = faults_with_tests()
    assert {row for row in rows if row not in marked} == set(), "without a test"
    assert {row: tests for row, tests in marked.items() if row not in rows} == {}, "without a row"


@pytest.mark.parametrize("row", rows_of_faults(), ids=lambda row: bare(row[0]))
def test_a_row_of_the_table_of_faults_is_whole(row):
    key, what, does, read, goes_on = row
    assert re.fullmatch(r"`[a-z-]+`", key)
    assert what
    assert does
    assert goes_on
    assert read == "nothing" or "](#" in read, read


# --- the state machine ---------------------------------------------------------------------------------------------


def test_the_table_of_states_is_that_of_the_code():
    (table,) = tables(section(text_of("ARCHITECTURE.md"), "### States of a unit"))
    assert [tuple(row) for row in table] == [tuple(state) for state in route.STATES]


def test_the_table_of_moves_is_that_of_the_code():
    (table,) = tables(section(text_of("ARCHITECTURE.md"), "### Moves of a unit"))
    assert [tuple(row) for row in table] == [tuple(move) for move in route.MOVES]


def test_the_layout_names_each_module_and_no_other():
    text = section(text_of("ARCHITECTURE.md"), "## Layout")
    named = set(re.findall(r"^\| `([\w/]+\.py)` \|", text, re.MULTILINE))
    there = {str(path.relative_to(SOURCE)) for path in MODULES if path.name not in {"__init__.py", "__main__.py"}}
    assert there - named == set(), "not in the layout"
    assert named - there == set(), "in the layout only"


# --- settings ------------------------------------------------------------------------------------------------------


def rows_of_settings():
    return [row for table in tables(section(text_of("docs/operating.md"), "## All keys")) for row in table]


def test_each_setting_is_in_the_operators_guide():
    keys = [
        f"{name}.{key}"
        for name in Settings.__struct_fields__
        for key in getattr(Settings(), name).__struct_fields__
    ]  # fmt: skip
    assert [bare(row[0]) for row in rows_of_settings()] == keys


@pytest.mark.parametrize("row", rows_of_settings(), ids=lambda row: row[0])
def test_a_setting_has_the_default_unit_and_variable_that_the_guide_tells(row):
    key, default, unit, variables = bare(row[0]), bare(row[1]), row[2], row[3]
    name, _, part = key.partition(".")
    told = (
        config.load(None, "", {}, {key: "" if default == "-" else default}).settings if default != "-" else Settings()
    )
    assert getattr(getattr(told, name), part) == getattr(getattr(Settings(), name), part)
    assert (unit == "size") == ((name, part) in config.SIZES)
    assert (unit == "time") == ((name, part) in config.TIMES)
    known = {variable for variable, *where in config.ENVIRONMENT if where == [name, part]}
    assert set(re.findall(r"[A-Z_]{4,}", variables)) == known
    for choice in config.CHOICES.get((name, part), ()):
        assert f"`{choice}`" in row[4]


# --- the workspace's documents ---------------------------------------------------------------------------------------

DOCUMENTS = {
    "Request": documents.Request,
    "Standing request": documents.StandingRequest,
    "Admission": documents.Admission,
    "Plan": documents.Plan,
    "Strange": documents.Strange,
    "Result": documents.Result,
    "Work": documents.Work,
    "File": documents.File,
    "Task": documents.Task,
    "Why": documents.Why,
    "The reason beside a document in quarantine": queues.WhyDocument,
    "Heartbeat": liveness.Heartbeat,
    "Observation": liveness.Seen,
    "Format": layout.Format,
    "Identity": ownership.Owner,
    "Certificate": certificate.Certificate,
    "Previous": certificate.Previous,
    "Count": certificate.Count,
    "Chained": certificate.Chained,
    "Sealed": certificate.Sealed,
    "Checksums": external.Understood,
    "Site rates": site_rates.SiteRates,
    "Forecasts": forecast.Forecasts,
    "# Forecast": forecast.Forecast,
}


@pytest.mark.parametrize("heading", DOCUMENTS)
def test_each_field_of_a_document_is_described(heading):
    table = tables(section(text_of("docs/workspace.md"), f"###{'' if heading[0] == '#' else ' '}{heading}"))[0]
    assert {bare(row[0]) for row in table} == set(DOCUMENTS[heading].__struct_fields__)


def test_each_field_of_the_manifest_is_described():
    file = documents.File(path="/a/b", destination="/c/b", size=1, outcome="delivered")
    work = documents.Work(
        version=1, unit="u", request_id="r", tape=[], bytes=1, created_at="", files=[file]
    )  # fmt: skip
    (line,) = completion.manifest_lines(work)
    text = section(text_of("docs/workspace.md"), "### The manifest")
    assert {bare(row[0]) for row in tables(text)[0]} == {"line", *line, "kind", "chain"}
    for name in (
        certificate.MANIFEST,
        certificate.CHECKSUMS,
        certificate.CERTIFICATE,
        certificate.SIGNATURE,
        syncer.ADMITTED,
        layout.FORECASTS,
    ):
        assert f"`{name}`" in text_of("docs/workspace.md")


def test_each_place_of_the_workspace_is_described():
    text = section(text_of("docs/workspace.md"), "## Directories and files")
    for name in (
        *layout.DIRECTORIES,
        layout.CHAIN,
        layout.LISTINGS,
        layout.CONFIG,
        layout.FORMAT_FILE,
        layout.IDENTITY,
        layout.SITE_RATES,
        layout.TURN,
        layout.PART,
        layout.MARKER,
    ):
        if not name.startswith(f"{route.QUARANTINE}/"):
            assert f"`{name}" in text, name


def examples():
    found = re.findall(r"^```json (\w+)\n(.*?)^```$", text_of("docs/workspace.md"), re.MULTILINE | re.DOTALL)
    return [pytest.param(kind, text.encode(), id=f"{n}-{kind}") for n, (kind, text) in enumerate(found)]


@pytest.mark.parametrize(("kind", "content"), examples())
def test_an_example_can_be_read(kind, content):
    match kind:
        case "request":
            request = documents.decode(content, documents.Request)
            validity.validate(request)
            assert documents.decode(documents.encode(request), documents.Request) == request
        case "work":
            work = documents.decode(content, documents.Work)
            assert work.bytes == sum(file.size for file in work.files)
            assert work.unit.endswith(f".{work.bytes}")
            assert documents.decode(documents.encode(work), documents.Work) == work
        case "standing":
            made = documents.decode(content, documents.StandingRequest)
            standing.check(made, made.standing_id)
            validity.validate(standing.run_of(made))
        case "why":
            assert msgspec.json.decode(content, type=queues.WhyDocument).code in codes_in_source()
        case "heartbeat":
            msgspec.json.decode(content, type=liveness.Heartbeat)
        case "identity":
            assert msgspec.json.decode(content, type=ownership.Owner).epoch
        case "legacy":
            assert legacy.is_legacy_request(documents.fields_of(content))
            assert legacy.convert_request(content, "/home/projects/demo", "/ranch/demo").pattern_rules == "globset"
        case "manifest":
            line = json.loads(content)
            body = content.rpartition(b',"chain":"')[0] + b"}"
            assert line["chain"] == manifest_chain.link("f8c7f5f6-d70a-4d05-8a84-5d6b0b2f2b6e", body)
        case _:
            pytest.fail(kind)


def test_there_are_examples_of_the_documents_that_others_write():
    kinds = {param.values[0] for param in examples()}
    assert kinds >= {"request", "standing", "work", "why", "legacy", "manifest"}


# --- words and links -----------------------------------------------------------------------------------------------

JOB = re.compile(r"\bjobs?\b", re.IGNORECASE)
SLURM = re.compile(r"slurm|squeue|scrontab|sbatch", re.IGNORECASE)


def paragraphs(text):
    return re.split(r"\n\s*\n", text)


@pytest.mark.parametrize("path", [*MARKDOWN, *sorted(SOURCE.rglob("*.py"))], ids=lambda path: path.name)
def test_forbidden_words(path):
    text = path.read_text(encoding="utf-8")
    # A module about Slurm may say it anywhere, a text only where it speaks of Slurm.
    pieces = [text] if path.suffix == ".py" else paragraphs(text)
    for piece in pieces:
        if JOB.search(piece) and not SLURM.search(piece):
            pytest.fail(f"a job is Slurm's, nothing else is: {JOB.search(piece).string[:300]}")
    assert "TODO" not in text
    assert "FIXME" not in text


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_the_project_speaks_of_itself_alone(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/work/|\bissues? #?\d|\bpypi\b|https?://[^\s)]*(pythonhosted|pypi)", text, re.IGNORECASE)


def slug(heading):
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def headings(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(found) for found in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = path if not name else (path.parent / name)
        assert there.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in headings(there), f"{target}: no such heading"


@pytest.mark.parametrize("path", [*MARKDOWN, *MODULES], ids=lambda path: path.name)
def test_documents_that_are_named_exist(path):
    for name in re.findall(r"\bdocs/\w+\.md\b", path.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


# --- the testbed's guide -------------------------------------------------------------------------------------------


def test_the_faults_that_the_testbeds_guide_shows_are_understood():
    from tacc_sync.testbed import globus_faults, hpss_faults

    text = text_of("docs/testbed.md")
    of_hpss, of_globus = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for index, rule in enumerate(json.loads(of_hpss)):
        hpss_faults.Rule(index, rule)
    assert globus_faults.parse(json.loads(of_globus))
    for kind in (
        *hpss_faults.ALL_KINDS,
        *globus_faults.REQUEST,
        *globus_faults.TASK,
        *globus_faults.FILE,
        *globus_faults.RECORD,
    ):
        assert f"`{kind}`" in text, kind


def test_the_settings_that_the_testbeds_guide_names_exist():
    from tacc_sync.testbed import globus_settings, hpss_settings

    text = text_of("docs/testbed.md")
    of_hpss, flags, of_globus = tables(section(text, "## Settings"))
    for cells, *_ in of_hpss:
        for name in re.findall(r"`(\w+)`", cells):
            assert name in hpss_settings.Settings.__annotations__, name
    assert {bare(row[0]) for row in flags} == set(hpss_settings.FLAGS)
    known = {*globus_settings.Settings.__dataclass_fields__, *globus_settings.Collection.__dataclass_fields__}
    for cells, *_ in of_globus:
        for name in re.findall(r"`(\w+)`", cells):
            assert name in known, name
