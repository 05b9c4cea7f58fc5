"""How a value is typed so that every shell and Hydra take it for one text.

Importing this loads nothing, as data need it, too.
"""

from __future__ import annotations

import re
import shlex


def typed_text(key: str, text: str) -> str:
    """Return `key=text` with the quotation marks that Hydra wants for a text of any characters, and a shell's."""
    # Hydra takes a backslash for one, unless a quotation mark follows the last of a row of them
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + ('\\"' if found[2] else ""), text)
    return shlex.quote(f'{key}="{escaped}"')
