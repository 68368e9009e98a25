"""Scenes of coloured shapes, and questions about them with their answers.

A scene is one to five shapes on a plain, gradient or noisy ground; everything follows from an
integer seed. Margins keep every label unambiguous: no centre lies near a line between two of the
nine cells, "is A left of B?" is asked only where A and B are well apart, and an open question
("what is left of A?") only where exactly one thing answers it.

Coordinates are fractions of the picture's width and height, y downwards; radii are fractions of
the shorter side. Needs Pillow and NumPy, nothing else: the trainer and tests/demo_quality share it.
"""

import io
import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ["circle", "square", "triangle", "star"]
COLOURS = {
    "red": (215, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 220, 50),
    "green": (50, 165, 70),
    "blue": (45, 90, 215),
    "purple": (140, 60, 180),
    "black": (25, 25, 25),
    "white": (245, 245, 245),
}
COLOUR_NAMES = list(COLOURS)
SIZES = {"small": (0.085, 0.105), "large": (0.15, 0.185)}
CELLS = ["top left", "top", "top right", "left", "centre", "right",
         "bottom left", "bottom", "bottom right"]
AT_CELL = ["at the top left", "at the top", "at the top right", "on the left", "in the centre",
           "on the right", "at the bottom left", "at the bottom", "at the bottom right"]
NUMBERS = ["zero", "one", "two", "three", "four", "five"]
# Direction: (axis, sign of the wanted difference, ways to say it, comparative).
DIRECTIONS = {
    "left": ("x", -1, ["left of", "to the left of"], "further left"),
    "right": ("x", 1, ["right of", "to the right of"], "further right"),
    "above": ("y", -1, ["above"], "higher"),
    "below": ("y", 1, ["below"], "lower"),
}

HELD_OUT = 10_000_000  # training draws seeds below it, every evaluation seeds from it on

REACH = 1.2          # the furthest point of any shape, in radii
GAP = 0.02           # free ground between two things
CELL_MARGIN = 0.025  # no centre nearer to a line between cells
APART = 0.12         # least distance for a relation with yes or no, and for a comparison
OPEN_NEAR, OPEN_FAR = 0.04, 0.10  # open relation: the answer is beyond FAR, nobody else within NEAR

# The picture as the tower sees it.
IMAGE_SIZE = 112
PAD_COLOUR = (122, 116, 104)


@dataclass
class Thing:
    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def name(self):
        return f"{self.colour} {self.shape}"

    @property
    def cell(self):
        return int(self.y * 3) * 3 + int(self.x * 3)


@dataclass
class Scene:
    seed: int
    width: int
    height: int
    dark: bool
    ground: str  # "plain", "gradient" or "noisy"
    jpeg: int    # quality, 0: PNG
    things: list

    def named(self, name):
        return [t for t in self.things if t.name == name]

    def unique(self):
        """The things that their colour and shape alone single out."""
        return [t for t in self.things if len(self.named(t.name)) == 1]


@dataclass
class Question:
    kind: str
    text: str
    answer: str


# ---------------------------------------------------------------------------- drawing a scene


def _place(rng, things, size, aspect):
    """A thing of this size that touches no other, or None. aspect = (width, height) / shorter."""
    low, high = SIZES[size]
    for _ in range(40):
        radius = rng.uniform(low, high)
        reach = REACH * radius
        x = rng.uniform(reach / aspect[0] + 0.01, 0.99 - reach / aspect[0])
        y = rng.uniform(reach / aspect[1] + 0.01, 0.99 - reach / aspect[1])
        if any(abs(v - line) < CELL_MARGIN for v in (x, y) for line in (1 / 3, 2 / 3)):
            continue
        if all(math.hypot((x - t.x) * aspect[0], (y - t.y) * aspect[1])
               >= REACH * (radius + t.radius) + GAP for t in things):
            return Thing("", "", size, x, y, radius, math.radians(rng.uniform(-10, 10)))
    return None


def make_scene(seed, side=None):
    """The scene of this seed; `side` fixes the longer side in pixels (96 to 224 otherwise)."""
    rng = random.Random(f"scene {seed}")
    long = side or rng.choice([96, 112, 128, 144, 160, 192, 224])
    width, height = long, long
    if rng.random() < 0.12:
        width, height = rng.sample([long, round(long * rng.uniform(0.75, 0.95))], 2)
    aspect = (width / min(width, height), height / min(width, height))
    dark = rng.random() < 0.5
    usable = [c for c in COLOUR_NAMES if c != ("black" if dark else "white")]
    pool = rng.sample(usable, rng.randint(2, 5))
    shapes = rng.sample(SHAPES, rng.choice([2, 3, 4, 4]))
    count = rng.choices([1, 2, 3, 4, 5], [10, 20, 25, 25, 20])[0]
    things = []
    while len(things) < count:
        size = rng.choice(list(SIZES))
        thing = _place(rng, things, size, aspect) or _place(rng, things, "small", aspect)
        if thing is None:
            things = []
            continue
        thing.shape, thing.colour = rng.choice(shapes), rng.choice(pool)
        things.append(thing)
    ground = rng.choice(["plain", "gradient", "noisy"])
    jpeg = rng.randint(70, 95) if rng.random() < 0.5 else 0
    return Scene(seed, width, height, dark, ground, jpeg, things)


