"""Fixtures of the trainers' tests."""

import cv2
import pytest
import torch

from training import data


@pytest.fixture(autouse=True)
def few_held_out(monkeypatch):
    """Hold few portraits out, so that few have to be aligned."""
    monkeypatch.setattr(data, "HELD_OUT", 2)


@pytest.fixture
def one_thread():
    """Use one thread, and restore the settings that trainers change."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])
