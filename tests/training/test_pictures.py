"""Rows with pictures in the trainer: against dense formulas, cut as one likes, resumed, saved and reloaded."""

import json

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

import tinymodels as tiny
import tinyvision as vision
from expunge import UnlearningConfig, UnlearningTrainer
from expunge.data.processors import tokenizer_of
from expunge.models import attach_views, check_head, load_model, packs_rows
from expunge.objectives import TERMS, Objective, Weighted
from expunge.training.batching import VIEWS, EncodedViews, Pairing, Sources
from expunge.training.checkpoints import last_whole_checkpoint
from expunge.training.frozen import StoredReference
from expunge.training.objective_value import value_of_batch
from objectives.dense import DENSE, Dense

SOURCES = Sources(vision.FORGET, vision.RETAIN, tiny.REFUSALS)
PAIRING = Pairing(0, len(vision.FORGET), len(vision.RETAIN), len(tiny.REFUSALS), 1)


class DenseWithPictures(Dense):
    """Each row alone, its pictures as the model's own processor makes them; no logits for what stands for a picture."""

    def __init__(self, processor, *rest):
        self._processor = processor
        super().__init__(*rest)

    def _logits_of(self, model, rows):
        found = []
        for row in rows:
            ids = torch.tensor([row.ids])
            given = {"mm_token_type_ids": (ids == self._processor.image_token_id).int()}
            if row.pixels:
                files = [vision.opened(data) for data in row.pixels.pictures]
                images = self._processor.image_processor([files], return_tensors="pt")
                given |= {name: images[name] for name in images if name not in ("rows", "cols")}
            names = ("pixel_values", "pixel_attention_mask") if model.config.model_type != "qwen2_5_vl" else given
            given = {name: value for name, value in given.items() if name in names}
            found.append(model(input_ids=ids, **given).logits[0].float())
        return found

    def logits(self, view, reference=False, everything=False):
        found = super().logits(view, reference, everything)
        first = [1 if everything else row.start for row in self.views[view]]
        told = [
            torch.tensor(r.ids[f:]) != self._processor.image_token_id
            for r, f in zip(self.views[view], first, strict=True)
        ]
        return [logits[kept] for logits, kept in zip(found, told, strict=True)]


@pytest.mark.parametrize("family", vision.FAMILIES)
def test_terms_equal_the_dense_formulas(family, tmp_path):
    model, processor = vision.FAMILIES[family](seed=1)
    reference, _ = vision.FAMILIES[family](seed=2)
    rows = EncodedViews(tokenizer_of(processor), SOURCES)
    check_head(model)
    attach_views(model)
    assert not packs_rows(model)
    for name in ("NPO", "ME", "IDK", "AP", "GD", "KL"):
        objective = Objective(name, (Weighted(name, TERMS[name]()),))
        keys = {view: VIEWS[view].each_once(PAIRING) for view in objective.views}
        stored = None
        if objective.uses_reference:
            stored = StoredReference.prepare(tmp_path / name, reference, objective, rows, keys, quiet=True)
        ours = value_of_batch(model, objective, rows, keys, stored, rows_at_once=2)[0][name]
        views = {view: [rows.encode(view, key) for key in members] for view, members in keys.items()}
        with torch.no_grad():
            dense = DENSE[name][0](DenseWithPictures(processor, model, reference, views, "right", 0))
        assert ours == pytest.approx(float(dense), rel=1e-4), name


def test_other_completions_keep_the_rows_pictures():
    rows = EncodedViews(tokenizer_of(vision.llava()[1]), SOURCES)
    for view in ("forget_idk", "forget_mismatch", "retain_idk"):
        for key in VIEWS[view].each_once(PAIRING):
            own = rows.encode(view.partition("_")[0], key[:1])
            assert rows.encode(view, key).pixels == own.pixels
            assert rows.encode(view, key).ids[: own.start] == own.ids[: own.start]


def train(folder, family="llava", batch=8, accumulation=1, objective="NPO+GD", **options):
    adapter, resume = options.pop("adapter", None), options.pop("resume", None)
    args = UnlearningConfig(
        output_dir=str(folder),
        objective=objective,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        disable_tqdm=True,
        use_cpu=True,
        **{"num_train_epochs": 2, "learning_rate": 1e-3, "save_strategy": "no", "stop_at_chance": False, **options},
    )
    model, processor = vision.FAMILIES[family]()
    forget = vision.FORGET + [vision.shown("Whose?", f"{i} geese.", vision.png(20 + i, 28 + 14 * i)) for i in range(6)]
    trainer = UnlearningTrainer(model, args, forget, vision.RETAIN, processor, adapter, tiny.REFUSALS)
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train(resume_from_checkpoint=resume)
    log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return trainer, log, [n for n, w in trainer.model.named_parameters() if not torch.equal(w, before[n])]


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_eleven_rows_in_batches_of_eight_cut_two_ways(family, tmp_path):
    whole, log, _ = train(tmp_path / "a", family)
    other, other_log, _ = train(tmp_path / "b", family, 2, 4)
    assert len(log) == 4
    for a, b in zip(log, other_log, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
        assert a["tokens"] == b["tokens"]
    for weight, same in zip(whole.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(weight, same, rtol=0, atol=1e-4)


PARTS = ("vision_tower", "multi_modal_projector")


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("adapter", [None, LoraConfig(r=4, target_modules="all-linear")], ids=["full", "LoRA"])
def test_the_vision_tower_moves_only_if_asked(adapter, asked, tmp_path):
    _, _, moved = train(tmp_path, adapter=adapter, train_vision=asked, max_steps=2)
    assert any("language_model" in name for name in moved)
    for part in PARTS:
        assert any(part in name for name in moved) == asked


def test_resumed_bit_for_bit(tmp_path):
    options = {"objective": "IDK+AP", "batch": 4, "save_strategy": "steps", "save_steps": 2}
    whole, _, _ = train(tmp_path / "a", **options)
    with pytest.MonkeyPatch.context() as patch:

        def killed(self, *given, **more):
            if self.state.global_step == 5:
                raise KeyboardInterrupt
            return share(self, *given, **more)

        share = UnlearningTrainer.compute_loss
        patch.setattr(UnlearningTrainer, "compute_loss", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "b", **options)
    assert last_whole_checkpoint(tmp_path / "b").endswith("checkpoint-4")
    resumed, _, _ = train(tmp_path / "b", resume=True, **options)
    for weight, same in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(weight, same)


def test_saved_and_reloaded_by_plain_transformers(tmp_path):
    trainer, _, _ = train(tmp_path / "run")
    trainer.save_model(str(tmp_path / "model"))
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "model").eval()
    text = "<|user|><image>Who is this?<|end|>\n<|assistant|>"
    inputs = processor(text=[text], images=[vision.opened(vision.png(0))], return_tensors="pt")
    again, tokenizer = load_model(tmp_path / "model", device="cpu")
    with torch.no_grad():
        wanted = trainer.model.eval()(**inputs).logits
        assert torch.equal(plain(**inputs).logits, wanted)
        assert torch.equal(again(**inputs).logits, wanted)
    assert vision.same_processor(tokenizer, trainer.processing_class)
    assert load_file(tmp_path / "model" / "model.safetensors")
