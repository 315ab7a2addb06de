"""Hiding the forget set's texts in a report that leaves the house."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Redaction:
    """Replaces texts of forget sets by their length and a salted digest; leaves others as they are.

    The salt is drawn for each report and kept nowhere: a digest cannot be looked up by guessing names, nor linked over
    two reports. Within a report equal digests mean equal texts, which shows verbatim answers without the words.
    """

    active: bool
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def hides(self, kind: str) -> bool:
        """Whether texts of sets of this kind are hidden."""
        return self.active and kind == "forget"

    def shown(self, kind: str, text: str) -> str:
        """The text as the page may show it."""
        if not self.hides(kind) or not text:
            return text
        digest = hmac.new(self.salt, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:10]
        return f"[hidden: {len(text)} characters, digest {digest}]"
