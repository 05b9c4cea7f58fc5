"""How the pages are built: `make docs`."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

project = "LRSL"
author = "The LRSL contributors"
html_title = "LRSL"
html_theme = "furo"
exclude_patterns = ["_build"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "written"]

myst_enable_extensions = ["dollarmath", "attrs_inline"]
myst_heading_anchors = 3
math_number_all = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
default_role = "literal"  # in docstrings, `k` is code
napoleon_use_ivar = True
python_maximum_signature_line_length = 100
