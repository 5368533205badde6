"""The one error that a user is meant to read."""


class InputError(ValueError):
    """Something from outside (file, flag, recipe, socket, checkpoint) cannot be used.

    The message is one line that names the cause and the mend, as in
    `recipe.yaml: model.n_heads: 6 does not divide d_model=256; use 4 or 8`.
    The command line prints it behind `omni: ` and exits with code 2.
    """
