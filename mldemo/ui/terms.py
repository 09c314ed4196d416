"""What the page's terms mean, in plain words: one list for controls, headings, figures and axes.

A control says one of them in `Field.why`. A heading, a reading or a group of controls names one in
its tab's template or script, `data-term="snr"`; `static/explain.js` puts the "?" behind it.
"""

import json
from pathlib import Path

TERMS: dict[str, str] = json.loads(
    (Path(__file__).parent / "static" / "terms.en.json").read_text("utf-8")
)
