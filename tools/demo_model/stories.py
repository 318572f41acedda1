# SPDX-License-Identifier: Apache-2.0
"""A story grammar: endless short, grammatical stories for the demonstration model.

A template is English text with three devices:

    [a|b|c]   one of the alternatives, which may nest and may be empty
    $name     a value of the cast (hero, friend, place, ...)
    $Name     the same value with a capital letter

A story is an opening, a plot and an ending that share one cast.  Names, places
and things are drawn independently of the plot, so the model has to carry them
through the text instead of reciting whole stories.
"""

import re

GIRLS = ("Anna Lily Mia Emma Sara Nora Lucy Ella Rosa Maya Clara Alice Ruby Ivy "
         "Olga Zoe Hana Lena Tess June").split()
BOYS = ("Tom Ben Max Leo Sam Jack Oscar Finn Hugo Noah Paul Adam Peter Luke Omar "
        "Ravi Kenji Otto Theo Will").split()
BEASTS = ("fox rabbit bear mouse owl cat dog hedgehog squirrel frog duck deer wolf "
          "turtle badger pony goat lamb penguin elephant lion monkey").split()
HUMANS = {"she": ["girl", "girl", "girl", "princess", "baker", "sailor", "painter"],
          "he": ["boy", "boy", "boy", "prince", "sailor", "baker", "gardener"]}
TRAITS = "little young clever kind brave curious quiet cheerful gentle shy lively patient".split()
PLACES = ["in a small village", "near a big forest", "by the sea", "on a green hill",
          "beside a wide river", "in a busy town", "at the edge of a lake",
          "in a deep valley", "on a small farm", "under a high mountain",
          "near an old mill", "on a small island", "at the end of a long road"]
TRIPS = ["the forest", "the river", "the lake", "the market", "the meadow", "the garden",
         "the beach", "the hill", "the old bridge", "the mill", "the park", "the harbour"]
THINGS = ["red ball", "blue kite", "golden key", "silver bell", "wooden boat", "warm scarf",
          "yellow hat", "small drum", "old map", "shiny coin", "green lantern", "soft blanket",
          "paper bird", "little flute", "picture book", "glass marble", "straw basket",
          "brass compass", "toy train", "white feather"]
FOODS = ["apples", "berries", "fresh bread", "honey", "warm soup", "nuts", "pears",
         "cheese", "pancakes", "carrots", "cherries", "sweet cakes"]
WEATHER = ["sunny", "windy", "cold", "rainy", "warm", "foggy", "bright", "snowy", "quiet", "cloudy"]
TIMES = ["morning", "afternoon", "day", "evening"]
ELDERS = ["woman", "man", "fisherman", "farmer", "teacher", "shepherd"]
SKILLS = ["swim", "sing", "climb", "dance", "paint", "whistle", "read", "bake", "fish", "skate"]
VIRTUES = ["Kindness", "Patience", "Courage", "Friendship", "Honesty", "Sharing", "Curiosity"]

OPENINGS = [
    "[Once upon a time|Once|Long ago|Many years ago], [there was|there lived] $a_trait $kind named $hero. "
    "$He lived $place[| with $his [family|grandmother|mother|father|brother|sister]].",
    "$Hero was $a_trait $kind who lived $place.",
    "[Once upon a time|Once|Long ago], $a_trait $kind [named|called] $hero lived $place.",
    "$Place, there lived $a_trait $kind named $hero.",
    "There was once $a_trait $kind whose name was $hero. $He [lived|had a small house] $place.",
]

DETAILS = [
    "Every [morning|evening], $he [walked|went] to $trip2 and [watched the clouds|listened to the birds|counted the boats|looked at the flowers].",
    "$He liked [$food|$food and $food2] more than anything else.",
    "Everyone [there|in the neighbourhood] [knew|liked] $him because $he was [so |always |]$trait2.",
    "$He loved to $skill[| and to $skill2].",
    "$He had $a_keepsake that $he [took everywhere|kept under $his bed|loved very much].",
    "",
    "",
]

