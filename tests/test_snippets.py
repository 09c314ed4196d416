"""What "Copy as Python" copies: run as it stands, for every tab that offers it."""

import pytest
import torch

from mldemo.store.checkpoints import BUNDLE
from mldemo.ui.app import TABS
from mldemo.ui.tab import Place, source_of

PLACE = Place(torch.device("cpu"), BUNDLE)
QUERIES = [
    ("watch", {"score": "gaussian", "n": "16", "count": "4", "steps": "3"}),
    ("resolution", {"score": "gaussian", "finest": "32", "steps": "3"}),
    ("priors", {"priors": "laplacian.bessel", "n": "16"}),
    ("priors", {"priors": "laplacian.bessel", "s": "0.9", "n": "16"}),
]


@pytest.mark.parametrize(("tab", "query"), QUERIES)
def test_copied_python_runs(tab: str, query: dict[str, str], capsys) -> None:
    """Alone in a namespace of its own; it shows something unless there is nothing to draw."""
    made = next(t for t in (make(PLACE) for make in TABS) if t.id == tab)
    head, _ = next(iter(source_of(made, PLACE)(query)))
    scope: dict = {}
    exec(head["python"], scope)
    assert ("shown" in scope) != head["python"].startswith("# none")
