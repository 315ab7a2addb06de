"""A plain implementation of unlearning, to compare with: readable, correct, and without any of expunge's savings.

One forward per view, padded to the longest row of its micro-batch; full logits; a resident copy of the reference model
that runs at every step; float32.
"""

import copy

import torch
import torch.nn.functional as F


def pad(rows):
    """Rows as right-padded ids [rows, width] with their mask."""
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        mask[i, : len(row.ids)] = 1
    return ids, mask


class PlainView:
    """Full logits [rows, width - 1, vocabulary] of one view, with masks of the completion and of the whole row.

    `hidden` is the output of one decoder layer [rows, width, hidden], where a layer is asked for.
    """

    def __init__(self, model, rows, layer=None):
        ids, mask = (t.to(model.device) for t in pad(rows))
        self.targets = ids[:, 1:]
        output = model(input_ids=ids, attention_mask=mask, output_hidden_states=layer is not None)
        self.logits = output.logits[:, :-1].float()
        self.hidden = None if layer is None else output.hidden_states[layer + 1].float()
        starts = torch.tensor([row.start for row in rows], device=model.device)
        position = torch.arange(1, ids.shape[1], device=model.device)
        self.whole = mask[:, 1:].bool()
        self.completion = self.whole & (position[None] >= starts[:, None])
        self.completion_tokens = F.pad(self.completion, (1, 0))

    def token_logp(self):
        logp = self.logits.log_softmax(-1).gather(-1, self.targets[..., None])[..., 0]
        return logp * self.completion

    def nll(self):
        return -self.token_logp().sum(-1)

    def mean_ce(self):
        return -self.token_logp().sum() / self.completion.sum()


def ga(views, reference):
    return -views("forget").mean_ce()


def npo(views, reference):
    return -20 * F.logsigmoid(0.1 * (views("forget").nll() - reference("forget").nll())).mean()


def dpo(views, reference):
    now = views("forget").nll() - views("forget_idk").nll()
    then = reference("forget").nll() - reference("forget_idk").nll()
    return -20 * F.logsigmoid(0.1 * (now - then)).mean()


def idk(views, reference):
    return views("forget_idk").mean_ce()


def me(views, reference):
    view = views("forget")
    logp = view.logits.log_softmax(-1)
    per_token = -logp.mean(-1) - torch.log(torch.tensor(float(logp.shape[-1])))
    return per_token[view.whole].mean()


def gd(views, reference):
    return views("retain").mean_ce()


def kl(views, reference):
    view, frozen = views("retain"), reference("retain")
    divergence = F.kl_div(
        view.logits.log_softmax(-1), frozen.logits.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
    return divergence[view.completion].mean()


def ap(views, reference):
    return -10 * F.logsigmoid(0.1 * (views("retain_idk").nll() - views("retain").nll())).mean()


def hidden_distance(view, target):
    """Row mean of the token mean of the squared distance of hidden states to a target, over completion tokens."""
    distance = (view.hidden - target).square().mean(-1) * view.completion_tokens
    return (distance.sum(-1) / view.completion_tokens.sum(-1)).mean()


def rmu(views, reference):
    u = torch.rand(views("forget").hidden.shape[-1], generator=torch.Generator().manual_seed(42))
    return hidden_distance(views("forget"), 6.5 * (u / u.norm()).to(views("forget").hidden.device))


def embed(views, reference):
    return hidden_distance(views("retain"), reference("retain").hidden)


TERMS = {
    "GA": ga,
    "NPO": npo,
    "DPO": dpo,
    "IDK": idk,
    "ME": me,
    "GD": gd,
    "KL": kl,
    "AP": ap,
    "RMU": rmu,
    "EMBED": embed,
}
WITH_REFERENCE = {"NPO", "DPO", "KL", "EMBED"}


def train(model, objective, batches, learning_rate, weight_decay, layer=None):
    """Train over batches of encoded rows by view; yields the loss of each step.

    With a layer (RMU), it and the two below are trained, and nothing else.
    """
    names = objective.split("+")
    if layer is not None:
        model.requires_grad_(False)
        for i in range(max(0, layer - 2), layer + 1):
            model.model.layers[i].requires_grad_(True)
    frozen = copy.deepcopy(model).eval() if WITH_REFERENCE & set(names) else None
    trained = [p for p in model.parameters() if p.requires_grad]
    # As transformers does: no decay of norms.
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, fused=True)
    model.train()
    for rows in batches:
        ours = {view: PlainView(model, members, layer) for view, members in rows.items()}
        theirs = {}
        if frozen is not None:
            with torch.no_grad():
                theirs = {
                    view: PlainView(frozen, members, layer) for view, members in rows.items() if needed(view, names)
                }
        loss = sum(TERMS[name](ours.__getitem__, theirs.__getitem__) for name in names)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def needed(view, names):
    """Whether the reference model has to see a view."""
    return view in {"NPO": ("forget",), "DPO": ("forget", "forget_idk")}.get(names[0], ()) or (
        view == "retain" and bool({"KL", "EMBED"} & set(names))
    )
