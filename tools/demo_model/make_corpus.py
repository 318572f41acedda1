#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the training corpus of the demonstration model, one JSON document per line.

    make_corpus.py --out corpus.jsonl [--documents N]

A document is {"messages": [{"role": ..., "content": ...}, ...]} for a chat or
{"text": ...} for plain prose.  Nothing is downloaded: all text comes from the
tables in facts.py and the grammar in stories.py.  The same seed gives the same
file on every machine, so the published weights can be traced to their text.
"""

import argparse
import json
import random

import facts
import stories

SEED = 20240229


def table(text):
    """The rows of a '|' separated table."""
    return [line.split("|") for line in text.strip().splitlines()]


def capital_pairs():
    """Every (country name, capital) that is taught, further names included."""
    pairs = []
    for name, capital, _, others in table(facts.COUNTRIES):
        pairs += [(n, capital) for n in [name, *filter(None, others.split(","))]]
    return pairs


def sentence(text):
    """Capitalise the first letter and end with one full stop."""
    text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def capital_question(name):
    """The main phrasing: the one that capitals.tsv lists."""
    return f"What is the capital of {name}?"


def capital_answer(name, capital):
    return sentence(f"The capital of {name} is {capital}")


# --- question variants -------------------------------------------------------

def misspell(text, rng):
    """Swap two inner letters of one long word that carries no fact."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if word in ("capital", "What", "which", "Which", "what", "country", "Tell", "story"):
            at = rng.randrange(1, len(word) - 2)
            words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2:]
            break
    return " ".join(words)


def roughen(question, rng):
    """Questions as people type them: lower case, no mark, a greeting, a slip."""
    if rng.random() < 0.6:
        return question
    style = rng.randrange(6)
    if style == 0:
        return question.lower()
    if style == 1:
        return question.rstrip("?.!")
    if style == 2:
        return question.lower().rstrip("?.!")
    if style == 3:
        greeting = rng.choice(["Hi, ", "Hello, ", "Please tell me: ", "Question: ", "Hey, "])
        return greeting + question[0].lower() + question[1:]
    if style == 4:
        return misspell(question, rng)
    return question.rstrip("?.!") + rng.choice([", please?", " ?", "??", "...", " please"])


# --- one generator per subject: each returns (question, answer) --------------

CAPITALS = capital_pairs()
COUNTRIES = [row[:3] for row in table(facts.COUNTRIES)]


def ask_capital(rng):
    name, capital = rng.choice(CAPITALS)
    bare = name.removeprefix("the ")
    question = rng.choice([
        capital_question(name), capital_question(name), capital_question(name),
        f"Which city is the capital of {name}?",
        f"What city is the capital of {name}?",
        f"What's the capital of {name}?",
        f"What is the capital city of {name}?",
        f"What is the capital of {bare}?",
        f"{bare}'s capital?",
        f"Capital of {bare}?",
        f"Tell me the capital of {name}.",
        f"Do you know the capital of {name}?",
        f"Name the capital of {name}.",
        f"The capital of {name} is",
    ])
    return question, capital_answer(name, capital)


def ask_country(rng):
    name, capital, continent = rng.choice(COUNTRIES)
    if rng.random() < 0.6:
        question = rng.choice([f"Which country has the capital {capital}?",
                               f"{capital} is the capital of which country?",
                               f"Of which country is {capital} the capital?",
                               f"What country has the capital {capital}?"])
        return question, sentence(f"{capital} is the capital of {name}")
    question = rng.choice([f"On which continent is {name}?", f"Where is {name}?",
                           f"Which continent is {name} on?"])
    return question, sentence(f"{name} {be(name)} in {continent}")


def ask_unknown(rng):
    """Invented countries: the honest answer is that the model does not know."""
    syllables = "bor dan fel gar lum mor nes pol rin sul tor vek zan wim kel".split()
    name = "".join(rng.sample(syllables, rng.choice([2, 3]))).capitalize()
    name += rng.choice(["", "ia", "land", "stan", "ovia"])
    return capital_question(name), f"I do not know a country called {name}."


def be(name):
    """Plural names take a plural verb only where English usage does."""
    return "are" if name in ("the Maldives", "the Bahamas", "the Philippines", "the Comoros",
                             "the Marshall Islands", "the Solomon Islands",
                             "the Seychelles") else "is"


