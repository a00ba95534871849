"""The words that the lists are drawn from.

No word contains another, so an answer cannot be right for a piece of it, and a word cannot be counted inside a longer
one. The order is part of the documents: adding, removing or moving a word changes every list that is drawn from here,
so it needs a new `GENERATOR_VERSION`.
"""

import random

# Short, common, lower-case English nouns: one token (with the space before it) in the usual byte-level vocabularies.
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

# Rarer and longer ones, for the arm `two_token`: most are two tokens in vocabularies of 50,000, some one or three.
LONGER_WORDS: tuple[str, ...] = tuple(
    """
    abacus almond antelope anvil apricot artichoke asparagus avocado baboon badger balalaika balcony bamboo banjo
    barley barrel basket bassoon beaver beetle beret bison blanket blizzard blossom blueberry bobbin bongo bonnet
    boomerang bracelet broccoli bucket buckle buffalo bulldozer bumblebee burrito butterfly cactus camel canary
    candle canoe canyon cashew cauldron cauliflower cedar celery cello chameleon cheetah cherry chimney chipmunk
    chisel cicada cinnamon clarinet clover cobbler cobra coconut compass condor coriander corkscrew cormorant
    cottage coyote cranberry crayon cricket crocodile crocus crowbar cucumber cushion cymbal dachshund daffodil
    daisy dolphin dragonfly drawbridge dulcimer dumpling earwig easel emerald envelope falcon feather ferret
    fiddle flamingo flannel fountain funnel gargoyle garlic gazebo gazelle gecko geranium gherkin ginger giraffe
    glacier goblet gondola goose gopher gorilla granite groundhog guava guitar hacksaw halibut hammock hamster
    harpoon haystack hazelnut heron hippo hyena ibis icicle igloo iguana jackal jaguar jasmine jigsaw juniper
    kangaroo kayak kazoo kestrel kettle kimono kiwi koala krill kumquat ladle lagoon lantern lasagna lasso
    lavender leek lemur leopard lettuce lilac lizard llama lobster loom lullaby lute lynx macaw mackerel magnet
    magnolia magpie mahogany mallet manatee mandarin mandible mandolin mango maraca marble meadow meerkat melon
    mermaid minnow mitten moccasin molasses mosquito moth muffin mulberry mussel narwhal nectarine nightingale
    noodle nutmeg oatmeal ocelot octopus okra olive omelet opossum orchid oregano oriole osprey ostrich otter
    oyster paddle panda panther papaya paprika parrot parsley parsnip partridge peacock peanut pebble pelican
    penguin peony pepper pergola persimmon pewter pheasant piccolo pickle pistachio platypus plum pomegranate
    poodle poplar porpoise pretzel puffin pulley pumpkin quail quilt quince raccoon raft raisin raspberry raven
    reindeer rhubarb rooster rucksack saddle saffron salamander sapphire sardine satsuma saucer scorpion sheriff
    shovel shrimp sickle skunk sloth snorkel sorrel sparrow spatula spinach spindle squid squirrel stapler stoat
    stork strawberry sturgeon swan tadpole tamarind tambourine tangerine tapir teapot termite thimble thistle
    thrush thyme tiara toaster toboggan toucan tractor trellis tripod trowel trumpet turmeric turnip turquoise
    turtle tuxedo tweezers ukulele umbrella vanilla vase velvet violin viper vulture waffle walnut walrus wardrobe
    warthog wasp whistle wigwam willow windmill wolverine wombat wren yogurt zebra zeppelin zucchini
    """.split()  # noqa: SIM905  (likewise)
)


def _invented(number: int = 400) -> tuple[str, ...]:
    """Words of six letters, consonant and vowel in turn, that occur in no language model's dictionary by design."""
    rng = random.Random("consonants and vowels")
    drawn: dict[str, None] = {}
    while len(drawn) < number:
        drawn["".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(3))] = None
    return tuple(drawn)


INVENTED_WORDS: tuple[str, ...] = _invented()
