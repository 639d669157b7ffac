import subprocess
import sys

import cv2
import numpy as np

from tests.pictures import smooth
from training import photographs


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
    header = "file\trepository\tblob\tpath\tterms\tauthor"
    listed.write_text(f"{header}\none.jpg\towner/pictures\t{blob}\tlarge.png\tCC0\tA\n")
    monkeypatch.setattr(photographs, "LIST", listed)
    monkeypatch.setattr(photographs, "HOST", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["photographs", "--out", str(tmp_path / "out")])
    photographs.main()
    reduced = cv2.imread(str(tmp_path / "out/one.jpg"))
    assert reduced.shape == (800, 600, 3)
    assert np.abs(reduced.astype(int) - cv2.resize(large, (600, 800), interpolation=cv2.INTER_AREA)).mean() < 3
