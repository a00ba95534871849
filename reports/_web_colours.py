"""Colours of models on a page: it knows whether it is light or dark, and so has more room than a drawing for both."""

# Found by search: any two of ten differ by 23 or more (CIE76) to normal sight and to the three kinds of colour
# blindness (Machado et al. 2009, severity 1), and each has a contrast of 3 with its page.
LIGHT = ("#0b5cad", "#d55e00", "#441111", "#aa8888", "#8800ff", "#220044", "#883311", "#664466", "#4400aa", "#ff00ee")
DARK = ("#5aa9ff", "#e8833a", "#ffeedd", "#776666", "#6633ff", "#aaff00", "#aa3399", "#cc9977", "#99aabb", "#bb3322")