PLOTS = {
    "lost": [
        "[One|On a] $weather $time, $hero could not find $his $thing. ",
        "$He looked [under the bed|behind the door|in every room|in the garden] and [under the table|on the roof|in the kitchen|in every box], but it was [not there|gone|nowhere]. ",
        "[$Hero was very sad.|$He began to cry.|$He felt sad and did not know what to do.] ",
        "[Then|Soon|After a while] $friend [came by|came along|knocked at the door] and [asked|said], \"[What is wrong|Why are you so sad|What happened], $hero?\" ",
        "\"I have lost my $thing,\" said $hero. ",
        "\"[Do not worry|Do not cry|Cheer up],\" said $friend. \"[We will look for it together|I will help you find it|Let us look for it together].\" ",
        "They [walked|went] to $trip and looked [everywhere|behind every stone|under every bush]. ",
        "[At last|Finally|In the end], $friend [saw something [shiny|small|bright] in the grass|found something under an old tree|pointed to a branch]. It was the $thing! ",
        "$Hero [thanked|hugged] $friend and [laughed with joy|smiled from ear to ear|danced with joy]. ",
    ],
    "help": [
        "[One|On a] $weather $time, $hero was walking to $trip when $he heard a [quiet|small|strange] [voice|sound|cry]. ",
        "[It was|There was] $a_friendtrait $friendkind who [was stuck in the mud|had hurt a foot|had fallen into a hole|was caught in a net|could not find the way home]. ",
        "\"Please help me,\" said the $friendkind. \"My name is $friend, and I am [cold|tired|hungry|afraid].\" ",
        "$Hero [did not wait|did not think twice|knew what to do]. $He [took a long branch and pulled with all $his strength|gave $friend some $food and a warm place to rest|carried $friend all the way home|worked for an hour until $friend was free]. ",
        "\"[Thank you|You are very kind|You saved me],\" said $friend. \"I will never forget [this|what you did].\" ",
        "[A few days later|The next week|Some time later], $hero [got lost|fell into the water|lost $his way in the fog] near $trip2. ",
        "$Friend [heard|saw] $him and [came at once|ran to help|showed $him the way]. ",
        "[Now|From then on] the two were friends. ",
    ],
    "find": [
        "[One|On a] $weather $time, $hero went to $trip and found $a_thing. ",
        "\"[Whose is it|Who has lost it|Where does it come from]?\" $he [asked|wondered|thought]. ",
        "$He [asked|went to] $friend, $a_friendtrait $friendkind, but $friend had never seen it before. ",
        "[Then they asked|After that they asked] an old $elder [at the market|near the bridge|on the road]. ",
        "\"[That is mine|I lost it long ago|I have looked for it for years]!\" [cried|said] the $elder. \"[It was a gift from my mother|My brother made it for me|I got it when I was small].\" ",
        "$Hero [was a little sad|wanted to keep it|liked it very much], but $he [gave it back|put it into the old hands] with a smile. ",
        "[As a thank you|The next day], $he [was given|got] a [basket|bag|bowl] of $food, and $he [ate it|shared it] with $friend. ",
    ],
    "learn": [
        "$Hero wanted to learn to $skill, but [it was hard|it was not easy|$he did not know how]. ",
        "[The first time|On the first day] $he tried, [everything went wrong|$he fell down|everyone laughed|nothing worked]. ",
        "\"I will never learn it,\" $he said [sadly|with a sigh|quietly]. ",
        "$Friend, $a_friendtrait $friendkind, [heard this and sat down beside $him|put a hand on $his shoulder|smiled at $him]. ",
        "\"[Nobody learns it in one day|I also needed a long time|Every day is a new chance],\" said $friend. \"[Try again tomorrow|Let us practise together|Take one small step at a time].\" ",
        "So $hero [practised every day|tried again and again|went to $trip every $time and practised]. ",
        "[After a week|After a month|When spring came], $he could $skill [a little|quite well]. [After a year|At the end of the year|When winter came], $he could $skill better than anyone [else |]in the [village|valley|town]. ",
    ],
    "share": [
        "[One|On a] $weather $time, $hero had a [basket|bag|big bowl] of $food. ",
        "On the way to $trip $he met $friend, $a_friendtrait $friendkind who [had nothing to eat|was very hungry|looked tired and hungry]. ",
        "\"[May I have some|Could you give me a little|Would you share your $food with me]?\" asked $friend. ",
        "$Hero [looked at the $food and thought for a moment|was hungry too|had only a little]. Then $he [smiled|nodded] and said, \"[Of course|Yes|Come and sit down]. [There is enough for two|Half of it is yours|We can eat together].\" ",
        "They sat [under a tree|on a stone|in the grass] and [ate and talked|told each other stories|laughed] until the [sun went down|stars came out]. ",
        "[The next day|A week later], $friend came back with $a_thing. \"This is for you,\" said $friend, \"because you [shared with me|were so kind to me].\" ",
    ],
    "storm": [
        "[One|On a] $weather $time, a [great|big|terrible] storm came [over|down from] the [hills|sea|mountains]. ",
        "The wind [blew|howled], and the rain [fell|came down] [all night|for hours|like a river]. ",
        "$Hero [was afraid|hid under the blanket|could not sleep]. Then $he heard a knock at the door. ",
        "It was $friend, $a_friendtrait $friendkind. \"[My house has no roof any more|The wind has broken my house|The water has taken my home],\" said $friend. ",
        "\"Come in,\" said $hero. \"[You can stay here|There is room for you|It is warm by the fire].\" ",
        "They [ate $food|drank hot tea|told stories] and [listened to the rain|watched the fire|waited for the morning]. ",
        "When the storm was over, all the neighbours [came to help|brought wood and nails|worked together], and [soon|after a few days] $friend had a new house. ",
    ],
    "journey": [
        "$Hero had always wanted to see what was behind the [mountain|sea|forest|hills]. ",
        "[One|On a] $weather $time, $he packed some $food and $a_thing and [set off|left home|started to walk]. ",
        "[At $trip|Near $trip] $he met $friend, $a_friendtrait $friendkind. \"Where are you going?\" asked $friend. ",
        "\"I want to see the [world|other side|wide world],\" said $hero. \"[Come with me|Will you come along]!\" ",
        "They walked for [two|three|seven] days. They [crossed|came to] [a deep river|a dark wood|a high pass|a wide plain], and at night they slept [under the stars|in an old barn|in a dry cave]. ",
        "[At last|Finally] they came to [a valley full of flowers|a city with a hundred towers|a beach with white sand|a lake as clear as glass]. ",
        "\"It is [beautiful|wonderful],\" said $hero, \"but [I miss my home|home is beautiful too|now I want to tell everyone about it].\" ",
        "So they [went|walked] back, and $hero told everyone what $he had seen. ",
    ],
    "quarrel": [
        "$Hero and $friend, $a_friendtrait $friendkind, [did everything together|were good friends|played together every day]. ",
        "[One|On a] $weather $time, both of them wanted to play with the $thing. ",
        "\"It is my turn!\" [cried|said] $hero. \"No, it is mine!\" [cried|said] $friend. They pulled and pulled until the $thing [broke|fell into the water|was gone]. ",
        "[They were angry and went home|Both went home without a word|They did not speak to each other for three days]. ",
        "But $hero [missed $friend|felt lonely|could not sleep]. [The next morning|In the morning], $he went to $friend and said, \"I am sorry.\" ",
        "\"I am sorry too,\" said $friend. \"[A friend is worth more than a $thing|Let us make a new one|Next time we will take turns].\" ",
        "They [went to $trip|sat down together] and [made a new one|shared some $food|found a new game], and it was [better than before|even more fun]. ",
    ],
    "treasure": [
        "[One|On a] $weather $time, $hero found an old [letter|paper|bottle with a letter] [in the attic|under a stone|on the beach]. ",
        "It said, \"[Go to|Look behind|Dig near] [the big oak|the old well|the tall rock] near $trip.\" ",
        "$Hero showed it to $friend, $a_friendtrait $friendkind, and the two [ran|went] there [at once|as fast as they could]. ",
        "They [dug|searched] for a long time. [The sun was hot, and they were tired.|It grew dark, and they wanted to go home.|They found only stones and roots.] ",
        "[Then|At last] $friend [hit|touched|found] a small [wooden|iron] box. Inside they found $a_thing and a note. ",
        "The note said, \"[The best treasure is a good friend|Whoever finds this shall share it|Be kind and be brave].\" ",
        "They [laughed|looked at each other and smiled] and [carried the box home|put the note on the wall|decided to share it]. ",
    ],
    "gift": [
        "It was the birthday of $friend, $a_friendtrait $friendkind, and $hero [had no gift|did not know what to give]. ",
        "$He [had no money|had only one small coin], so $he went to $trip to think. ",
        "[There $he saw|On the way $he found] [some wood|some bright wool|colourful paper|smooth stones], and $he had an idea. ",
        "$He worked [all day|the whole $time|until late at night] and made $a_thing. It was [not perfect|a little crooked|very simple], but $he had made it [with love|with $his own hands]. ",
        "[At the party|In the evening], $friend opened all the gifts. [Some were big, and some were expensive.|There were many of them.] ",
        "\"This one is the best,\" said $friend and held up the $thing. \"[I will keep it forever|Nobody else has one like it|You made it just for me].\" ",
        "$Hero [blushed|was proud|smiled], and they all ate $food together. ",
    ],
}

