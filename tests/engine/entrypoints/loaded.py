"""A Task whose samples are loaded by a process of their own, which the reports name."""

import os
import random

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Subset

from orchestrator import Task


class Drawing:
    def __init__(self, noise):
        self.noise = noise

    def __len__(self):
        return 80

    def __getitem__(self, index):
        x = torch.randn(4, generator=torch.Generator().manual_seed(index))
        noise = self.noise * random.random() * torch.rand(4)
        return {"x": x + noise, "label": int(x[0] > 0), "process": float(os.getpid())}


class Loaded(Task):
    def build_data(self, config):
        return {"train": Drawing(0.1), "val": Drawing(0.0)}

    def split_data(self, data, generator):
        order = torch.randperm(80, generator=generator).tolist()
        return {"train": Subset(data["train"], order[:64]), "val": Subset(data["val"], order[64:])}

    def build_model(self, config):
        return nn.Linear(4, 2)

    def forward(self, model, batch):
        return {"logits": model(batch["x"])}

    def loss(self, outputs, batch):
        return F.cross_entropy(outputs["logits"], batch["label"])

    def scores(self, outputs, batch):
        return {"process": batch["process"]}
