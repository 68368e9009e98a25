"""The demonstration model's tokenizer: byte-level BPE of GPT-2's kind, in Phi-2's file layout.

Merges are learnt from the words of the prompt and of the questions until every word is a token.
Ids: 256 bytes, the merges, <|endoftext|>, Phi-2's runs of 31 to 2 spaces and 9 to 2 tabs,
<|extra_0|>. Byte alphabet and pattern: Radford et al., GPT-2 (2019).
"""

import json
import random
import re
from collections import Counter

import scenes

SYSTEM = ("A chat between a curious user and an artificial intelligence assistant. The assistant "
          "gives helpful, detailed, and polite answers to the user's questions.")
END, EXTRA = "<|endoftext|>", "<|extra_0|>"
IMAGE = -200  # stands for the picture in a list of ids, as in LLaVA

# GPT-2's pattern; \p{L} and \p{N} are spelt with what Python's re has.
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_alphabet():
    """GPT-2's printable character of every byte, in the order of GPT-2's ids."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in keep]
    return {b: chr(b) for b in keep} | {b: chr(256 + i) for i, b in enumerate(rest)}


ALPHABET = byte_alphabet()


def _join(word, pair):
    """The word's symbols with every occurrence of the pair merged, from the left."""
    out, i = [], 0
    while i < len(word):
        if tuple(word[i:i + 2]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def learn_merges(texts):
    """Merges, most frequent pair first, until every word of the texts is one symbol."""
    distinct = sorted({w for text in texts for w in WORD.findall(text)})
    words = [[ALPHABET[b] for b in w.encode()] for w in distinct]
    merges = []
    while True:
        pairs = Counter(p for w in words for p in zip(w, w[1:]))
        if not pairs:
            return merges
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        words = [_join(w, best) for w in words]


def corpus():
    """Every word that a prompt, a question or an answer of the demonstration can hold."""
    texts = [f"{SYSTEM} USER: ", " ASSISTANT:", "USER:", " ".join(scenes.CELLS + scenes.NUMBERS)]
    rng = random.Random("corpus")
    for seed in range(1000):
        scene = scenes.make_scene(seed)
        for kind in scenes.KINDS:
            question = scenes.ask(scene, rng, kind)
            if question:
                texts.append(f"\n{question.text} ASSISTANT: {question.answer}")
    return texts


class Tokenizer:
    def __init__(self, merges):
        self.merges = merges
        self.rank = {pair: i for i, pair in enumerate(merges)}
        symbols = list(ALPHABET.values()) + ["".join(p) for p in merges] + [END]
        self.vocab = {s: i for i, s in enumerate(symbols)}
        runs = [" " * n for n in range(31, 1, -1)] + ["\t" * n for n in range(9, 1, -1)]
        self.added = {s: len(symbols) + i for i, s in enumerate(runs + [EXTRA])}
        self.end = self.vocab[END]
        self.size = len(symbols) + len(self.added)
        self.bytes_of = {c: b for b, c in ALPHABET.items()}
        self.symbol = {i: s for s, i in self.vocab.items()}
        self.known = {}

    @classmethod
    def load(cls, folder):
        with open(f"{folder}/merges.txt", encoding="utf-8") as file:
            lines = file.read().split("\n")[1:]
        return cls([tuple(line.split(" ")) for line in lines if line])

    def _encode_word(self, word):
        symbols = [ALPHABET[b] for b in word.encode()]
        while len(symbols) > 1:
            best = min(zip(symbols, symbols[1:]), key=lambda p: self.rank.get(p, 1 << 30))
            if best not in self.rank:
                break
            symbols = _join(symbols, best)
        return [self.vocab[s] for s in symbols]

    def encode(self, text):
        """Ids of a text without special tokens and without runs of spaces or tabs."""
        ids = []
        for word in WORD.findall(text):
            if word not in self.known:
                self.known[word] = self._encode_word(word)
            ids += self.known[word]
        return ids

    def decode(self, ids):
        """The text of the ids, special tokens left out, stripped as the server strips it."""
        characters = "".join(self.symbol[i] for i in ids if i in self.symbol and i != self.end)
        return bytes(self.bytes_of[c] for c in characters).decode("utf-8", "replace").strip()

    def before_image(self):
        return self.encode(f"{SYSTEM} USER: ")

    def prompt(self, turns):
        """Ids of a conversation [(question, answer), ..., (question, None)] about one picture."""
        ids = self.before_image() + [IMAGE] + self.encode(f"\n{turns[0][0]} ASSISTANT:")
        for (_, answer), (question, _) in zip(turns, turns[1:]):
            ids += self.encode(f" {answer}") + [self.end]
            ids += self.encode(f"USER: {question} ASSISTANT:")
        return ids

    def save(self, folder):
        """Writes the five files of a CodeGen tokenizer."""
        def write(name, value):
            with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
                json.dump(value, file, indent=1, ensure_ascii=False)
                file.write("\n")

        def added(content, special):
            return {"content": content, "lstrip": False, "normalized": not special,
                    "rstrip": False, "single_word": False, "special": special}

        decoder = {str(i): added(s, s == EXTRA) for s, i in self.added.items()}
        decoder[str(self.end)] = added(END, True)
        specials = {"bos_token": END, "eos_token": END, "unk_token": EXTRA, "pad_token": EXTRA}
        write("vocab.json", self.vocab)
        write("added_tokens.json", self.added)
        write("special_tokens_map.json", specials)
        write("tokenizer_config.json", {
            "add_prefix_space": False, "added_tokens_decoder": decoder, **specials,
            "clean_up_tokenization_spaces": True, "errors": "replace", "model_max_length": 2048,
            "padding_side": "right", "tokenizer_class": "CodeGenTokenizer"})
        with open(f"{folder}/merges.txt", "w", encoding="utf-8") as file:
            file.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in self.merges))
