"""The wording: three paraphrases of each question, two separators, an answer at once or after reasoning.

The design follows arXiv 2407.15160; the wording is ours. The list always comes first and the question last, so that
several questions about one list share its prefix.
"""

from typing import NamedTuple

SEPARATORS = {"space": " ", "comma": ", "}


class Style(NamedTuple):
    """How the model is to answer: what asks for a number and for a word, and what the prompt ends with."""

    number: str
    word: str
    end: str
    prefix: str  # before the right answer where an example shows it


_REASON = "Think step by step, then end with a line that says"
STYLES = {
    "": Style("Answer with a single number.", "Answer with a single word.", "Answer:", ""),
    "gen": Style("Answer with a single number.", "Answer with a single word.", "Answer:", ""),
    "gen_cot": Style(
        f'{_REASON} "Answer:" and a single number.', f'{_REASON} "Answer:" and a single word.', "Reasoning:", "Answer: "
    ),
}

_FRAMES = (
    "Here is a list of words: {words}\nQuestion: {question}\n{end}",
    "Words: {words}\nTask: {question}\n{end}",
    "Read the following list: {words}\nNow answer this question. {question}\n{end}",
)

_QUESTIONS = {
    "count_query": (
        'How many times does the word "{query}" appear in the list? {ask}',
        'Count how often the word "{query}" occurs among the words above. {ask}',
        'What is the number of occurrences of the word "{query}" in it? {ask}',
    ),
    "most_frequent_word": (
        "Which word appears most often in the list? {ask}",
        "Find the word that occurs more often than any other among the words above. {ask}",
        "What is the most frequent word in it? {ask}",
    ),
    "most_frequent_count": (
        "How many times does the most frequent word appear in the list? {ask}",
        "Count how often the word that occurs more often than any other occurs among the words above. {ask}",
        "What is the number of occurrences of the most frequent word in it? {ask}",
    ),
}


def prompt(kind: str, words: list[str], query: str, style: str, separator: str, paraphrase: int) -> str:
    """The text before the answer; the answer begins with a space."""
    ask = STYLES[style].word if kind == "most_frequent_word" else STYLES[style].number
    question = _QUESTIONS[kind][paraphrase].format(query=query, ask=ask)
    return _FRAMES[paraphrase].format(words=SEPARATORS[separator].join(words), question=question, end=STYLES[style].end)
