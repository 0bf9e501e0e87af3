"""The library's errors. All share one base, and each is also the builtin a caller would expect."""

from __future__ import annotations


class StsPruneError(Exception):
    """Base of every error that stsprune raises on purpose."""


class InvalidArgumentError(StsPruneError, ValueError):
    """An argument's value is out of what is allowed."""


class InvalidTypeError(StsPruneError, TypeError):
    """An argument is of a kind that cannot work."""


class UnsupportedModelError(InvalidTypeError):
    """No adapter knows this model."""


class UnsupportedModeError(StsPruneError, ValueError):
    """The model is run in a way that pruning would silently get wrong."""


class UnsupportedVersionError(StsPruneError, ImportError):
    """A library that stsprune builds on is older than the oldest that works."""


class NestedPruneError(StsPruneError, RuntimeError):
    """`prune` is already active on this model."""


class MissingWeightsError(StsPruneError, FileNotFoundError):
    """The package was built without its embedded weights."""


class MissingExtraError(StsPruneError, ImportError):
    """An optional part of the package is used without what it needs; the message installs it."""


class NoGainWarning(UserWarning):
    """Pruning is expected to save no time in this prompt's prefill."""


class GuessedFamilyWarning(UserWarning):
    """A model's images are pruned by an adapter that guesses what it is not told."""


class UntestedVersionWarning(UserWarning):
    """A library that stsprune builds on is newer than the newest that was tested."""


class RecipeVersionWarning(UserWarning):
    """A recipe was made with other versions than those that run."""
