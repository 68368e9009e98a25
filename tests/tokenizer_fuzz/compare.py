"""Random text and random ids through Tessera's tokenizers and through the libraries they must equal.

Subjects: SentencePiece models trained here with random options, as SentencePiece itself, as LlamaTokenizer (legacy or not) and as
LlamaTokenizerFast; tokenizer.json files with every Metaspace, BPE and Unigram; and the directories of the command line.
"""

import argparse
import base64
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import unicodedata

import regex
import sentencepiece
import tokenizers
import transformers
from transformers import LlamaTokenizer, LlamaTokenizerFast

transformers.logging.set_verbosity_error()
NEW = tuple(int(n) for n in tokenizers.__version__.split(".")[:2]) >= (0, 19)
SPACE = "\u2581"
FUZZ = [" ", "  ", SPACE, "\n", "\t", "\r\n", "\u3000", "\u00a0", "\u200b", "\ufeff", "\0", "\x7f", "<s>", "</s>", "<unk>", "<0x0A>", "<s", "e\u0301",
        "\ufb01", "\u2460", "\uff21", "\u0338", "\U0001f469\u200d\U0001f467", "<image>", "<sep>", "''", "...", "aaaa", "0123"]
PROSE = ["The harbour town wakes early.", "Маленький город", "港町の朝は早い。", "naïve façade", "for (int i = 0; i < 9; ++i)", "الصورة", "ภาพ", "그림", "ψαροκάικα"]


def is_same_in_all_unicodes(point):
    """Not where the libraries' tables, of several versions of Unicode, differ: what is newer than Python's, and combining marks, which an older
    NFC orders differently."""
    character = chr(point)
    if 0xD800 <= point < 0xE000 or unicodedata.combining(character):
        return False
    return (unicodedata.category(character) == "Cn") == bool(regex.match(r"\p{Cn}", character))


def random_text(rng, vocabulary):
    parts = []
    for _ in range(rng.randint(0, 12)):
        kind = rng.random()
        if kind < 0.3:
            parts.append(rng.choice(FUZZ))
        elif kind < 0.6:
            words = rng.choice(PROSE)
            begin = rng.randrange(len(words))
            parts.append(words[begin : begin + rng.randint(1, 12)])
        elif kind < 0.85:
            parts.append(rng.choice(vocabulary).replace(SPACE, " "))
        elif kind < 0.9:
            parts.append(rng.choice("a 1.x" + SPACE) * rng.randint(1, 40))
        else:
            point = rng.choice([0x80, 0x800, 0x3000, 0x10000, 0x110000])
            point = rng.randrange(point)
            parts.append(chr(point) if is_same_in_all_unicodes(point) else "\ufffd")
    return "".join(parts)


def random_ids(rng, size, bytes_from):
    ids = []
    for _ in range(rng.randint(0, 12)):
        if bytes_from is not None and rng.random() < 0.5:
            run = rng.choice(PROSE + ["\U0001f469", "港"]).encode()
            begin = rng.randrange(len(run))
            ids += [bytes_from + byte for byte in run[begin : begin + rng.randint(1, 6)]]
        else:
            ids.append(rng.randrange(size))
    return ids


class Subject:
    """`encode(text)` and `decode(ids)` of a library against a directory read by tokenizer-ids. `decode` may return None: not compared."""

    def __init__(self, name, directory, which, parse, encode, decode, vocabulary, bytes_from):
        self.name, self.directory, self.which, self.parse = name, directory, which, parse
        self.encode, self.decode, self.vocabulary, self.bytes_from = encode, decode, vocabulary, bytes_from

    def compare(self, ids_binary, seconds, seed):
        rng = random.Random(seed)
        lines, expected = [], []
        end = time.time() + seconds
        while time.time() < end:
            text = random_text(rng, self.vocabulary)
            lines.append({"text": text, "parse": self.parse})
            expected.append({"ids": list(self.encode(text))})
            ids = random_ids(rng, len(self.vocabulary), self.bytes_from)
            decoded = self.decode(ids)
            if decoded is not None:
                lines.append({"ids": ids})
                expected.append({"text": decoded})
        run = subprocess.run([ids_binary, str(self.directory), self.which], input="\n".join(map(json.dumps, lines)) + "\n",
                             capture_output=True, text=True)
        if run.returncode != 0:
            print(f"FAIL {self.name}: {run.stderr}")
            return 1
        actual = [json.loads(line) for line in run.stdout.splitlines()]
        wrong = [(line, want, got) for line, want, got in zip(lines, expected, actual) if want != got]
        assert len(actual) == len(lines)
        encodings = sum("text" in line for line in lines)
        print(f"{'FAIL' if wrong else 'ok  '} {self.name}: {encodings} texts, {len(lines) - encodings} id lists, {len(wrong)} differ", flush=True)
        for line, want, got in wrong[:3]:
            print("  ", json.dumps(line), "\n    library", json.dumps(want), "\n    tessera", json.dumps(got))
        return len(wrong)


