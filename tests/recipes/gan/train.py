"""A small GAN on one dimension: two optimizers, and a SummaryWriter for the curves."""

import argparse

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

parser = argparse.ArgumentParser()
parser.add_argument("--lr_g", type=float, default=0.02)
parser.add_argument("--lr_d", type=float, default=0.02)
parser.add_argument(
    "--shift", action=argparse.BooleanOptionalAction, default=True, help="generator has a bias"
)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--logdir", default="runs/gan")
args = parser.parse_args()

torch.manual_seed(args.seed)
torch.set_num_threads(1)
generator = nn.Linear(1, 1, bias=args.shift)
critic = nn.Sequential(nn.Linear(1, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
for_g = torch.optim.Adam(generator.parameters(), lr=args.lr_g, betas=(0.5, 0.9))
for_d = torch.optim.Adam(critic.parameters(), lr=args.lr_d, betas=(0.5, 0.9))
loss = nn.BCEWithLogitsLoss()
ones, noughts = torch.ones(64, 1), torch.zeros(64, 1)
writer = SummaryWriter(args.logdir)
for epoch in range(args.epochs):
    for step in range(20):
        real, fake = 2 + 0.5 * torch.randn(64, 1), generator(torch.randn(64, 1))
        d_loss = loss(critic(real), ones) + loss(critic(fake.detach()), noughts)
        for_d.zero_grad()
        d_loss.backward()
        for_d.step()
        g_loss = loss(critic(fake), ones)
        for_g.zero_grad()
        g_loss.backward()
        for_g.step()
        writer.add_scalar("train/d_loss", d_loss.item(), epoch * 20 + step)
    with torch.no_grad():
        distance = (generator(torch.randn(2000, 1)).mean() - 2).abs()
    writer.add_scalar("val/distance", distance.item(), epoch)
    writer.flush()
writer.close()
