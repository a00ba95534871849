"""Trains a small GPT-NeoX model on the built-in text and probes it on the way; needs no network.

    python examples/probe_while_training.py --steps 200 --every 20 --out runs/training

The values go to the Trainer's own log and to a run, whose report can be written at any time, also while the training
goes on: `lm-probe report runs/training`.
"""

import argparse
from pathlib import Path

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, Trainer, TrainingArguments

from lm_probe.studies.demo_series import rows_of_tokens, split_documents, train_tokenizer
from lm_probe.sweeps import ProbeCallback
from lm_probe.sweeps.builtin_text import builtin_documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="steps of training (default: 200)")
    parser.add_argument("--every", type=int, default=20, help="steps between two measurements (default: 20)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/training"),
        metavar="RUN",
        help="folder of the run; a second training needs another one (default: runs/training)",
    )
    args = parser.parse_args()

    text = split_documents(builtin_documents())
    tokenizer = train_tokenizer(text.train[:400], vocabulary=2048, positions=128, extra_tokens_text=())
    rows = rows_of_tokens(tokenizer, text.train[:400], 128)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=128,
    )
    trainer = Trainer(
        model=GPTNeoXForCausalLM(config),
        args=TrainingArguments(
            output_dir=str(args.out / "trainer"),
            max_steps=args.steps,
            per_device_train_batch_size=8,
            learning_rate=3e-3,
            warmup_steps=10,
            logging_steps=args.every,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
    )
    trainer.add_callback(
        ProbeCallback(
            ["loss", "anisotropy", "head_spectrum"],
            every=args.every,
            text=text.held_out[:3],
            tokenizer=tokenizer,
            context=128,
            out=args.out,
            name="neox-w32",
            log=trainer.log,
        )
    )
    torch.manual_seed(0)
    trainer.train()
    print(f"now: lm-probe report {args.out}")


if __name__ == "__main__":
    main()
