import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.pictures import smooth
from tests.training.runs import few
from training import data, photographs

HEADER = "file\tuse\trepository\tblob\tpath\tterms\tauthor"


def git(*arguments, folder):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_photographs_are_read_by_their_hash_and_reduced(tmp_path, monkeypatch):
    repository = tmp_path / "owner/pictures"
    repository.mkdir(parents=True)
    git("init", "--quiet", folder=repository)
    large = smooth(1200, 900)
    cv2.imwrite(str(repository / "large.png"), large)
    git("add", "large.png", folder=repository)
    git("-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "A picture", folder=repository)
    blob = git("rev-parse", "HEAD:large.png", folder=repository)
    listed = tmp_path / "photographs.tsv"
    listed.write_text(f"{HEADER}\none.jpg\ttraining\towner/pictures\t{blob}\tlarge.png\tCC0\tA\n")
    monkeypatch.setattr(photographs, "LIST", listed)
    monkeypatch.setattr(photographs, "HOST", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["photographs", "--out", str(tmp_path / "out")])
    photographs.main()
    reduced = cv2.imread(str(tmp_path / "out/one.jpg"))
    assert reduced.shape == (800, 600, 3)
    assert np.abs(reduced.astype(int) - cv2.resize(large, (600, 800), interpolation=cv2.INTER_AREA)).mean() < 3


def test_a_listed_file_that_is_not_an_image_is_an_error():
    with pytest.raises(ValueError, match="not an image"):
        photographs.reduced(b"text")


def test_photographs_that_are_kept_for_tuning_are_not_trained_with(shared, tmp_path, monkeypatch):
    listed = tmp_path / "photographs.tsv"
    rows = (f"{use}.jpg\t{use}\towner/pictures\t0\tp.png\tCC0\tA" for use in ("training", "tuning"))
    listed.write_text("\n".join([HEADER, *rows]))
    monkeypatch.setattr(photographs, "LIST", listed)
    for use, size in (("training", (700, 610)), ("tuning", (700, 620))):
        cv2.imwrite(str(tmp_path / f"{use}.jpg"), smooth(*size))
    photos, _ = data.photos_and_portraits(few(shared, tmp_path / "data"), tmp_path)
    sizes = [photo.shape[:2] for photo in photos]
    assert (700, 610) in sizes
    assert (700, 620) not in sizes


def test_every_listed_photograph_has_a_use_and_is_listed_once():
    rows = photographs.rows()
    assert {row["use"] for row in rows} == {"training", "tuning"}
    assert len({row["file"] for row in rows}) == len({row["blob"] for row in rows}) == len(rows)
