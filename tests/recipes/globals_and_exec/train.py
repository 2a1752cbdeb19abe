"""Settings are globals of the module, and configurator.py overwrites them: a bigram model of a text."""

import math
import random

# settings
max_iters = 200
eval_interval = 50
learning_rate = 2.0
context = True  # the letter before is known
seed = 1337
exec(open("configurator.py").read())

random.seed(seed)
letters = "abcdefgh"
text = [random.choice(letters)]
while len(text) < 3000:
    here = letters.index(text[-1])
    text.append(letters[(here + random.choice([1, 1, 1, 2, 3])) % 8])
train, val = text[:2000], text[2000:]
logits = {(a, b): 0.0 for a in letters for b in letters}


def probability(a, b):
    return math.exp(logits[a, b]) / sum(math.exp(logits[a, other]) for other in letters)


for step in range(1, max_iters + 1):
    at = random.randrange(len(train) - 1)
    a, b = train[at] if context else "a", train[at + 1]
    shares = {other: probability(a, other) for other in letters}
    for other in letters:
        logits[a, other] += learning_rate / (1 + step / 50) * ((other == b) - shares[other])
    if step % eval_interval == 0:
        pairs = [(a if context else "a", b) for a, b in zip(val[:300], val[1:], strict=False)]
        loss = -sum(math.log(probability(*pair)) for pair in pairs) / len(pairs)
        print(f"step {step}: val loss {loss:.4f}, lr {learning_rate}")