def _outline(thing, centre, radius):
    """The polygon of a thing that is no circle, in pixels."""
    if thing.shape == "square":
        corners = [(45 + 90 * i, 1.15) for i in range(4)]
    elif thing.shape == "triangle":
        corners = [(-90 + 120 * i, 1.15) for i in range(3)]
    else:
        corners = [(-90 + 36 * i, 0.5 if i % 2 else REACH) for i in range(10)]
    return [(centre + radius * k * math.cos(math.radians(a) + thing.angle),
             centre + radius * k * math.sin(math.radians(a) + thing.angle)) for a, k in corners]


def _paint(image, thing, rng):
    """Draws one thing at four times its size and reduces it: smooth edges."""
    zoom, shorter = 4, min(image.size)
    x, y = thing.x * image.width, thing.y * image.height
    half = math.ceil(REACH * thing.radius * shorter) + 2
    left, top = int(x) - half, int(y) - half
    mask = Image.new("L", (2 * half * zoom, 2 * half * zoom))
    pen = ImageDraw.Draw(mask)
    radius, centre = thing.radius * shorter * zoom, half * zoom
    if thing.shape == "circle":
        pen.ellipse([centre - radius, centre - radius, centre + radius, centre + radius], fill=255)
    else:
        pen.polygon(_outline(thing, centre, radius), fill=255)
    colour = tuple(min(255, max(0, c + rng.randint(-15, 15))) for c in COLOURS[thing.colour])
    image.paste(colour, (left, top), mask.reduce(zoom))


def draw(scene):
    """The scene as an RGB picture, before any file format."""
    rng = random.Random(f"paint {scene.seed}")
    grain = np.random.RandomState(scene.seed % 2**32)

    def tone():
        grey = rng.randint(35, 75) if scene.dark else rng.randint(185, 230)
        return np.array([min(255, grey + rng.randint(-12, 12)) for _ in range(3)], np.float32)

    h, w = scene.height, scene.width
    ground = np.broadcast_to(tone(), (h, w, 3))
    if scene.ground == "gradient":
        turn = rng.uniform(0, 2 * math.pi)
        ramp = (np.linspace(-1, 1, w)[None, :] * math.cos(turn)
                + np.linspace(-1, 1, h)[:, None] * math.sin(turn))
        ramp = ((ramp + 1.42) / 2.84)[..., None].astype(np.float32)
        ground = ground * (1 - ramp) + tone() * ramp
    if scene.ground == "noisy":
        ground = ground + rng.uniform(4, 14) * grain.randn(h, w, 1).astype(np.float32)
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8), "RGB")
    for thing in scene.things:
        _paint(image, thing, rng)
    return image


def encode(scene):
    """(bytes, mime type) of the scene's picture file."""
    file = io.BytesIO()
    if scene.jpeg:
        draw(scene).save(file, "JPEG", quality=scene.jpeg)
        return file.getvalue(), "image/jpeg"
    draw(scene).save(file, "PNG")
    return file.getvalue(), "image/png"


def see(scene):
    """The picture as the tower gets it, uint8 [112, 112, 3], through the file format."""
    image = draw(scene)
    if scene.jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=scene.jpeg)
        image = Image.open(file).convert("RGB")
    return preprocess(image)


def preprocess(image):
    """MoE-LLaVA's `pad` mode up to the pixels: pad to a square, then Pillow's bicubic."""
    side = max(image.size)
    if image.size != (side, side):
        square = Image.new("RGB", (side, side), PAD_COLOUR)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        image = square
    return np.array(image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.BICUBIC))


# ---------------------------------------------------------------------------- asking about it


def _a(noun):
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _tail(rng):
    return rng.choice(["", " in the picture", " in the image"])


def _presence(scene, rng, kind):
    there = {t.name for t in scene.things}
    colours, shapes = {t.colour for t in scene.things}, {t.shape for t in scene.things}
    if kind == "presence yes":
        names = sorted(there)
    else:
        want = {"presence random": 0, "presence popular": 1, "presence adversarial": 2}[kind]
        names = [f"{c} {s}" for c in COLOUR_NAMES for s in SHAPES
                 if f"{c} {s}" not in there and (c in colours) + (s in shapes) == want]
    if not names:
        return None
    answer = "yes" if kind == "presence yes" else "no"
    return f"Is there {_a(rng.choice(names))}{_tail(rng)}?", answer


def _attribute(scene, rng, _):
    if rng.random() < 0.5:
        word = rng.choice(SHAPES)
        there = any(t.shape == word for t in scene.things)
    else:
        word = rng.choice(COLOUR_NAMES)
        there = any(t.colour == word for t in scene.things)
        word += " shape"
    return f"Is there {_a(word)}{_tail(rng)}?", "yes" if there else "no"


