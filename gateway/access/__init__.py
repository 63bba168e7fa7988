"""Who may: tokens, consent and one decision for every channel."""
