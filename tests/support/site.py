"""What MkDocs has to be told of pages that lie outside of docs/: mkdocs.yml names this file as a hook.

README.md becomes the first page, CHANGELOG.md and CONTRIBUTING.md become pages, and screenshots/ is copied. Links are
written for readers of the repository, so they are changed here, and a link that leads nowhere fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages of the repository's root, and where the site has them."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside of docs/."""
    from mkdocs.structure.files import File

    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text("utf-8")))
    pictures = ROOT / "screenshots"
    for path in sorted([*pictures.glob("*.svg"), pictures / "web.png"]):
        files.append(File.generated(config, f"screenshots/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Change links from where a page lies in the repository to where it is in the site."""
    markdown = re.sub(r"\]\((?:docs/|\.\./)", "](", markdown)
    for source, target in PAGES.items():
        markdown = markdown.replace(f"]({source}", f"]({target}")
    return markdown
