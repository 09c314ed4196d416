"""Explanations of the page's terms in plain words, for controls, headings, figures and axes.

A control holds its explanation in `Field.why`. A heading, a reading or a group of controls names a
term in its tab's template or script, `data-term="snr"`; `static/explain.js` adds the "?".
"""

import json
from pathlib import Path

TERMS: dict[str, str] = json.loads(
    (Path(__file__).parent / "static" / "terms.en.json").read_text("utf-8")
)
