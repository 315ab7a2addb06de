"""Each objective's formula, written again for readability alone: full logits, one row at a time, no sharing."""

import torch
import torch.nn.functional as F


class Dense:
    """Log-probabilities of rows from one padded batch with full logits.

    Args:
        model: The model, and `reference` the frozen one.
        views: Encoded rows by view.
        side: Where the batch is padded.
        pad: The padding token, which may well be the end-of-turn token.
        grad: Whether gradients of the model are wanted.
    """

    def __init__(self, model, reference, views, side, pad, grad=False):
        self.views, self.side, self.pad, self.grad = views, side, pad, grad
        self._model, self._frozen = model, reference
        self._logits = {name: self._run(model, rows) for name, rows in views.items()}
        self._reference = {name: self._run(reference, rows) for name, rows in views.items()}

    def _run(self, model, rows):
        with torch.set_grad_enabled(self.grad and model is self._model):
            return self._logits_of(model, rows)

    def _logits_of(self, model, rows):
        width = max(len(row.ids) for row in rows)
        ids, mask = [], []
        for row in rows:
            fill = [self.pad] * (width - len(row.ids))
            own, none = [1] * len(row.ids), [0] * len(fill)
            left = self.side == "left"
            ids.append(fill + list(row.ids) if left else list(row.ids) + fill)
            mask.append(none + own if left else own + none)
        mask = torch.tensor(mask)
        position = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = model(input_ids=torch.tensor(ids), attention_mask=mask, position_ids=position).logits.float()
        real = [slice(width - len(r.ids), width) if self.side == "left" else slice(0, len(r.ids)) for r in rows]
        return [logits[i, cut] for i, cut in enumerate(real)]

    def logits(self, view, reference=False, everything=False):
        """Logits that predict each token of each completion (or of the whole row), a [T, K] tensor per row."""
        source = (self._reference if reference else self._logits)[view]
        firsts = [1 if everything else row.start for row in self.views[view]]
        return [logits[first - 1 : -1] for logits, first in zip(source, firsts, strict=True)]

    def hidden(self, view, layer, reference=False):
        """Outputs of a decoder layer at the tokens of each completion, a [T, width] tensor per row."""
        model = self._frozen if reference else self._model
        seen = []
        hook = model.model.layers[layer].register_forward_hook(lambda module, given, output: seen.append(output))
        with torch.set_grad_enabled(self.grad and not reference):
            for row in self.views[view]:
                model(input_ids=torch.tensor([row.ids]))
        hook.remove()
        return [output[0, row.start :] for output, row in zip(seen, self.views[view], strict=True)]

    def logp(self, view, reference=False):
        """Log-probability of each completion token, a [T] tensor per row."""
        return [
            logits.log_softmax(-1)[torch.arange(len(logits)), torch.tensor(row.ids[row.start :])]
            for logits, row in zip(self.logits(view, reference), self.views[view], strict=True)
        ]

    def nll(self, view, reference=False):
        return torch.stack([-row.sum() for row in self.logp(view, reference)])


def ga(d):
    return torch.cat(d.logp("forget")).mean()


def npo(d, beta=0.1):
    return (-2 / beta * F.logsigmoid(beta * (d.nll("forget") - d.nll("forget", True)))).mean()


def simnpo(d, beta=4.5, delta=0.0):
    mean_nll = torch.stack([-row.mean() for row in d.logp("forget")])
    return (-2 / beta * F.logsigmoid(beta * (mean_nll - delta))).mean()


def dpo(d, beta=0.1):
    now = d.nll("forget") - d.nll("forget_idk")
    then = d.nll("forget", True) - d.nll("forget_idk", True)
    return (-2 / beta * F.logsigmoid(beta * (now - then))).mean()


def idk(d):
    return -torch.cat(d.logp("forget_idk")).mean()


def me(d, direction="uniform_first", tokens="all"):
    values = []
    for row in d.logits("forget", everything=tokens == "all"):
        for position in row:
            p, k = position.softmax(-1), len(position)
            uniform = torch.full_like(p, 1 / k)
            if direction == "uniform_first":
                values.append((uniform * (uniform.log() - p.log())).sum())
            else:
                values.append((p * (p.log() - uniform.log())).sum())
    return torch.stack(values).mean()


def mismatch(d, answers):
    return -torch.cat(d.logp("forget_mismatch")).mean()


def rmu(d, layer, c, seed=42):
    torch.manual_seed(seed)
    u = torch.rand(d.hidden("forget", layer)[0].shape[-1])
    target = c * u / torch.linalg.vector_norm(u)
    return torch.stack([((row - target) ** 2).mean(-1).mean() for row in d.hidden("forget", layer)]).mean()


