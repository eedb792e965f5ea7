"""Worker of train_step.py: our training step, compiled in graph mode, with the kernels that are asked for.

Where dropout reads masks made on the host, they are made inside the timed step, one after the other with it; a real run
makes them ahead in a thread.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from _kernel_requests import described, kernels_for
from _serving import serve, worker_arguments
from _step_data import SIZES, make_batches

from ms_plm.common import rng
from ms_plm.config.model import ModelConfig
from ms_plm.config.recipe import OptimizerSection, TrainSection
from ms_plm.kernels import Call
from ms_plm.models.model import Model
from ms_plm.tasks.pretraining import PretrainingLoss, head_for
from ms_plm.training.step import StepOptions, TrainingStep, rng_maker


def main() -> None:
    args = worker_arguments(__doc__, **SIZES, kernels="auto", compute="fp32", optimizer="adamw")
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.device_context.cpu.op_tuning.threads_num(args.threads)
    config = ModelConfig(
        model_type="nezha",
        vocab_size=args.vocabulary,
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 64,
        intermediate_size=4 * args.hidden,
        hidden_act="gelu",
    )
    optimizer = OptimizerSection(name=args.optimizer, learning_rate=1e-4)
    arguments = {"optimizer_update": {"options": optimizer}}
    kernels = kernels_for(args.kernels, Call(device="cpu", compute=args.compute, training=True), arguments)
    model = Model(config, head_for(nsp=True), kernels).initialise(seed=0)
    train = TrainSection(steps=1, batch=args.batch, optimizer=optimizer, clip_norm=1.0)
    named = dict(model.parameters_and_names())
    options = StepOptions(clip_norm=train.clip_norm)
    update = TrainingStep(PretrainingLoss(model, nsp=True), named, train, kernels, options, accumulate=False)
    add_masks = rng_maker(model)
    batches = make_batches(args.batch, args.length, args.vocabulary)

    def step(number: int) -> float:
        batch = dict(batches[number % len(batches)])
        batch["masked_weights"] = np.ones(len(batch["masked_labels"]), np.float32)
        indices = np.arange(number * args.batch, (number + 1) * args.batch)
        batch["dropout_keys"] = rng.sample_keys(1, 0, indices, rng.DROPOUT)
        weights = (float(len(batch["masked_labels"])), float(args.batch))
        result = update(1e-4, weights, [add_masks(batch)])
        loss = float(result.terms.asnumpy().sum())
        if not bool(result.finite.asnumpy()):
            raise RuntimeError(f"step {number}: gradients are not finite")
        return loss

    about = f"mindspore {ms.__version__}, graph mode, {args.compute}, {args.optimizer}"
    serve(step, f"{about}; {described(kernels, arguments)}")


if __name__ == "__main__":
    main()
