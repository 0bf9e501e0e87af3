"""SceneQA 2: up to 16 objects, signs to read, photograph-like grounds, answers of several tokens.

Drawn for the larger embedded model at 24 x 24 = 576 visual tokens; see docs/embedded.md.
"""
