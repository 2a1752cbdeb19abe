"""A small GPT that predicts the next character of any text file.

Config keys: data.{text, context, batch_size, typos, numbering}, model.{width, layers, heads, norm, positions,
activation, tied, dropout}, and what the built-in loop reads: optim (warm-up, schedule), train (clip).
Without data.text it reads the help topics of the Python that runs it (`help("topics")`, about 450,000
characters): every installation has them, though their words differ a little between versions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name

from orchestrator import Streams, Task

if TYPE_CHECKING:
    from orchestrator import SampleDraws

TOKENS = "tokens"
LOGITS = "logits"

BLOCKS = 16
"""The text is cut into so many blocks; a seed keeps one of them for validation."""
NUMBERINGS = ("ascending", "descending")
NORMS = ("pre", "post", "none")
POSITIONS = ("learned", "rotary", "none")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


# --- data ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """A text as numbers: `codes` [N] int64, each the place of a character in `alphabet`."""

    alphabet: str
    codes: Tensor


@lru_cache(maxsize=2)
def load_corpus(path: str | None, numbering: str = "ascending") -> Corpus:
    """Return the text file at `path` (UTF-8), or Python's help topics in the order of their names.

    `numbering` says which characters get the low numbers; to a model that means nothing.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown numbering.
    """
    if numbering not in NUMBERINGS:
        raise ValueError(f"data.numbering is {numbering!r}; valid: {', '.join(NUMBERINGS)}")
    text = _help_topics() if path is None else _read(path)
    alphabet = "".join(sorted(set(text), reverse=numbering == "descending"))
    places = {character: place for place, character in enumerate(alphabet)}
    return Corpus(alphabet, torch.tensor([places[character] for character in text]))


def _help_topics() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def _read(path: str) -> str:
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"data.text: there is no file {file} (seen from {Path.cwd()}); give an absolute path, or null "
            "for Python's help topics"
        )
    return file.read_text(encoding="utf-8")


def windows(codes: Tensor, context: int) -> Tensor:
    """[W, context + 1] int64: consecutive pieces; the last character of each is the first of the next.

    Raises:
        ValueError: the text is too short to keep a block for validation.
    """
    count = (len(codes) - 1) // context
    if count < BLOCKS:
        raise ValueError(
            f"data.text holds {len(codes)} characters; with data.context {context} at least "
            f"{BLOCKS * context + 1} are needed"
        )
    return codes.unfold(0, context + 1, context)[:count]


# --- model ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """config["model"], checked. B: batch, T: characters, W: width, H: heads, V: size of the alphabet."""

    width: int
    layers: int
    heads: int
    norm: str
    positions: str
    activation: str
    tied: bool
    dropout: float

    def __post_init__(self) -> None:
        """Raise ValueError for a word that is not known, or heads that do not share the width evenly."""
        for key, valid in (("norm", NORMS), ("positions", POSITIONS), ("activation", tuple(ACTIVATIONS))):
            if getattr(self, key) not in valid:
                raise ValueError(f"model.{key} is {getattr(self, key)!r}; valid: {', '.join(valid)}")
        if self.width % (2 * self.heads):
            raise ValueError(f"model.width {self.width} must be a multiple of twice model.heads {self.heads}")


class GPT(nn.Module):
    """Embeddings, transformer blocks, and a score for every character that may come next."""

    def __init__(self, shape: Shape, characters: int, context: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, shape.width)
        self.position = nn.Embedding(context, shape.width) if shape.positions == "learned" else None
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width) if shape.norm == "pre" else nn.Identity()
        self.head = None if shape.tied else nn.Linear(shape.width, characters, bias=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """tokens [B, T + 1] -> logits [B, T, V]: at each place for the character after it."""
        tokens = batch[TOKENS][:, :-1]  # [B, T]
        x = self.embedding(tokens)  # [B, T, W]
        if self.position is not None:
            x = x + self.position.weight[: tokens.shape[1]]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        scores = self.embedding.weight if self.head is None else self.head.weight  # [V, W]
        return {LOGITS: F.linear(self.norm(x), scores)}


class Block(nn.Module):
    """Attention and a two-layer network, each added to its input; [B, T, W] -> [B, T, W]."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.order = shape.norm
        self.attention = Attention(shape)
        self.network = Network(shape)
        self.norm_1, self.norm_2 = (
            nn.Identity() if shape.norm == "none" else nn.LayerNorm(shape.width) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "post":
            x = self.norm_1(x + self.attention(x))
            return self.norm_2(x + self.network(x))  # type: ignore[no-any-return]
        x = x + self.attention(self.norm_1(x))
        return x + self.network(self.norm_2(x))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Causal self-attention: a place sees itself and what is before it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.rotary = shape.positions == "rotary"
        self.mix = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        size, places, width = x.shape
        heads = self.mix(x).view(size, places, 3, self.heads, width // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # [B, H, T, W / H] each
        if self.rotary:
            query, key = rotated(query), rotated(key)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        together = seen.transpose(1, 2).reshape(size, places, width)
        return self.dropout(self.out(together))  # type: ignore[no-any-return]


class Network(nn.Module):
    """Four times as wide in the middle."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.wide = nn.Linear(shape.width, 4 * shape.width)
        self.out = nn.Linear(4 * shape.width, shape.width)
        self.activation = ACTIVATIONS[shape.activation]
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.out(self.activation(self.wide(x))))  # type: ignore[no-any-return]


def rotated(x: Tensor) -> Tensor:
    """Turn pairs of features by an angle that grows with the place (rotary positions, Su et al. 2021).

    [B, H, T, D] -> [B, H, T, D]; D is even.
    """
    places, features = x.shape[-2:]
    speed = 10_000.0 ** (-torch.arange(0, features, 2, device=x.device) / features)  # [D / 2]
    angle = torch.arange(places, device=x.device)[:, None] * speed  # [T, D / 2]
    one, two = x.chunk(2, dim=-1)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return torch.cat([one * cos - two * sin, one * sin + two * cos], dim=-1)


# --- training ------------------------------------------------------------------------------------------


class CharLM(Task):
    """Next-character prediction.

    Batch: tokens [B, T + 1] int64, id [B] int64 (which window). Outputs: logits [B, T, V].
    """

    kind = "language"
    data_keys = ("text", "context", "numbering")

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        data = config["data"]
        self.corpus = load_corpus(data["text"], data["numbering"])

    def build_data(self, config: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
        """All windows of the text in their order; `split_data` takes a block out."""
        table = windows(self.corpus.codes, int(config["data"]["context"]))
        return {"all": {TOKENS: table, "id": torch.arange(len(table))}}

    def split_data(self, data: Mapping[str, Any], generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
        """One block of neighbouring windows, another one for every seed, for validation.

        Windows elsewhere that say the same as one in the block, character by character, are left out.
        """
        table = data["all"]
        count = len(table[TOKENS])
        held_out = int(torch.randint(BLOCKS, (), generator=generator))
        inside = torch.arange(count) * BLOCKS // count == held_out
        wording = table[TOKENS].unique(dim=0, return_inverse=True)[1]  # [W]: equal windows, equal numbers
        rows = {"train": ~torch.isin(wording, wording[inside]), "val": inside}
        return {part: {key: column[mask] for key, column in table.items()} for part, mask in rows.items()}

    def expected_loss(self, config: Mapping[str, Any]) -> float:
        """All characters equally likely."""
        del config
        return math.log(len(self.corpus.alphabet))

    def build_model(self, config: Mapping[str, Any]) -> nn.Module:
        """Return a `GPT` as config["model"] describes it."""
        return GPT(Shape(**config["model"]), len(self.corpus.alphabet), int(config["data"]["context"]))

    def init_weights(self, model: nn.Module, streams: Streams) -> None:
        """Draw from a normal with SD 0.02, smaller where it is added to the residual stream (GPT-2)."""
        depth = 2 * int(self.config["model"]["layers"])
        for name, module in model.named_modules():
            if not isinstance(module, nn.Linear | nn.Embedding):
                continue
            sd = 0.02 / math.sqrt(depth) if name.endswith(".out") else 0.02
            nn.init.normal_(module.weight, std=sd, generator=streams.generator("init", name))
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def augment(self, batch: dict[str, Tensor], draws: SampleDraws) -> dict[str, Tensor]:
        """Put random characters in the place of a share data.typos of the training text."""
        share = float(self.config["data"]["typos"])
        if share == 0:
            return batch
        tokens = batch[TOKENS]
        wrong = draws.uniform("typo", tokens.shape[1]) < share
        letters = draws.integers("letter", 0, len(self.corpus.alphabet), tokens.shape[1])
        return {**batch, TOKENS: torch.where(wrong, letters, tokens)}

    def loss(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy per character in nats. [] float32."""
        return F.cross_entropy(outputs[LOGITS].flatten(0, 1), batch[TOKENS][:, 1:].flatten())

    def metric_inputs(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """Return what the monitors look at: logits [B, T, V], and the characters that came, [B, T]."""
        return outputs[LOGITS], batch[TOKENS][:, 1:]

    def scores(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """bits_per_char [B]: cross-entropy of a window; accuracy [B]: share of characters foreseen."""
        logits, target = outputs[LOGITS].transpose(1, 2), batch[TOKENS][:, 1:]  # [B, V, T], [B, T]
        nats = F.cross_entropy(logits, target, reduction="none")
        return {
            "bits_per_char": nats.mean(dim=1) / math.log(2),
            "accuracy": (logits.argmax(dim=1) == target).float().mean(dim=1),
        }
