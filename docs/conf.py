"""Settings of the documentation's site: ``make docs``. Nothing here, nor in the build, needs a network."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
# Importing Airflow writes into its home, and its settings are the defaults of some arguments.
for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = str(HERE.parent / ".cache" / "airflow-of-docs")
# What Airflow and its providers warn each other of is nothing of ours.
warnings.filterwarnings("ignore", module=r"(?!airflow_provider_luma)")

from airflow_provider_luma import __version__  # noqa: E402

project = "airflow-provider-luma"
author = "the maintainers of airflow-provider-luma"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton", "repository"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_*"]
# Dashes only: messages are quoted as they stand in a log.
smartquotes_action = "D"

# Headings get GitHub's anchors, so that a link with one leads to the same place here and there.
myst_heading_anchors = 4
# What repository.py makes of a link to a file of the repository; the pages that hold such links are all in
# the top folder.
myst_url_schemes = {
    "http": None,
    "https": None,
    "mailto": None,
    "repository": "_source/{{path}}.html#{{fragment}}",
}

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_inherit_docstrings = False
python_use_unqualified_type_names = True
# Every name of this package must lead somewhere. Others' cannot: their inventories are on the network.
# Docstrings may name the file where a decision is made; it has no page.
nitpick_ignore = [("py:mod", "airflow_provider_luma.api.gateways")]
nitpick_ignore_regex = [(r"py:.*", r"(?!airflow_provider_luma).*")]

html_theme = "furo"
html_title = f"airflow-provider-luma {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "tango"
pygments_dark_style = "github-dark"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#5b3fa8", "color-brand-content": "#5b3fa8"},
    "dark_css_variables": {"color-brand-primary": "#c3aef7", "color-brand-content": "#c3aef7"},
}
copybutton_exclude = ".linenos, .gp, .go"