ENDINGS = [
    "[$Hero went home happy.|That night $hero slept well.|$Hero was happy, and so was $friend.]",
    "[From that day on|Since then|After that], $hero and $friend were [the best of friends|friends for life|always together].",
    "And they lived happily ever after.",
    "[$Hero learned that|That day $hero learned that] [kindness comes back to you|good friends are worth more than gold|it is good to share|small steps lead far|it is never too late to try|helping others feels good].",
    "$Virtue [is always worth it|makes the world better|is the greatest treasure], thought $hero, and $he smiled.",
    "[In the evening|When the sun went down], they sat together and watched the [stars|moon|sunset]. It had been a [good|wonderful|long] day.",
]


def article(noun):
    """The noun with its indefinite article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def choose(template, rng):
    """Resolve [a|b] alternatives from the innermost outward."""
    while "[" in template:
        template = re.sub(r"\[([^\[\]]*)\]",
                          lambda m: rng.choice(m.group(1).split("|")), template)
    return template


def fill(template, cast, rng):
    """Resolve alternatives, then the $names; $Name is the capitalised value."""
    def value(match):
        name = match.group(1)
        text = cast[name.lower()]
        return text[0].upper() + text[1:] if name[0].isupper() else text
    return re.sub(r"\$(\w+)", value, choose(template, rng))


def draw_cast(rng, kind=None, thing=None, place=None):
    """Choose who and what the story is about; the arguments fix a part of it."""
    pronoun = rng.choice(["he", "she"])
    if kind in ("girl", "princess"):
        pronoun = "she"
    elif kind in ("boy", "prince"):
        pronoun = "he"
    if kind is None:
        kind = rng.choice(BEASTS) if rng.random() < 0.5 else rng.choice(HUMANS[pronoun])
    hero, friend = rng.sample((GIRLS if pronoun == "she" else BOYS), 2)
    if rng.random() < 0.5:
        friend = rng.choice(BOYS if pronoun == "she" else GIRLS)
    trait, trait2, friend_trait = rng.sample(TRAITS, 3)
    food, food2 = rng.sample(FOODS, 2)
    trip, trip2 = rng.sample(TRIPS, 2)
    skill, skill2 = rng.sample(SKILLS, 2)
    thing = thing or rng.choice(THINGS)
    return {
        "hero": hero, "friend": friend, "kind": kind,
        "friendkind": rng.choice([beast for beast in BEASTS if beast != kind]),
        "he": pronoun,
        "him": {"he": "him", "she": "her"}[pronoun],
        "his": {"he": "his", "she": "her"}[pronoun],
        "trait2": trait2, "a_trait": article(trait), "a_friendtrait": article(friend_trait),
        "food": food, "food2": food2, "trip": trip, "trip2": trip2,
        "skill": skill, "skill2": skill2, "thing": thing, "a_thing": article(thing),
        "a_keepsake": article(rng.choice([other for other in THINGS if other != thing])),
        "place": place or rng.choice(PLACES), "weather": rng.choice(WEATHER),
        "time": rng.choice(TIMES), "elder": rng.choice(ELDERS), "virtue": rng.choice(VIRTUES),
    }


def tell(cast, rng, plot=None):
    """One story as a single paragraph."""
    plot = plot or rng.choice(list(PLOTS))
    parts = [rng.choice(OPENINGS), " ", rng.choice(DETAILS), " ", *PLOTS[plot],
             rng.choice(ENDINGS)]
    return re.sub(r"\s+", " ", fill("".join(parts), cast, rng)).strip()


def request(rng):
    """A (user request, story) pair; the request fixes hero, thing, place or plot."""
    ask = rng.choice(["Tell me a {}story", "Write a {}story", "Please tell me a {}story",
                      "Can you tell me a {}story", "Tell a {}story", "I want to hear a {}story",
                      "Please write a {}story"]).format(rng.choice(["", "short ", "short ", "little "]))
    mark = "?" if ask.startswith("Can") else "."
    style = rng.choice(["any", "kind", "kind", "kind", "named", "thing", "place", "friends"])
    if style == "any":
        return ask + mark, tell(draw_cast(rng), rng)
    if style == "kind":
        kind = rng.choice(BEASTS + ["girl", "boy", "princess", "prince"])
        return f"{ask} about {article(kind)}{mark}", tell(draw_cast(rng, kind=kind), rng)
    if style == "named":
        cast = draw_cast(rng)
        return f"{ask} about {article(cast['kind'])} named {cast['hero']}{mark}", tell(cast, rng)
    if style == "thing":
        cast = draw_cast(rng)
        plot = rng.choice(["lost", "find", "gift", "quarrel"])
        return f"{ask} about {cast['a_thing']}{mark}", tell(cast, rng, plot)
    if style == "place":
        cast = draw_cast(rng)
        return f"{ask} that happens {cast['place']}{mark}", tell(cast, rng)
    cast = draw_cast(rng)
    return f"{ask} about {cast['hero']} and {cast['friend']}{mark}", tell(cast, rng)
