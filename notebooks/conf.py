"""Configuration of the manual: ``sphinx-build -W notebooks build/manual``.

The pages of the reference are generated from the package by ``_generate.py``. The
notebooks are shown with their stored outputs; ``tests/test_notebooks.py`` runs them.
The site works offline: formulas become MathML, and no script is loaded from elsewhere.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import _generate
from latex2mathml.converter import convert

import mgdask

_generate.write_pages(HERE / "reference" / "generated")

project = "mgdask"
author = "mgdask developers"
copyright = "2026, mgdask developers"
version = release = mgdask.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_click", "myst_nb"]
root_doc = "index"
templates_path = ["_templates"]
exclude_patterns = ["_templates", "data/*", "jupyter_execute", "**/.ipynb_checkpoints"]
suppress_warnings = ["config.cache"]

highlight_language = "none"
smartquotes = False
nb_execution_mode = "off"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_imported_members = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {
    name: name for name in ("FloatArray", "IntArray", "BoolArray", "AnyArray", "Periodic")
}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 78
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
html_title = f"mgdask {release}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"

logging.getLogger("mgdask").setLevel(logging.WARNING)


def _math(self, node, display):
    text = node.astext()
    try:
        self.body.append(convert(text, display="block" if display else "inline"))
    except Exception as error:
        raise ValueError(f"this formula cannot be shown: {text}") from error


def _inline_math(self, node):
    from docutils.nodes import SkipNode

    _math(self, node, display=False)
    raise SkipNode


def _display_math(self, node):
    from docutils.nodes import SkipNode

    self.body.append(self.starttag(node, "div", CLASS="math"))
    _math(self, node, display=True)
    self.body.append("</div>\n")
    raise SkipNode


def setup(app):
    """Connect the generated signatures and the renderer of formulas."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_display_math, None))
    app.connect("autodoc-process-signature", _generate.simplify_signature)
    app.connect("autodoc-process-docstring", _generate.process_docstring, priority=400)
    app.connect("autodoc-skip-member", _generate.skip_member)
