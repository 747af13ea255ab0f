"""What to break so that each check in the notebooks fails: notebook -> check -> how.

A check is named by the beginning of what its `assert` asserts, as `ast.unparse` writes it and long enough to be the
only one. What breaks it is code, run in the notebook's own namespace just before the cell of the check or, where that
would come too late, before an earlier cell, which is named by a piece of its text: `(code, "piece")`. It breaks what
the check is about (the model, the library's function, the data), never the check.
"""

BREAKAGES: dict[str, dict[str, str | tuple[str, str]]] = {
    "00_quick_start": {
        "masks.shape == clip.masks.shape": "masks = masks[:, ::2]  # the masks left at half the picture's size",
        "0 < masks.mean()": "masks = masks | True  # a model that marks everything",
        "swapped > 0.5": ("gavs = deaf", "swaps = swap_test"),
        "rise > 0.25": ("gavs = deaf", "decibels = ["),
        "second_toy[-1] - third[-1]": (
            "class MarksAllWhenLoud(MixingDesk):\n"
            "    def play(self, levels):\n"
            "        heard, probability = super().play(levels)\n"
            "        probability[-1] = 1\n"
            "        return heard, probability\n"
            "MixingDesk = MarksAllWhenLoud",
            "decibels = [",
        ),
        "gained > 0.15": ("gavs = deaf", "measured = []"),
    },
}