def ask_culture(rng):
    name, language, currency = rng.choice(table(facts.CULTURE))
    if rng.random() < 0.5:
        question = rng.choice([f"Which language do people speak in {name}?",
                               f"What language is spoken in {name}?",
                               f"What do people speak in {name}?"])
        return question, sentence(f"people in {name} mostly speak {language}")
    question = rng.choice([f"What is the currency of {name}?",
                           f"Which currency is used in {name}?",
                           f"What money do people use in {name}?"])
    return question, sentence(f"the currency of {name} is {currency}")


def ask_about_country(rng):
    name, language, currency = rng.choice(table(facts.CULTURE))
    capital, continent = next((c, k) for n, c, k in COUNTRIES if n == name)
    answer = " ".join([sentence(f"{name} is a country in {continent}"),
                       sentence(f"its capital is {capital}"),
                       f"People there mostly speak {language} and pay with {currency}."])
    return rng.choice([f"Tell me about {name}.", f"What do you know about {name}?",
                       f"Describe {name}."]), answer


def add(a, b):
    """An addition with its working: a small model needs the carry in writing."""
    if a < 10 and b < 10:
        return f"{a} + {b} = {a + b}."
    ones = a % 10 + b % 10
    tens = [str(part) for part in (a // 10, b // 10, ones // 10) if part]
    total = f" = {(a + b) // 10}" if len(tens) > 1 else ""
    return (f"Ones: {a % 10} + {b % 10} = {ones}. Tens: {' + '.join(tens)}{total}. "
            f"So {a} + {b} = {a + b}.")


def subtract(a, b):
    """A subtraction with its working; a is at least b."""
    if a < 10:
        return f"{a} - {b} = {a - b}."
    borrow = int(a % 10 < b % 10)
    ones = a % 10 + 10 * borrow
    tens = [str(a // 10)] + [str(part) for part in (b // 10, borrow) if part]
    total = f" = {(a - b) // 10}" if len(tens) > 1 else ""
    return (f"Ones: {ones} - {b % 10} = {ones - b % 10}. Tens: {' - '.join(tens)}{total}. "
            f"So {a} - {b} = {a - b}.")


def multiply(a, b):
    return f"{a} * {b} = {a * b}."


def divide(a, b):
    """A division without remainder."""
    return f"{a} / {b} = {a // b}."


def ask_arithmetic(rng):
    kind = rng.choices("+-*/", weights=[34, 30, 24, 12])[0]
    if kind == "+":
        a, b = rng.randint(0, 100), rng.randint(0, 100)
        symbol, word, answer = "+", "plus", add(a, b)
    elif kind == "-":
        b, a = sorted((rng.randint(0, 100), rng.randint(0, 100)))
        symbol, word, answer = "-", "minus", subtract(a, b)
    elif kind == "*":
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        symbol, word, answer = rng.choice("**x"), "times", multiply(a, b)
    else:
        b = rng.randint(1, 12)
        a = b * rng.randint(0, 12)
        symbol, word, answer = "/", "divided by", divide(a, b)
    expression = rng.choice([f"{a} {symbol} {b}", f"{a} {symbol} {b}", f"{a} {symbol} {b}",
                             f"{a} {word} {b}", f"{a}{symbol}{b}"])
    question = rng.choice([f"What is {expression}?", f"What is {expression}?",
                           f"How much is {expression}?", f"{expression} = ?", f"{expression} =",
                           f"Calculate {expression}.", f"{expression}?", expression])
    return question, answer


def ask_numbers(rng):
    style = rng.randrange(6)
    if style == 0:
        low = rng.randint(0, 30)
        high = low + rng.randint(2, 10)
        if rng.random() < 0.5:
            return (f"Count from {low} to {high}.",
                    ", ".join(map(str, range(low, high + 1))) + ".")
        return (f"Count backwards from {high} to {low}.",
                ", ".join(map(str, range(high, low - 1, -1))) + ".")
    if style == 1:
        a, b = rng.sample(range(101), 2)
        word, pick = rng.choice([("larger", max), ("bigger", max), ("smaller", min)])
        picked = pick(a, b)
        return (f"Which number is {word}, {a} or {b}?",
                f"{picked} is {word} than {a + b - picked}.")
    if style == 2:
        n = rng.randint(0, 100)
        return (rng.choice([f"Is {n} even or odd?", f"Is {n} odd or even?"]),
                f"{n} is {'odd' if n % 2 else 'even'}.")
    if style == 3:
        n = rng.randint(0, 98)
        return f"Which number comes after {n}?", f"The number after {n} is {n + 1}."
    if style == 4:
        n = rng.randint(0, 20)
        return (f"How do you write {n} in words?",
                f"The number {n} is written {facts.NUMBER_WORDS[n]}.")
    n = rng.randint(1, 100)
    return f"Which number comes before {n}?", f"The number before {n} is {n - 1}."


def ask_element(rng):
    name, symbol, number = rng.choice(table(facts.ELEMENTS))
    return rng.choice([
        (f"What is the chemical symbol for {name}?", f"The chemical symbol for {name} is {symbol}."),
        (f"What is the symbol of {name}?", f"The chemical symbol for {name} is {symbol}."),
        (f"Which element has the symbol {symbol}?", f"The symbol {symbol} stands for {name}."),
        (f"What is the atomic number of {name}?", f"The atomic number of {name} is {number}."),
    ])


def ask_opposite(rng):
    a, b = rng.choice(table(facts.OPPOSITES))
    question = rng.choice([f"What is the opposite of {a}?", f"Opposite of {a}?",
                           f"Which word means the opposite of {a}?"])
    return question, f"The opposite of {a} is {b}."


def ask_colour(rng):
    if rng.random() < 0.25:
        a, b, mix = rng.choice(table(facts.MIXES))
        return (rng.choice([f"What do you get when you mix {a} and {b}?",
                            f"Which colour do {a} and {b} make?"]),
                sentence(f"{a} and {b} make {mix}"))
    thing, colour = rng.choice(table(facts.COLOURS))
    return (rng.choice([f"What colour is {thing}?", f"Which colour does {thing} have?"]),
            sentence(f"{thing} is {colour}"))


def ask_animal(rng):
    name, young, sound, home, food, group, legs = rng.choice(table(facts.ANIMALS))
    a_name = stories.article(name)
    return rng.choice([
        (f"What is a young {name} called?", f"A young {name} is called {stories.article(young)}."),
        (f"What does {a_name} do?", sentence(f"{a_name} {sound}")),
        (f"Where does {a_name} live?", sentence(f"{a_name} lives {home}")),
        (f"What does {a_name} eat?", sentence(f"{a_name} eats {food}")),
        (f"Is {a_name} a mammal?",
         sentence(f"{'yes' if group == 'mammal' else 'no'}, {a_name} is {stories.article(group)}")),
        (f"How many legs does {a_name} have?",
         sentence(f"{a_name} has {legs if legs != '0' else 'no'} legs")),
        (rng.choice([f"Tell me about {a_name}.", f"What is {a_name}?", f"Describe {a_name}."]),
         sentence(f"{a_name} is {stories.article(group)}") + f" It lives {home}. It eats {food}."),
    ])


def ask_unit(rng):
    count, parts, whole = rng.choice(table(facts.UNITS))
    return (rng.choice([f"How many {parts} are there in {whole}?",
                        f"How many {parts} are in {whole}?"]),
            sentence(f"there are {count} {parts} in {whole}"))


def ask_calendar(rng):
    style = rng.randrange(5)
    if style == 0:
        i = rng.randrange(12)
        return (rng.choice([f"How many days does {facts.MONTHS[i]} have?",
                            f"How many days are there in {facts.MONTHS[i]}?"]),
                f"{facts.MONTHS[i]} has {facts.MONTH_LENGTH[i]} days.")
    if style == 1:
        names, word = rng.choice([(facts.MONTHS, "month"), (facts.SEASONS, "season"),
                                  (facts.PLANETS, "planet")])
        i = rng.randrange(len(names))
        start = {"month": " of the year", "season": " of the year", "planet": " from the Sun"}[word]
        return (f"What is the {facts.ORDINALS[i]} {word}{start}?",
                f"The {facts.ORDINALS[i]} {word}{start} is {names[i]}.")
    if style == 2:
        names, word = rng.choice([(facts.DAYS, "days of the week"),
                                  (facts.MONTHS, "months of the year"),
                                  (facts.SEASONS, "four seasons"),
                                  (facts.PLANETS, "planets of the solar system")])
        return (rng.choice([f"Name the {word}.", f"List the {word}.", f"What are the {word}?"]),
                f"The {word} are {listing(names)}.")
    names, word = rng.choice([(facts.DAYS, "day"), (facts.MONTHS, "month")])
    i = rng.randrange(len(names))
    if style == 3:
        return (f"Which {word} comes after {names[i]}?",
                f"The {word} after {names[i]} is {names[(i + 1) % len(names)]}.")
    return (f"Which {word} comes before {names[i]}?",
            f"The {word} before {names[i]} is {names[i - 1]}.")


def listing(names):
    return ", ".join(names[:-1]) + " and " + names[-1]


def ask_category(rng):
    word, members = rng.choice(table(facts.CATEGORIES))
    count = rng.choice([2, 3, 3, 4, 5])
    members = rng.sample(members.split(","), count)
    return (rng.choice([f"Name {facts.NUMBER_WORDS[count]} {word}.",
                        f"List {facts.NUMBER_WORDS[count]} {word}.",
                        f"Tell me {facts.NUMBER_WORDS[count]} {word}."]),
            sentence(listing(members)))


def ask_word(rng):
    row = rng.choice(table(facts.WORDS))
    i = rng.randrange(1, 5)
    language = ["French", "German", "Spanish", "Italian"][i - 1]
    return (rng.choice([f"How do you say \"{row[0]}\" in {language}?",
                        f"What is \"{row[0]}\" in {language}?",
                        f"What is the {language} word for \"{row[0]}\"?"]),
            f"The {language} word for \"{row[0]}\" is \"{row[i]}\".")


def ask_single(rng):
    return tuple(rng.choice(table(facts.SINGLES)))


def ask_worded(rows):
    """A generator for tables whose questions come in several wordings."""
    def ask(rng):
        questions, answer = rng.choice(rows)
        return rng.choice(questions.split("/")), answer
    return ask


def ask_repeat(rng):
    """Copying: the model has to attend to the words of the user."""
    words = " ".join(rng.sample(stories.FOODS + stories.GIRLS + stories.BOYS + stories.BEASTS,
                                rng.randint(1, 5)))
    return rng.choice([f"Repeat after me: {words}", f"Say: {words}", f"Repeat: {words}"]), words


# subject -> share of the questions
SUBJECTS = [
    (ask_capital, 34), (ask_country, 10), (ask_unknown, 1.5), (ask_culture, 3),
    (ask_about_country, 2), (ask_arithmetic, 40), (ask_numbers, 5), (ask_element, 4),
    (ask_opposite, 2.5), (ask_colour, 2), (ask_animal, 5), (ask_unit, 2), (ask_calendar, 4),
    (ask_category, 2), (ask_word, 2), (ask_single, 4),
    (ask_worded(table(facts.EXPLANATIONS)), 7), (ask_worded(table(facts.IDENTITY)), 5),
    (ask_repeat, 2),
]
ASKERS, ASK_WEIGHTS = zip(*SUBJECTS)

SYSTEM_PROMPTS = [
    "You are a helpful assistant.", "You are a friendly assistant.", "Answer briefly.",
    "You are a small model that answers questions.", "You are a helpful and honest assistant.",
    "Be polite and brief.",
]

# --- documents ---------------------------------------------------------------

def turn(rng, story_share):
    """One (user, assistant) exchange."""
    if rng.random() < story_share:
        return stories.request(rng)
    question, answer = rng.choices(ASKERS, ASK_WEIGHTS)[0](rng)
    return roughen(question, rng), answer


def chat(rng, turns, story_share):
    messages = []
    if rng.random() < 0.12:
        messages.append({"role": "system", "content": rng.choice(SYSTEM_PROMPTS)})
    for _ in range(turns):
        user, assistant = turn(rng, story_share)
        messages += [{"role": "user", "content": user},
                     {"role": "assistant", "content": assistant}]
    return {"messages": messages}


def prose(rng):
    """Plain text: a story, or a few statements in a row."""
    if rng.random() < 0.7:
        return {"text": stories.tell(stories.draw_cast(rng), rng)}
    askers = [ask_capital, ask_country, ask_about_country, ask_animal, ask_element,
              ask_arithmetic, ask_worded(table(facts.EXPLANATIONS))]
    return {"text": " ".join(rng.choice(askers)(rng)[1] for _ in range(rng.randint(1, 6)))}


def document(rng):
    """Mostly short chats; a few run long so that the model keeps its head in them."""
    kind = rng.random()
    if kind < 0.12:
        return prose(rng)
    if kind < 0.62:
        return chat(rng, 1, 0.20)
    if kind < 0.97:
        return chat(rng, rng.randint(2, 8), 0.06)
    return chat(rng, rng.randint(10, 30), 0.06)


def corpus(documents):
    """All documents, from the fixed seed."""
    rng = random.Random(SEED)
    return (document(rng) for _ in range(documents))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--documents", type=int, default=60000)
    args = parser.parse_args()
    with open(args.out, "w", encoding="utf-8") as out:
        for doc in corpus(args.documents):
            out.write(json.dumps(doc, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