def undial(d, beta=10.0):
    values = []
    for row, reference, encoded in zip(d.logits("forget"), d.logits("forget", True), d.views["forget"], strict=True):
        for now, then, token in zip(row, reference, encoded.ids[encoded.start :], strict=True):
            lowered = then.clone()
            lowered[token] -= beta
            values.append(F.cross_entropy(now, lowered.softmax(-1)))
    return torch.stack(values).mean()


def wga(d, beta=1.0):
    logp = torch.cat(d.logp("forget"))
    return (logp.exp().detach() ** beta * logp).mean()


def satimp(d, beta1=5.0, beta2=1.0):
    logp = torch.cat(d.logp("forget"))
    p = logp.exp().detach()
    return (p**beta1 * (1 - p) ** beta2 * logp).mean()


def ceu(d, skip=1):
    values = []
    for row, encoded in zip(d.logits("forget"), d.views["forget"], strict=True):
        for z, token in list(zip(row, encoded.ids[encoded.start :], strict=True))[skip:]:
            others = z.detach().clone()
            others[token] = -torch.inf
            values.append(F.cross_entropy(z, others.softmax(-1)))
    return torch.stack(values).mean()


def altpo(d, beta=0.1):
    now = d.nll("forget") - d.nll("forget_alternate")
    then = d.nll("forget", True) - d.nll("forget_alternate", True)
    return (-2 / beta * F.logsigmoid(beta * (now - then))).mean()


def flat(d, divergence="tv"):
    def mean_p(view):
        return torch.stack([row.exp().mean() for row in d.logp(view)])

    forget, refusal = mean_p("forget"), mean_p("forget_idk")
    if divergence == "tv":
        return (torch.tanh(forget) / 2 - torch.tanh(refusal) / 2).mean()
    return (torch.exp(forget - 1) - refusal).mean()


def pdu(d, eps):
    return torch.stack([(z.max() - z.mean()) ** 2 for row in d.logits("forget") for z in row]).mean()


def distill(d):
    return kl(d, "forget")


def reset(d, level, hinge=0.2):
    nll = [-row.mean() for row in d.logp("forget")]
    return hinge / 2 * torch.stack([(level - value) ** 2 if value < level else 0 * value for value in nll]).mean()


def embed(d, layer):
    pairs = zip(d.hidden("retain", layer), d.hidden("retain", layer, True), strict=True)
    return torch.stack([((now - then) ** 2).mean(-1).mean() for now, then in pairs]).mean()


def gd(d):
    return -torch.cat(d.logp("retain")).mean()


def kl(d, view="retain"):
    values = []
    for row, reference in zip(d.logits(view), d.logits(view, True), strict=True):
        p, q = reference.softmax(-1), row.softmax(-1)
        values.append((p * (p.log() - q.log())).sum(-1))
    return torch.cat(values).mean()


def ap(d, beta=0.1):
    return (-1 / beta * F.logsigmoid(beta * (d.nll("retain_idk") - d.nll("retain")))).mean()


# name -> (reference, hyper-parameters to try); none: the defaults, which are those of the papers
DENSE = {
    "GA": (ga, [{}]),
    "NPO": (npo, [{}, {"beta": 0.5}]),
    "SimNPO": (simnpo, [{}, {"beta": 2.0, "delta": 0.3}]),
    "DPO": (dpo, [{}, {"beta": 0.5}]),
    "IDK": (idk, [{}]),
    "ME": (me, [{}, {"direction": "model_first"}, {"tokens": "completion"}]),
    "MISMATCH": (mismatch, [{"answers": 1}]),
    "RMU": (rmu, [{"layer": 0, "c": 6.5}, {"layer": 1, "c": 2.0}]),
    "UNDIAL": (undial, [{}, {"beta": 2.0}]),
    "WGA": (wga, [{}, {"beta": 0.5}]),
    "SatImp": (satimp, [{}, {"beta1": 0.5, "beta2": 2.0}]),
    "CE-U": (ceu, [{}, {"skip": 0}]),
    "AltPO": (altpo, [{}, {"beta": 0.5}]),
    "FLAT": (flat, [{}, {"divergence": "kl"}]),
    "PDU": (pdu, [{"eps": 1.0}]),
    "DISTILL": (distill, [{}]),
    "RESET": (reset, [{"level": 7.0}, {"level": 20.0, "hinge": 1.0}]),
    "GD": (gd, [{}]),
    "KL": (kl, [{}]),
    "AP": (ap, [{}, {"beta": 0.05}]),
    "EMBED": (embed, [{"layer": 0}, {"layer": 1}]),
}
