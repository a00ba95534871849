"""The words that every list is drawn from.

Short, common, lower-case English nouns, so that each is one token (with its leading space) in the usual byte-level
vocabularies. No word contains another: an answer cannot be right for a piece of it, and a word cannot be counted
inside a longer one. The order is part of the documents: adding, removing or moving a word changes every list that is
drawn from here, so it needs a new `GENERATOR_VERSION`.
"""

WORDS: tuple[str, ...] = tuple(
    """
    apple arm baby bag ball bank base bath bear bed bell bench bird board boat body bone book boss bowl boy bread
    brick brush bus cake camp cap car case cat chain cheek chest child city class cloud club coach coal coast coat
    coin corn cow cream crowd crown cup curve dance desk dish dog door dream dress drink drum duck dust eagle edge
    egg eye face fence field film fire fish flag floor food foot fork fox frame frog fruit game gate gift girl glass
    goat gold grass group guest gun hair hall hand hat head heart hill hole home horse hotel house ice iron judge
    jury key king knee knife lady lake lamp law leaf leg lemon light lion lip lock lunch map meat metal milk mind
    money moon mouse mouth movie music nail neck nest noise nose nurse ocean oil page paint paper park phone piano
    pig pilot pipe plane plant plate pond pool queen radio rain ring river road rock roof room root rope rose rule
    salt sand sea seed ship shirt shoe shop skin sky smoke snake snow soap song soup spoon stage star stone store
    storm sugar sun table tail tent tiger tool tooth tower town toy tree truck uncle wall water wheel wine woman
    wood world yard
    """.split()  # noqa: SIM905  (two hundred quoted lines are not better)
)