def _count(scene, rng, kind):
    if kind == "count all":
        what, fits = "shapes", scene.things
    elif kind == "count shape":
        shape = rng.choice(SHAPES if rng.random() < 0.3 else [t.shape for t in scene.things])
        what, fits = f"{shape}s", [t for t in scene.things if t.shape == shape]
    else:
        colour = rng.choice(COLOUR_NAMES if rng.random() < 0.3
                            else [t.colour for t in scene.things])
        what, fits = f"{colour} shapes", [t for t in scene.things if t.colour == colour]
    return f"How many {what} are there?", NUMBERS[len(fits)]


def _colour(scene, rng, _):
    word = rng.choice(["colour", "colour", "color"])
    known = [(t.shape, t.colour) for t in scene.things
             if sum(o.shape == t.shape for o in scene.things) == 1]
    known += [(f"{t.size} {t.shape}", t.colour) for t in scene.things
              if sum((o.size, o.shape) == (t.size, t.shape) for o in scene.things) == 1]
    if not known:
        return None
    what, colour = rng.choice(known)
    return f"What {word} is the {what}?", colour


def _shape(scene, rng, _):
    known = [t for t in scene.things if sum(o.colour == t.colour for o in scene.things) == 1]
    if not known:
        return None
    thing = rng.choice(known)
    return rng.choice([f"Which shape is {thing.colour}?",
                       f"What shape is the {thing.colour} one?"]), thing.shape


def _size(scene, rng, _):
    if not scene.unique():
        return None
    thing = rng.choice(scene.unique())
    return f"Is the {thing.name} large or small?", thing.size


def _where(scene, rng, _):
    if not scene.unique():
        return None
    thing = rng.choice(scene.unique())
    return f"Where is the {thing.name}?", CELLS[thing.cell]


def _pair(scene, rng, least):
    """Two nameable things and a direction along which they are at least `least` apart, or None."""
    pairs = [(a, b, d) for a in scene.unique() for b in scene.unique() if a is not b
             for d, (axis, _, _, _) in DIRECTIONS.items()
             if abs(getattr(a, axis) - getattr(b, axis)) >= least]
    return rng.choice(pairs) if pairs else None


def _relation(scene, rng, _):
    pair = _pair(scene, rng, APART)
    if pair is None:
        return None
    a, b, direction = pair
    axis, sign, words, _ = DIRECTIONS[direction]
    true = (getattr(a, axis) - getattr(b, axis)) * sign > 0
    return f"Is the {a.name} {rng.choice(words)} the {b.name}?", "yes" if true else "no"


def _compare(scene, rng, _):
    pair = _pair(scene, rng, APART)
    if pair is None:
        return None
    a, b, direction = pair
    axis, sign, _, more = DIRECTIONS[direction]
    first = (getattr(a, axis) - getattr(b, axis)) * sign > 0
    return f"Which is {more}, the {a.name} or the {b.name}?", f"the {(a if first else b).name}"


def _open(scene, rng, _):
    found = []
    for a in scene.unique():
        for direction, (axis, sign, _, _) in DIRECTIONS.items():
            ahead = [((getattr(t, axis) - getattr(a, axis)) * sign, t)
                     for t in scene.things if t is not a]
            beyond = [t for d, t in ahead if d >= OPEN_FAR]
            if len(beyond) == 1 and all(d <= -OPEN_NEAR for d, t in ahead if t is not beyond[0]):
                found.append((a, direction, beyond[0]))
    if not found:
        return None
    a, direction, answer = rng.choice(found)
    return f"What is {rng.choice(DIRECTIONS[direction][2])} the {a.name}?", _a(answer.name)


def _describe(scene, rng, _):
    order = sorted(scene.things, key=lambda t: (t.cell, COLOUR_NAMES.index(t.colour),
                                                SHAPES.index(t.shape), t.size))
    parts = [f"a {t.size} {t.name} {AT_CELL[t.cell]}" for t in order]
    text = parts[-1] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return rng.choice(["Describe the picture.", "Describe the image.",
                       "What is in the picture?", "What is in the image?"]), text + "."


# Kind: (how to ask it, share of the training mix in percent).
KINDS = {
    "presence yes": (_presence, 7),
    "presence random": (_presence, 1),
    "presence popular": (_presence, 2),
    "presence adversarial": (_presence, 7),
    "presence attribute": (_attribute, 3),
    "count all": (_count, 4),
    "count shape": (_count, 14),
    "count colour": (_count, 19),
    "colour": (_colour, 4),
    "shape": (_shape, 3),
    "size": (_size, 3),
    "where": (_where, 4),
    "open relation": (_open, 8),
    "relation": (_relation, 12),
    "comparison": (_compare, 9),
    "description": (_describe, 0),  # long: trained in a branch of its own
}


def ask(scene, rng, kind):
    """A question of this kind about the scene, or None where the scene allows none."""
    made = KINDS[kind][0](scene, rng, kind)
    return made and Question(kind, *made)


def ask_any(scene, rng, count):
    """`count` questions in the training mix."""
    kinds, shares = list(KINDS), [share for _, share in KINDS.values()]
    asked = []
    while len(asked) < count:
        question = ask(scene, rng, rng.choices(kinds, shares)[0])
        if question:
            asked.append(question)
    return asked