def exact(tokenizer):
    """What Tessera streams: no clean-up, no spaces between added tokens. Not compared where the slow class prints U+2581 itself: the rest of
    a token that lost its space and is no token any more."""

    def decode(ids):
        text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False, spaces_between_special_tokens=False)
        return None if SPACE in text else text

    return decode


def train(path, rng):
    corpus = [random_text(rng, PROSE) for _ in range(400)] + PROSE * 20
    corpus = [line.replace("\n", " ").replace("\r", " ").replace("\0", " ") for line in corpus]
    options = dict(
        model_type=rng.choice(["bpe", "bpe", "unigram"]), byte_fallback=rng.random() < 0.7, add_dummy_prefix=rng.random() < 0.8,
        remove_extra_whitespaces=rng.random() < 0.4, normalization_rule_name=rng.choice(["identity", "nmt_nfkc", "nmt_nfkc_cf"]),
        treat_whitespace_as_suffix=rng.random() < 0.1, split_by_whitespace=rng.random() < 0.8, split_digits=rng.random() < 0.5,
        user_defined_symbols=rng.choice([[], ["<sep>", "aa", " the"], ["\u0338x", SPACE * 3]]))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_prefix=str(path.with_suffix("")), vocab_size=rng.choice([700, 900, 1200]), hard_vocab_limit=False,
        character_coverage=rng.choice([0.98, 0.9995]), minloglevel=4, **options)
    return " ".join(f"{key}={value}" for key, value in options.items())


def pieces_of(model):
    return [model.id_to_piece(i) for i in range(model.get_piece_size())]


def first_byte(vocabulary):
    return vocabulary.index("<0x00>") if "<0x00>" in vocabulary else None


def sentencepiece_subject(directory, what):
    model = sentencepiece.SentencePieceProcessor(model_file=str(directory / "tokenizer.model"))
    vocabulary = pieces_of(model)
    return Subject(f"SentencePiece {what}", directory, "any", False, model.encode, model.decode, vocabulary, first_byte(vocabulary))


def llama_subjects(directory, what, legacy):
    slow = LlamaTokenizer(str(directory / "tokenizer.model"), legacy=legacy)
    slow.add_tokens(["<image>"], special_tokens=True)
    slow.add_tokens(["<sep>"])
    home = directory / f"llama_{legacy}"
    slow.save_pretrained(home)
    slow = LlamaTokenizer.from_pretrained(home)
    vocabulary = slow.convert_ids_to_tokens(range(len(slow)))
    yield Subject(f"LlamaTokenizer legacy={legacy} {what}", home, "slow", True, lambda text: slow(text).input_ids, exact(slow), vocabulary,
                  first_byte(vocabulary))
    yield Subject(f"LlamaTokenizer legacy={legacy} plain {what}", home, "slow", False,
                  lambda text: slow(text, split_special_tokens=True).input_ids, lambda ids: None, vocabulary, None)
    if NEW or "bpe" not in what or "identity" not in what or "byte_fallback=False" in what:
        return  # the conversion of other files changes what they do
    fast = LlamaTokenizerFast.from_pretrained(home)
    # Broken bytes are replaced one by one, not by the run: texts are not compared.
    yield Subject(f"LlamaTokenizerFast legacy={legacy} {what}", home, "fast", True, lambda text: fast(text).input_ids, lambda ids: None, vocabulary,
                  None)


