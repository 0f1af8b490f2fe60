"""The report of `sam2-eval` on videos whose names mean something in Markdown, or are nearly the same."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from dataset_folders import HEIGHT, WIDTH, results, write_frames, write_palettes
from PIL import Image

from sam2_core.tools.eval import main

NAMES = ["__v__", "a b", "a_b", "a|b", "x](y"]


def plain(markdown: str) -> str:
    return re.sub(r"\\(.)", r"\1", markdown)


def test_every_name_is_shown_as_it_is_with_a_picture_of_its_own(tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    for name in NAMES:
        write_frames(root / "JPEGImages" / name)
        write_palettes(root / "Annotations" / name)
    assert main([str(root), "--out", str(out), "--predictions", str(root / "Annotations")]) == 0
    lines = (out / "report.md").read_text().splitlines()

    heads = [index for index, line in enumerate(lines) if line.startswith("| video |")]
    for head in heads:
        table = [line for line in lines[head + 2 :] if line][: 1 + len(NAMES)]
        columns = [re.split(r"(?<!\\)\|", row) for row in [lines[head], *table]]
        assert {len(row) for row in columns} == {len(columns[0])}
    told = [plain(re.split(r"(?<!\\)\|", row)[1]).strip() for row in lines[heads[0] + 3 :][: len(NAMES)]]
    assert told == NAMES
    assert r"\_\_v\_\_" in "\n".join(lines), "it would be emphasised"

    links = [re.fullmatch(r"!\[((?:\\.|[^\\\]])*)\]\(([^()]*)\)", line) for line in lines if line[:2] == "!["]
    pictures = {plain(link[1]): unquote(link[2]) for link in links if link}
    assert sorted(pictures) == NAMES
    assert len(set(pictures.values())) == len(NAMES)
    for path in pictures.values():
        assert (out / path).is_file()


def test_faults_are_told_as_they_are(tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    for name in NAMES[:2]:
        write_frames(root / "JPEGImages" / name)
        write_palettes(root / "Annotations" / name)
    for path in (root / "Annotations/__v__").iterdir():
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(path)
    assert main([str(root), "--out", str(out), "--predictions", str(root / "Annotations")]) == 0
    (problem,) = results(out)["problems"]
    report = (out / "report.md").read_text()
    assert r"/\_\_v\_\_" in report
    assert f"- {problem}\n" in plain(report)
