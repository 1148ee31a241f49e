"""What stands in RESULTS.md as met is what the printed figures say."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def section():
    spec = importlib.util.spec_from_file_location("bench_section", BENCH / "section.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("figure", "goal", "met"),
    [
        ("1.02", "≤ 1.02", True),
        ("1.021", "≤ 1.02", False),
        ("0.9", "1", True),
        ("1.1", "1", False),
        ("8.04", "≥ 8", True),
        ("7.99", "≥ 8", False),
        ("0", "= 0", True),
        ("1", "= 0", False),
        ("1,199", "≤ 1,200", True),
        ("12,000", "≤ 1,200", False),
        ("**1.3**", "≤ 1.25", False),
        ("-1", "= 0", False),
        ("never", "≤ 1.01", False),
        ("never", "≥ 1", False),
        ("", "≤ 1", False),
    ],
)
def test_a_goal_is_met_when_the_printed_figure_says_so(section, figure, goal, met):
    assert section.is_met(figure, goal) == met


def test_tables_say_their_goals_themselves(section, tmp_path, capsys):
    part = section.Section("Moving")
    part.say("### Mounts", "")
    part.table(
        ("catalogue", "mounts", "x bound", "goal"), [("A", 7, 1.5, "≤ 1.01"), ("B", 8, 1.0, "≤ 1.01"), ("C", 9, 2, "")]
    )
    part.table(
        ("units wait, as", "own CPU (goal: 1)", "children"), [("it is held", "0.40", "3"), ("it is full", "1.40", "3")]
    )
    part.table(("no goal", "figure"), [("a", 1)])
    part.write(tmp_path / "part.md")
    text = (tmp_path / "part.md").read_text(encoding="utf-8")
    assert text.startswith("## Moving\n")
    assert "| A | 7 | 1.5 | ≤ 1.01 |" in capsys.readouterr().out
    assert [(goal.what, goal.figure, goal.met) for goal in section.goals(text)] == [
        ("Mounts: A, x bound", "1.5", False),
        ("Mounts: B, x bound", "1.0", True),
        ("Mounts: it is held, own CPU", "0.40", True),
        ("Mounts: it is full, own CPU", "1.40", False),
    ]