def json_subjects(directory, rng):
    """tokenizer.json files put together from parts."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
    corpus = [random_text(rng, PROSE) for _ in range(400)] + PROSE * 20
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    for kind in ("BPE", "Unigram"):
        for scheme in ("first", "always", "never", "normalizer"):
            if scheme == "first" and not NEW:
                continue  # meant the first stretch between added tokens then
            split = rng.random() < 0.5 or not NEW
            metaspace = dict(prepend_scheme=scheme, **({"split": split} if NEW else {})) if scheme != "normalizer" else None
            around = pre_tokenizers.Metaspace(**metaspace) if metaspace else None
            normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]) if not metaspace else normalizers.NFC()
            model = models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True) if kind == "BPE" else models.Unigram()
            tokenizer = tokenizers.Tokenizer(model)
            tokenizer.normalizer = normalizer
            if around:
                tokenizer.pre_tokenizer = around
            special = ["<unk>", "<s>", "</s>"] + bytes_
            trainer = (trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False, limit_alphabet=200) if kind == "BPE" else
                       trainers.UnigramTrainer(vocab_size=900, special_tokens=special, unk_token="<unk>", show_progress=False))
            tokenizer.train_from_iterator(corpus, trainer)
            file = json.loads(tokenizer.to_str())
            if kind == "Unigram":  # the trainer also learns the special tokens that are in the corpus
                seen = set()
                file["model"]["vocab"] = [entry for entry in file["model"]["vocab"] if not (entry[0] in seen or seen.add(entry[0]))]
            size = len(file["model"]["vocab"])
            file["added_tokens"] = []
            for id, content, special, normalized in ((0, "<unk>", True, False), (1, "<s>", True, False), (2, "</s>", True, False),
                                                     (size, "<image>", True, False), (size + 1, "<sep>", False, True),
                                                     (size + 2, "e\u0301x", False, True)):
                file["added_tokens"].append({"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
                                             "normalized": normalized, "special": special})
            if kind == "Unigram":
                file["model"]["byte_fallback"] = True
            else:
                file["model"]["ignore_merges"] = NEW and rng.random() < 0.3
                file["model"]["fuse_unk"] = rng.random() < 0.5
            plain = metaspace and rng.random() < 0.5
            file["decoder"] = json.loads(tokenizers.Tokenizer.from_str(json.dumps(file)).to_str())["decoder"]
            joined = ([decoders.Metaspace(**metaspace) if NEW else decoders.Metaspace(add_prefix_space=scheme != "never")] if plain else
                      [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
            tokenizer = tokenizers.Tokenizer.from_str(json.dumps(file))
            tokenizer.decoder = joined[0] if plain else decoders.Sequence(joined)
            home = directory / f"{kind}_{scheme}"
            home.mkdir()
            tokenizer.save(str(home / "tokenizer.json"))
            vocabulary = [tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size(True))]
            what = f"tokenizer.json {kind} {metaspace or scheme} {'Metaspace' if plain else 'ByteFallback'}"
            yield Subject(what, home, "any", True, lambda text, t=tokenizer: t.encode(text).ids, lambda ids, t=tokenizer: t.decode(ids), vocabulary,
                          first_byte(vocabulary))


def given_subjects(directory):
    if (directory / "tokenizer.json").exists():
        fast = transformers.PreTrainedTokenizerFast.from_pretrained(directory) if not (directory / "tokenizer_config.json").exists() else \
            transformers.AutoTokenizer.from_pretrained(directory)
        vocabulary = fast.convert_ids_to_tokens(range(len(fast)))
        yield Subject(f"{directory} fast", directory, "fast", True, lambda text: fast(text).input_ids, exact(fast), vocabulary, first_byte(vocabulary))
    config = directory / "tokenizer_config.json"
    if (directory / "tokenizer.model").exists() and config.exists():
        slow = LlamaTokenizer.from_pretrained(directory)
        vocabulary = slow.convert_ids_to_tokens(range(len(slow)))
        yield Subject(f"{directory} slow", directory, "slow", True, lambda text: slow(text).input_ids, exact(slow), vocabulary, first_byte(vocabulary))
    elif (directory / "tokenizer.model").exists():
        yield sentencepiece_subject(directory, str(directory))
    elif (directory / "merges.txt").exists():
        slow = transformers.AutoTokenizer.from_pretrained(directory, use_fast=False)
        vocabulary = slow.convert_ids_to_tokens(range(len(slow)))
        yield Subject(f"{directory} slow", directory, "slow", True, lambda text: slow(text).input_ids, exact(slow), vocabulary, None)
    for ranks in directory.glob("*.tiktoken"):  # QWenTokenizer and Arcade100kTokenizer: one pattern
        import tiktoken
        table = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in ranks.read_bytes().splitlines() if line}
        pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        encoding = tiktoken.Encoding(ranks.stem, pat_str=pattern, mergeable_ranks=table, special_tokens={})
        vocabulary = [token.decode(errors="replace") for token in table]
        yield Subject(f"{directory} tiktoken", directory, "any", False, lambda text: encoding.encode_ordinary(unicodedata.normalize("NFC", text)),
                      encoding.decode, vocabulary, None)


def subjects(directories, work, rng):
    if directories:
        for directory in directories:
            yield from given_subjects(pathlib.Path(directory))
        return
    for number in range(6):
        home = work / str(number)
        home.mkdir()
        what = train(home / "tokenizer.model", rng)
        yield sentencepiece_subject(home, what)
        for legacy in (True, False):
            yield from llama_subjects(home, what, legacy)
    yield from json_subjects(work, rng)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", required=True, help="the tokenizer-ids binary")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("directories", nargs="*")
    arguments = parser.parse_args()
    print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}")
    with tempfile.TemporaryDirectory() as work:
        rng = random.Random(arguments.seed)
        wrong = [subject.compare(arguments.ids, arguments.seconds, arguments.seed)
                 for subject in subjects(arguments.directories, pathlib.Path(work), rng)]
    print(f"{len(wrong)} subjects, {sum(wrong)} differences")
    sys.exit(1 if sum(wrong) else 0)


if __name__ == "__main__":
    main()
